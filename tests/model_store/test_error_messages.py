import errno

import pytest

from model_store.error_messages import in_words, reason_of
from model_store.errors import StoreError

FULL = "No space left on device"


@pytest.mark.parametrize(
    ("error", "words", "reason"),
    [
        (OSError(errno.ENOSPC, FULL), FULL, FULL),
        (OSError(errno.ENOSPC, FULL, "models/wave"), f"models/wave: {FULL}", FULL),
        (OSError("truncated"), "truncated", "truncated"),
        (StoreError("wave: broken"), "wave: broken", "wave: broken"),
    ],
)
def test_errors_of_the_operating_system_are_told_without_numbers(error: Exception, words: str, reason: str) -> None:
    assert (in_words(error), reason_of(error)) == (words, reason)
