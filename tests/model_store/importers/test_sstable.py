import sys

import pytest

from model_store.errors import MissingExtra, UnknownCheckpoint
from model_store.importers.sstable import MAGIC, masked_checksum, read_table
from tests.tensorflow import block, table, varint


def entries(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(key, bytes(value)) for key, value in read_table(content)]


def raw_block(*entry: tuple[int, bytes, bytes]) -> bytes:
    """Entries that share so many bytes of their keys with the one before them."""
    parts = (varint(shared) + varint(len(key)) + varint(len(value)) + key + value for shared, key, value in entry)
    return b"".join(parts) + bytes(4)


def test_keys_and_values_come_in_their_order() -> None:
    first, second = [(b"", b"x" * 300), (b"a", b"")], [(b"b", b"y")]
    assert entries(table(block(first), block(second))) == first + second
    assert entries(table()) == []


def test_keys_share_what_they_begin_with() -> None:
    content = table(raw_block((0, b"Variable", b"1"), (8, b"_1", b"2"), (9, b"2", b"3")))
    assert entries(content) == [(b"Variable", b"1"), (b"Variable_1", b"2"), (b"Variable_2", b"3")]


def test_the_checksum_is_that_of_leveldb() -> None:
    assert masked_checksum(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no table"),
        (MAGIC, "no table"),
        (b"\xff" * 40 + MAGIC, "an integer in it does not end"),
        (bytes(40) + MAGIC, "a block of its table lies beyond its end"),
        (table(block([(b"a", b"b")]), compression=1), "compressed by snappy; tables that are not compressed are read"),
        (table(block([(b"a", b"b")]), compression=7), "compressed in a way with the number 7"),
        (table(raw_block((1, b"a", b"b"))), "an entry of its table lies beyond its block"),
        (table(varint(0) + varint(1) + varint(2**60) + bytes(4)), "an entry of its table lies beyond its block"),
        (table(raw_block((0, b"a" * 4000, b""), (4000, b"a" * 100, b""))), "a key of more than 4096 bytes"),
        (table(b""), "shorter than what ends it"),
        (table(b"\xff" * 4), "shorter than what ends it"),
    ],
)
def test_damaged_and_compressed_tables_are_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(UnknownCheckpoint, match=complaint):
        entries(content)


def test_a_block_is_read_once() -> None:
    """Else a small file would take as long as a large one."""
    twice = table(block([(b"a", b"b")]))
    size = len(block([(b"a", b"b")])) + 5
    index = block([(b"0", varint(0) + varint(size - 5))] * 2)
    sealed = index + b"\0" + masked_checksum(index + b"\0").to_bytes(4, "little")
    footer = (varint(size) + varint(len(index))) * 2
    with pytest.raises(UnknownCheckpoint, match="blocks of its table overlap"):
        entries(twice[:size] + sealed + footer.ljust(40, b"\0") + MAGIC)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(MissingExtra, match=r"google-crc32c: pip install 'pastiche\[import\]'"):
        masked_checksum(b"")
