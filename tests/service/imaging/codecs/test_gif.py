import io
import struct

import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import ImageFormat, MetadataPolicy, SourceType, inspect
from service.imaging.codecs.gif import (
    MAX_BLOCKS,
    MAX_SUB_BLOCKS,
    XMP_HEAD,
    XMP_TRAILER,
    GraphicControl,
    iterate_frames,
    read_layout,
    read_loop_count,
    read_xmp,
)
from service.imaging.codecs.opening import open_metadata
from tests.service.imaging.codecs.gif_samples import BLUE, COLOURS, GREEN, RED, control, filled, frame, gif
from tests.service.imaging.codecs.samples import CAPTURED, XMP, moving, reencode
from tests.service.imaging.images import file, photo


def looping(program: bytes, repetitions: int) -> bytes:
    return b"\x21\xff\x0b" + program + b"\x03\x01" + struct.pack("<H", repetitions) + b"\0"


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("alpha", [False, True])
def test_frame_count_equals_pillow(count: int, alpha: bool) -> None:
    data = moving("GIF", count, alpha=alpha, comment=b"x" * 600, loop=0) if count > 1 else file(photo(), "GIF")
    assert read_layout(data).frames == Image.open(io.BytesIO(data)).n_frames == count  # type: ignore[attr-defined]


def test_extensions_and_stray_bytes_between_frames_are_skipped() -> None:
    data = moving("GIF", 3)
    assert read_layout(data[:-1] + b"\0\0\x21\xfe\x05a,b;c\0;").frames == 3
    red = frame(filled(RED, 4, 4))
    assert read_layout(gif(4, 4, red, b"\0\0\0", red, b"\x01\x02xyz", red)).frames == 3


def test_frames_that_begin_are_counted_in_a_truncated_file() -> None:
    data = moving("GIF", 4)
    assert [read_layout(data[:end]).frames for end in (len(data) // 2, len(data) - 1)] == [2, 4]


@pytest.mark.parametrize("end", [b"", bytes(50), b"\x21", b"\x21\xfe\x04cut", control() + b"\x3b"])
def test_a_file_need_not_have_an_end(end: bytes) -> None:
    assert read_layout(gif(4, 4, frame(filled(RED, 4, 4)), frame(filled(BLUE, 4, 4)), end=end)).frames == 2


@pytest.mark.parametrize("end", [b"\x21\xf9", b"\x21\xf9\x04\x04", control(), b"\x2c", b"\x2c\0\0"])
def test_a_file_that_ends_where_a_frame_begins_is_refused(end: bytes) -> None:
    with pytest.raises(CorruptImage, match="ends where a frame begins"):
        read_layout(gif(4, 4, frame(filled(RED, 4, 4)), frame(filled(BLUE, 4, 4)), end=end))


@pytest.mark.parametrize(
    ("screen", "corner", "expected"),
    [
        ((0, 0), (0, 0), (8, 6)),
        ((0, 0), (3, 2), (11, 8)),
        ((0, 20), (0, 0), (8, 20)),
        ((5, 5), (0, 0), (8, 6)),
        ((10, 10), (5, 5), (13, 11)),
        ((10, 10), (1, 1), (10, 10)),
    ],
)
def test_a_screen_is_at_least_as_large_as_the_first_frame_needs(
    screen: tuple[int, int], corner: tuple[int, int], expected: tuple[int, int]
) -> None:
    header = inspect(gif(*screen, frame(filled(RED, 6, 8), *corner), frame(filled(BLUE, 30, 30))))
    assert (header.width, header.height, header.pixels) == (*expected, 2 * expected[0] * expected[1])


@pytest.mark.parametrize("interlaced", [False, True])
def test_frame_far_larger_than_the_screen_is_refused_before_memory_is_taken(interlaced: bool) -> None:
    small, large = frame(filled(RED, 4, 4)), bytearray(frame(filled(RED, 4, 4), interlaced=interlaced))
    large[5:9] = struct.pack("<HH", 65_535, 65_535)
    message = "frame 2 of the gif image has 65535×65535 pixels, far more than the 4×4 that are shown"
    if interlaced:
        with pytest.raises(CorruptImage, match=message):
            inspect(gif(4, 4, small, bytes(large)))
    else:  # of which only four rows are decoded
        assert inspect(gif(4, 4, small, bytes(large))).pixels == 2 * 16
        with pytest.raises(CorruptImage, match=message.replace("4×4", "4×100")):
            inspect(gif(4, 100, small, bytes(large)))


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([], 1),
        ([looping(b"NETSCAPE2.0", 0)], 0),
        ([looping(b"NETSCAPE2.0", 3)], 4),
        ([looping(b"ANIMEXTS1.0", 3)], 4),
        ([looping(b"SOMETHINGEL", 3)], 1),
        ([looping(b"NETSCAPE2.0", 3)[:-2]], 1),
    ],
)
def test_loop_count_is_found_wherever_it_is(blocks: list[bytes], expected: int) -> None:
    red = frame(filled(RED, 4, 4))
    assert read_loop_count(gif(4, 4, red, *blocks, end=b"")) == expected
    if not blocks or blocks[0].endswith(b"\0"):
        assert read_loop_count(gif(4, 4, *blocks, red, red)) == expected


def test_control_counts_for_one_frame() -> None:
    red = filled(RED, 4, 4)
    data = gif(4, 4, control(1), frame(red, disposal=2, ticks=7, transparent=3), b"\x21\xfe\x01a\0", frame(red))
    assert [one.control for one in iterate_frames(data)] == [GraphicControl(2, 70, 3), GraphicControl()]


def test_a_frame_has_its_own_colour_table_or_that_of_the_file() -> None:
    red = filled(RED, 4, 4)
    data = gif(4, 4, frame(red), frame(red, table=COLOURS[::-1].tobytes()))
    assert [one.colour_table for one in iterate_frames(data)] == [COLOURS.tobytes(), COLOURS[::-1].tobytes()]


def test_alpha_and_grey_of_a_still_gif_are_known() -> None:
    grey, shuffled = bytes([0, 0, 0, 1, 1, 1]), bytes([9, 9, 9, 5, 5, 5])
    assert inspect(gif(4, 4, frame(filled(GREEN, 4, 4)), table=grey)).grey
    assert not inspect(gif(4, 4, frame(filled(GREEN, 4, 4)), table=shuffled)).grey
    assert not inspect(gif(4, 4, frame(filled(GREEN, 4, 4)))).grey
    assert not inspect(gif(4, 4, frame(filled(GREEN, 4, 4)))).has_alpha
    assert inspect(gif(4, 4, frame(filled(GREEN, 4, 4), transparent=2))).has_alpha
    assert inspect(gif(4, 4, frame(filled(GREEN, 2, 4)))).has_alpha


def with_xmp(packet: bytes, *others: bytes, trailer: bytes = XMP_TRAILER) -> bytes:
    red = frame(filled(RED, 4, 4))
    return gif(4, 4, looping(b"NETSCAPE2.0", 0), b"\x21" + XMP_HEAD + packet + trailer, *others, red, red)


@pytest.mark.parametrize("packet", [XMP, b"<x/>", b"x", bytes(range(1, 256)), XMP * 2000])
def test_xmp_is_found_whatever_it_says(packet: bytes) -> None:
    data = with_xmp(packet, b"\x21" + XMP_HEAD + b"<second/>" + XMP_TRAILER)
    assert read_xmp(data) == packet
    assert read_layout(data).frames == 2


@pytest.mark.parametrize(
    "data",
    [
        gif(4, 4, frame(filled(RED, 4, 4))),
        with_xmp(b"\0<x/>"),
        with_xmp(b"<x/>", trailer=XMP_TRAILER[:-9] + b"\0"),
        with_xmp(b"<x/>")[:200],
        with_xmp(b"<x/>").replace(b"XMP DataXMP", b"XMP DataXML"),
    ],
)
def test_xmp_that_is_missing_or_broken_is_none(data: bytes) -> None:
    assert read_xmp(data) is None


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", [ImageFormat.GIF, ImageFormat.WEBP])
def test_creator_and_source_type_of_a_gif_are_kept(count: int, kind: ImageFormat) -> None:
    packet = XMP.replace(CAPTURED.encode(), SourceType.GENERATED.uri.encode())
    data = gif(4, 4, *[frame(filled(index, 4, 4)) for index in range(count)], b"\x21" + XMP_HEAD + packet + XMP_TRAILER)
    answer = reencode(data, kind, upscaled=True, metadata=MetadataPolicy.COPYRIGHT)
    with open_metadata(answer, kind) as image:
        assert all(text in image.info["xmp"] for text in (b"A &amp; B", SourceType.GENERATED.uri.encode()))


@pytest.mark.parametrize("end", [6, 10, 12])
def test_a_file_shorter_than_its_header_is_refused(end: int) -> None:
    with pytest.raises(CorruptImage, match="the header of the gif image is broken"):
        inspect(file(photo(), "GIF")[:end])


def test_a_file_without_a_picture_is_refused() -> None:
    with pytest.raises(CorruptImage, match="the gif image has no picture"):
        inspect(gif(4, 4))
    with pytest.raises(CorruptImage, match="the gif image has no picture"):
        inspect(gif(0, 0, b"," + bytes(9) + b"\2\0"))


@pytest.mark.parametrize(
    "piece", [b"\x21\xfe\x01 \x00" * (MAX_BLOCKS + 1), b"\x21\xfe" + b"\x01 " * (MAX_SUB_BLOCKS + 1) + b"\0"]
)
def test_many_tiny_blocks_are_refused(piece: bytes) -> None:
    """A million comments took two seconds to skip, at low priority a minute beside others."""
    with pytest.raises(CorruptImage, match="more than 65536 blocks"):
        read_layout(gif(4, 4, piece, frame(filled(RED, 4, 4))))


def test_as_many_blocks_as_there_may_be_are_skipped() -> None:
    comments = b"\x21\xfe\x01 \x00" * (MAX_BLOCKS - 1)
    assert read_layout(gif(4, 4, comments, frame(filled(RED, 4, 4)))).frames == 1
