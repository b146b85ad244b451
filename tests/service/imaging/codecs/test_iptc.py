import struct

import pytest

from service.imaging.codecs import MetadataPolicy
from service.imaging.codecs.iptc import MAX_PIECES, find_iptc, read_owner
from service.imaging.codecs.tiff_layout import Tag
from tests.service.imaging.codecs.samples import chunk, png, reencode
from tests.service.imaging.codecs.tiff_samples import LONG, make_tiff
from tests.service.imaging.images import file, photo


def dataset(number: int, text: bytes) -> bytes:
    return b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text


def resource(identifier: int, data: bytes, name: bytes = b"") -> bytes:
    """An image resource: its name with the length, and its data, are filled up to even lengths."""
    named = bytes([len(name)]) + name
    head = b"8BIM" + struct.pack(">H", identifier) + named + b"\0" * (len(named) % 2)
    return head + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


BLOCK = dataset(80, "Ansel Ü".encode()) + dataset(80, b"B") + dataset(116, "© Ansel".encode("latin-1"))
OWNER = {"creator": ["Ansel Ü", "B"], "rights": ["© Ansel"]}


def test_creator_and_rights_are_read_by_the_names_of_xmp() -> None:
    assert read_owner(b"\x1c\x01\x5a\0\x03\x1b%G" + BLOCK + dataset(110, b" ") + dataset(25, b"keyword")) == OWNER
    assert read_owner(None) == read_owner(b"") == {}


def test_size_may_follow_in_more_bytes() -> None:
    long = b"\x1c\x02\x74\x80\x04" + struct.pack(">I", 40_000) + b"x" * 40_000
    assert read_owner(long + dataset(110, b"Credit")) == {"rights": ["x" * 40_000], "Credit": ["Credit"]}


@pytest.mark.parametrize(
    "damage",
    [
        b"\x1b nonsense",
        b"\x1c\x02",
        dataset(116, b"Ansel")[:-1],
        b"\x1c\x02\x74\xff\xff" + b"\xff" * 9,
        b"\x1c\x02\x74\x80\x04\xff",
        bytes(9),
    ],
)
def test_what_comes_before_damage_is_read(damage: bytes) -> None:
    assert read_owner(BLOCK + damage) == OWNER


def test_not_more_is_read_than_a_photograph_has() -> None:
    assert read_owner(dataset(25, b"") * MAX_PIECES + BLOCK) == {}
    assert find_iptc(resource(1000, b"") * MAX_PIECES + resource(0x0404, BLOCK)) is None
    assert read_owner(dataset(25, b"x" * 32_000) * 3 + BLOCK) == {}


@pytest.mark.parametrize("name", [b"", b"a", b"ab"])
@pytest.mark.parametrize("before", [b"", resource(1000, b"odd", b"name"), resource(0x03ED, b"even")])
def test_block_is_found_among_image_resources(before: bytes, name: bytes) -> None:
    assert find_iptc(before + resource(0x0404, BLOCK, name)) == BLOCK


@pytest.mark.parametrize(
    "resources",
    [b"", b"8BIM", resource(1000, BLOCK), resource(0x0404, BLOCK)[:-9], b"8BIN" + resource(0x0404, BLOCK)[4:]],
)
def test_block_that_is_missing_or_cut_is_none(resources: bytes) -> None:
    assert find_iptc(resources) is None


SEGMENT = b"Photoshop 3.0\0" + resource(0x0404, BLOCK)
JPEG = file(photo(), "JPEG")
PADDED = BLOCK + bytes(-len(BLOCK) % 4)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(JPEG[:2] + b"\xff\xed" + struct.pack(">H", len(SEGMENT) + 2) + SEGMENT + JPEG[2:], id="jpeg"),
        pytest.param(make_tiff([bytes(768)], {Tag.IPTC: BLOCK}), id="tiff"),
        pytest.param(
            make_tiff(
                [PADDED, bytes(768)],
                {
                    Tag.IPTC: (LONG, len(PADDED) // 4, struct.pack("<I", 8)),
                    Tag.STRIP_OFFSETS: 8 + len(PADDED),
                    Tag.STRIP_BYTE_COUNTS: 768,
                },
            ),
            id="tiff whose tag is of whole numbers",
        ),
        pytest.param(make_tiff([bytes(768)], {Tag.IMAGE_RESOURCES: resource(0x0404, BLOCK)}), id="resources of a tiff"),
        pytest.param(
            make_tiff([bytes(768)], {Tag.IPTC: b"nonsense", Tag.IMAGE_RESOURCES: resource(0x0404, BLOCK)}),
            id="tiff with one of two broken",
        ),
    ],
)
@pytest.mark.parametrize("policy", [MetadataPolicy.COPYRIGHT, MetadataPolicy.KEEP])
def test_owner_of_a_file_is_kept(data: bytes, policy: MetadataPolicy) -> None:
    answer = reencode(data, metadata=policy)
    assert all(text.encode() in answer for text in ("<rdf:li>Ansel Ü</rdf:li><rdf:li>B</rdf:li>", "© Ansel"))


@pytest.mark.parametrize("content", [BLOCK, resource(0x03ED, b"dpi") + resource(0x0404, BLOCK)])
def test_iptc_of_a_png_in_hexadecimal_digits_is_kept(content: bytes) -> None:
    text = b"Raw profile type iptc\0\niptc\n %d\n%s\n" % (len(content), content.hex().encode())
    answer = reencode(png(photo(), chunk(b"tEXt", text)), metadata=MetadataPolicy.COPYRIGHT)
    assert "© Ansel".encode() in answer
    assert "Ansel Ü".encode() in answer
