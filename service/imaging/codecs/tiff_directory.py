"""The first directory of a TIFF or BigTIFF: its tags, each checked before it is believed (TIFF 6.0, section 2)."""

import struct
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from service.errors import CorruptImage

INTEGER_TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8", 6: "i1", 8: "i2", 9: "i4", 17: "i8", 13: "u4", 18: "u8"}
"""Types of whole numbers, and numpy's names for them: BYTE, SHORT, LONG, LONG8, the signed ones, IFD and IFD8."""

BYTE_TYPES = frozenset({1, 2, 7})
"""BYTE, ASCII and UNDEFINED."""

RATIONAL = 5

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

MAX_ENTRIES = 2**16


class Form(NamedTuple):
    """What differs between a TIFF and a BigTIFF."""

    first: int
    """Where the offset of the first directory is."""
    place: str
    """The formats, as those of `struct`, of an offset, of the number of entries, and of an entry."""
    number: str
    entry: str


TIFF_FORM, BIGTIFF_FORM = Form(4, "I", "H", "HHI4s"), Form(8, "Q", "Q", "HHQ8s")

FORMS = {b"II*\0": TIFF_FORM, b"MM\0*": TIFF_FORM, b"II+\0": BIGTIFF_FORM, b"MM\0+": BIGTIFF_FORM}


class Entry(NamedTuple):
    """A tag's type, number of values, and the values, or their offset."""

    kind: int
    number: int
    value: bytes


@dataclass(frozen=True)
class Directory:
    """The tags of a page. Its methods raise CorruptImage for tags that are not what they should be."""

    data: bytes
    byte_order: Literal["<", ">"]
    """As in `struct` and numpy."""
    entries: dict[int, Entry]
    ambiguous: frozenset[int] = field(default=frozenset())
    """Tags that are there twice, with two values."""
    place: int = 0
    """Where it is in the file."""

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def integer(self, tag: int, default: int | None = None) -> int:
        """The one value of a tag; without a default it must be there."""
        values = self.integers(tag)
        if not values and tag not in self.entries and default is not None:
            return default
        if len(values) != 1:
            raise corrupt(f"its tag {tag} has {len(values)} values instead of one")
        return values[0]

    def integers(self, tag: int) -> tuple[int, ...]:
        """All values of a tag, none of them negative; none where it is missing."""
        if tag not in self.entries:
            return ()
        kind = self.entries[tag].kind
        if kind not in INTEGER_TYPES:
            raise corrupt(f"its tag {tag} is no whole number")
        values = np.frombuffer(self._find_values(tag), np.dtype(INTEGER_TYPES[kind]).newbyteorder(self.byte_order))
        if values.size and values.min() < 0:
            raise corrupt(f"its tag {tag} is negative")
        return tuple(values.tolist())

    def rationals(self, tag: int) -> tuple[float, ...]:
        """All values of a tag of fractions; none where it is missing."""
        if tag not in self.entries:
            return ()
        if self.entries[tag].kind != RATIONAL:
            raise corrupt(f"its tag {tag} is no fraction")
        pairs = np.frombuffer(self._find_values(tag), np.dtype("u4").newbyteorder(self.byte_order)).reshape(-1, 2)
        if not pairs[:, 1].all():
            raise corrupt(f"its tag {tag} divides by zero")
        return tuple((pairs[:, 0] / pairs[:, 1]).tolist())

    def raw(self, tag: int) -> bytes | None:
        """The bytes of a tag; None where it is missing, or is no bytes, or they are not in the file."""
        return self.stored(tag) if tag in self.entries and self.entries[tag].kind in BYTE_TYPES else None

    def stored(self, tag: int) -> bytes | None:
        """The bytes of a tag of any type, as the file has them; None where it is missing, or they are not in it."""
        if tag not in self.entries:
            return None
        try:
            return self._find_values(tag)
        except CorruptImage:
            return None

    def _find_values(self, tag: int) -> bytes:
        if tag in self.ambiguous:
            raise corrupt(f"it has its tag {tag} twice, with two values")
        kind, number, value = self.entries[tag]
        size = number * TYPE_BYTES[kind]
        if size <= len(value):
            return value[:size]
        begin = int.from_bytes(value, "little" if self.byte_order == "<" else "big")
        if begin + size > len(self.data):
            raise corrupt(f"the values of its tag {tag} are not in the file")
        return self.data[begin : begin + size]


def is_big(data: bytes) -> bool:
    """Whether a TIFF is a BigTIFF."""
    return FORMS[data[:4]] is BIGTIFF_FORM


def read_directory(data: bytes, place: int | None = None) -> Directory:
    """Read the directory there, or the first one. Raises CorruptImage where it is not in the file."""
    form = FORMS[data[:4]]
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    try:
        (first_place,) = struct.unpack_from(order + form.place, data, form.first)
        at = first_place if place is None else place
        (count,) = struct.unpack_from(order + form.number, data, at)
        if not 0 < count <= MAX_ENTRIES:
            raise corrupt(f"its directory has {count} tags")
        entry = struct.Struct(order + form.entry)
        first = at + struct.calcsize(order + form.number)
        found = [entry.unpack_from(data, first + index * entry.size) for index in range(count)]
    except (struct.error, OverflowError) as error:
        raise corrupt("its directory is not in the file") from error
    return _collect(data, order, at, [(tag, Entry(kind, number, value)) for tag, kind, number, value in found])


def corrupt(what: str) -> CorruptImage:
    """The error for a file that breaks a rule."""
    return CorruptImage(f"the tiff image is broken: {what}; send a complete file")


def _collect(data: bytes, order: Literal["<", ">"], place: int, found: list[tuple[int, Entry]]) -> Directory:
    """The first entry of each tag, of a type that is known."""
    entries: dict[int, Entry] = {}
    ambiguous = set()
    for tag, entry in found:
        if entries.setdefault(tag, entry) != entry:
            ambiguous.add(tag)
    known = {tag: entry for tag, entry in entries.items() if entry.kind in TYPE_BYTES}
    return Directory(data, order, known, frozenset(ambiguous), place)
