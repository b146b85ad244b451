import pytest

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.tiff_layout import MAX_SAMPLES, MAX_SEGMENTS, Tag, read_layout
from tests.service.imaging.codecs.tiff_samples import Value, grey_tags, make_tiff

PLAIN = [bytes(768)]


def test_layout_is_read() -> None:
    layout = read_layout(make_tiff(PLAIN, {Tag.ORIENTATION: 6, Tag.ROWS_PER_STRIP: 5}))
    assert (layout.width, layout.height, layout.bits, layout.samples, layout.depth) == (16, 16, 8, 3, 8)
    assert (layout.segment_rows, layout.orientation, layout.alpha, layout.is_grey) == (5, 6, None, False)


@pytest.mark.parametrize(
    ("kinds", "alpha", "premultiplied"),
    [
        ([], None, False),
        ([0], None, False),
        ([2], 3, False),
        ([0, 1], 4, True),
        ([2, 1], 3, False),
        ([7, 0], None, False),
    ],
)
def test_alpha_is_an_extra_sample_that_says_so(kinds: list[int], alpha: int | None, premultiplied: bool) -> None:
    tags: dict[int, Value] = {Tag.SAMPLES: 3 + max(1, len(kinds)), Tag.BITS: 8}
    layout = read_layout(make_tiff(PLAIN, tags | ({Tag.EXTRA_SAMPLES: kinds} if kinds else {})))
    assert (layout.alpha, layout.is_premultiplied) == (alpha, premultiplied)


@pytest.mark.parametrize("orientation", [0, 9, [1, 6], b"6"])
def test_broken_orientation_is_upright(orientation: Value) -> None:
    assert read_layout(make_tiff(PLAIN, {Tag.ORIENTATION: orientation})).orientation == 1


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({Tag.WIDTH: 0}, "no pixels"),
        ({Tag.LENGTH: 0}, "no pixels"),
        ({Tag.ROWS_PER_STRIP: 0}, "no pixels"),
        ({Tag.TILE_WIDTH: 0, Tag.TILE_LENGTH: 16}, "no pixels"),
        ({Tag.TILE_WIDTH: 16}, f"tag {Tag.TILE_LENGTH} has 0 values"),
        ({Tag.SAMPLES: 2}, "2 samples, too few"),
        ({Tag.SAMPLES: 0}, "0 samples, too few"),
        ({Tag.PLANAR: 0}, "planar configuration is 0"),
        ({Tag.PLANAR: b"\1\0"}, f"tag {Tag.PLANAR} is no whole number"),
        ({Tag.FILL_ORDER: 3}, "fill order is 3"),
        ({Tag.SAMPLES: (3, 2**32 - 1, b"\x08\0\0\0")}, "not in the file"),
        ({Tag.PHOTOMETRIC: 6, Tag.YCBCR_SUBSAMPLING: [3, 1]}, "subsampling"),
    ],
)
def test_broken_layout_is_corrupt(tags: dict[int, Value], what: str) -> None:
    with pytest.raises(CorruptImage, match=what):
        read_layout(make_tiff(PLAIN, tags))


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({Tag.BITS: 32}, "32 bits"),
        ({Tag.BITS: [8, 8, 16]}, "depth .8, 16 bits"),
        ({Tag.BITS: 16, Tag.SAMPLE_FORMAT: 2}, "signed samples of 16 bits"),
        ({Tag.BITS: 32, Tag.SAMPLE_FORMAT: [3, 3, 3]}, "floating-point samples of 32 bits"),
        ({Tag.BITS: 64, Tag.SAMPLE_FORMAT: 6}, "complex samples of 64 bits"),
        ({Tag.SAMPLE_FORMAT: 77}, "unknown samples"),
        ({Tag.SAMPLES: 200, Tag.BITS: 16}, f"200 samples a pixel .more than {MAX_SAMPLES}"),
        ({Tag.COMPRESSION: 34_661}, "compression JBIG"),
        ({Tag.COMPRESSION: 34_676}, "compression SGILOG"),
        ({Tag.COMPRESSION: 34_933}, "compression PNG"),
        ({Tag.COMPRESSION: 34_934}, "compression JPEG XR"),
        ({Tag.COMPRESSION: 22_610}, "compression JPEG XR"),
        ({Tag.SAMPLES: 2**32 - 1}, "4294967295 samples a pixel"),
        ({Tag.COMPRESSION: 12_345}, "compression 12345"),
        ({Tag.COMPRESSION: 4}, "3 samples of 8 bits, compressed with CCITT"),
        ({Tag.PHOTOMETRIC: 10}, "ITULAB"),
        ({Tag.PHOTOMETRIC: 32_845}, "LOGLUV"),
        ({Tag.PHOTOMETRIC: 77}, "photometric interpretation 77"),
        ({Tag.PHOTOMETRIC: 32_803}, "raw file"),
        ({Tag.SUBFILE_TYPE: 1}, "raw file"),
        ({Tag.DNG_VERSION: b"\1\4\0\0"}, "raw file"),
        ({Tag.PHOTOMETRIC: 5, Tag.SAMPLES: 4, Tag.INK_SET: 2}, "other inks than CMYK"),
        ({Tag.PHOTOMETRIC: 8, Tag.BITS: 4}, "4 bits a channel in CIELAB"),
        ({Tag.PHOTOMETRIC: 6, Tag.BITS: 12}, "YCbCr"),
        ({Tag.PHOTOMETRIC: 6, Tag.PLANAR: 2}, "planes of two sizes"),
        ({Tag.COMPRESSION: 5, Tag.PREDICTOR: 3}, "predictor 3"),
        ({Tag.COMPRESSION: 5, Tag.PREDICTOR: 2, Tag.BITS: 4}, "4 bits a channel with the predictor 2"),
        ({Tag.LENGTH: MAX_SEGMENTS + 1, Tag.ROWS_PER_STRIP: 1}, "strips or tiles"),
        ({Tag.TILE_WIDTH: 60_000, Tag.TILE_LENGTH: 60_000}, "16×16 pixels in a much larger tile"),
    ],
)
def test_unread_layout_is_unsupported(tags: dict[int, Value], what: str) -> None:
    with pytest.raises(UnsupportedImage, match=what):
        read_layout(make_tiff(PLAIN, tags))


def test_strips_and_planes_are_listed() -> None:
    data = make_tiff([bytes(64)] * 12, {Tag.ROWS_PER_STRIP: 4, Tag.PLANAR: 2})
    found = list(read_layout(data).segments(frozenset({0, 2})))
    assert [(segment.plane, segment.top, segment.rows) for segment in found][3:5] == [(0, 12, 4), (2, 0, 4)]
    assert [segment.offset for segment in found][3:5] == [8 + 3 * 64, 8 + 8 * 64]


def test_missing_strips_are_corrupt() -> None:
    with pytest.raises(CorruptImage, match="lacks some"):
        list(read_layout(make_tiff([bytes(64)] * 3, grey_tags(ROWS_PER_STRIP=4))).segments(frozenset({0})))


def test_more_bytes_in_strips_than_in_the_file_are_corrupt() -> None:
    tags = grey_tags(COMPRESSION=8, ROWS_PER_STRIP=1, STRIP_OFFSETS=[8] * 16, STRIP_BYTE_COUNTS=[1000] * 16)
    assert len(list(read_layout(make_tiff([bytes(1000)], tags)).segments(frozenset({0})))) == 16
    more = tags | {Tag.STRIP_BYTE_COUNTS: [2000] * 16}
    with pytest.raises(CorruptImage, match="more bytes than the file"):
        list(read_layout(make_tiff([bytes(1000)], more)).segments(frozenset({0})))
