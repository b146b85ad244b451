import pytest

from model_store.errors import UnknownCheckpoint
from model_store.importers.protobuf import integers, messages, read_fields
from tests.tensorflow import message, varint


def test_fields_come_in_their_order() -> None:
    content = (
        message((1, 300), (2, b"abc"), (6, 0xDEADBEEF), (1, 2**64 - 1)) + varint(3 << 3 | 1) + bytes([1] + [0] * 7)
    )
    fields = [
        (number, bytes(each) if isinstance(each, memoryview) else each)
        for number, each in read_fields(memoryview(content))
    ]
    assert fields == [(1, 300), (2, b"abc"), (6, 0xDEADBEEF), (1, 2**64 - 1), (3, 1)]


def test_fields_are_found_by_number_and_kind() -> None:
    content = memoryview(message((1, 5), (1, b"abc"), (2, 7), (1, 6)))
    assert list(integers(content, 1)) == [5, 6]
    assert [bytes(each) for each in messages(content, 1)] == [b"abc"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x08", "an integer in it does not end"),
        (b"\x08" + b"\xff" * 10 + b"\1", "an integer in it does not end"),
        (b"\x0a\x05abc", "a message in it ends too early"),
        (b"\x0d\1\1", "a message in it ends too early"),
        (b"\x0b", "a field of type 3"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(UnknownCheckpoint, match=complaint):
        list(read_fields(memoryview(content)))
