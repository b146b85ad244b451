import io
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from model_store.errors import UnknownCheckpoint
from model_store.importers.archive import ALWAYS_TAKEN, MOST_TIMES, require_bounded, unpacked_size


def test_the_size_is_that_of_all_members() -> None:
    content = io.BytesIO()
    with ZipFile(content, "w", ZIP_DEFLATED) as archive:
        archive.writestr("one", bytes(10_000))
        archive.writestr("two", bytes(5))
    assert unpacked_size(content.getvalue()) == 10_005


def test_small_files_may_unpack_to_a_fixed_size_and_large_ones_to_a_multiple() -> None:
    require_bounded(ALWAYS_TAKEN, packed=1)
    require_bounded(MOST_TIMES * ALWAYS_TAKEN, packed=ALWAYS_TAKEN)
    for packed, most in ((1, ALWAYS_TAKEN), (ALWAYS_TAKEN, MOST_TIMES * ALWAYS_TAKEN)):
        with pytest.raises(UnknownCheckpoint, match=f"may unpack to {most:,}"):
            require_bounded(most + 1, packed)
