import pytest

from model_store.errors import UnknownCheckpoint
from model_store.importers.varint import take_varint
from tests.tensorflow import varint


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_integers_are_read_where_they_lie(number: int) -> None:
    encoded = varint(number)
    assert take_varint(memoryview(b"\xff" + encoded + b"\1"), 1) == (number, 1 + len(encoded))


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80" * 10 + b"\1"])
def test_what_does_not_end_is_refused(content: bytes) -> None:
    with pytest.raises(UnknownCheckpoint, match="does not end"):
        take_varint(memoryview(content), 0)
