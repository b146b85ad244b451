import io
import tracemalloc
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from tifffile import PHOTOMETRIC

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs import Pixels, inspect
from service.imaging.codecs.tiff_layout import Tag
from service.imaging.codecs.tiff_reading import TiffPixels, read_tiff
from tests.service.imaging.codecs.samples import deep_photo, picture, tiff
from tests.service.imaging.codecs.tiff_samples import Value, grey_tags, make_tiff, pack_bits
from tests.service.imaging.images import file, photo

KINDS = {1: "minisblack", 2: "minisblack", 3: "rgb", 4: "rgb"}
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"compression": "zlib", "predictor": True},
    {"compression": "lzw", "rowsperstrip": 5},
    {"compression": "packbits"},
    {"compression": "lzma", "predictor": True},
    {"compression": "zstd"},
    {"tile": (16, 16)},
    {"tile": (16, 48), "compression": "zlib"},
    {"byteorder": ">"},
    {"byteorder": ">", "compression": "lzw", "predictor": True},
    {"bigtiff": True},
]


def joined(read: TiffPixels) -> Pixels:
    return read.colours if read.alpha is None else np.dstack([read.colours, read.alpha])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("options", LAYOUTS)
def test_every_value_is_read(channels: int, deep: bool, options: dict[str, Any]) -> None:
    whole = deep_photo(channels=channels).squeeze()
    pixels = whole if deep else (whole >> 8).astype(np.uint8)
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    assert np.array_equal(joined(read_tiff(tiff(pixels, photometric=KINDS[channels], **extra, **options))), pixels)


@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"tile": (16, 16)}])
def test_planes_are_interleaved(options: dict[str, Any]) -> None:
    for pixels in (deep_photo(channels=5), photo()):
        extra = {"extrasamples": ["unspecified", "unassalpha"]} if pixels.shape[2] == 5 else {}
        planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        read = read_tiff(tiff(planes, photometric="rgb", planarconfig="separate", **extra, **options))
        assert np.array_equal(joined(read), pixels[..., [0, 1, 2, 4] if extra else [0, 1, 2]])


@pytest.mark.parametrize(
    ("kinds", "alpha"),
    [
        ([], None),
        (["unspecified"], None),
        (["unspecified", "unassalpha"], 4),
        (["unassalpha", "unspecified"], 3),
        (["unspecified"] * 5, None),
        (["unspecified", "unspecified", "unassalpha"], 5),
    ],
)
@pytest.mark.parametrize("deep", [True, False])
def test_only_samples_that_say_so_are_alpha(kinds: list[str], alpha: int | None, deep: bool) -> None:
    whole = deep_photo(channels=3 + len(kinds))
    pixels = whole if deep else (whole >> 8).astype(np.uint8)
    data = tiff(pixels, photometric="rgb", **({"extrasamples": kinds} if kinds else {}))
    colours, read_alpha, _ = read_tiff(data)
    assert np.array_equal(colours, pixels[..., :3])
    assert (read_alpha is None) == (alpha is None) == (not inspect(data).has_alpha)
    if alpha is not None and read_alpha is not None:
        assert np.array_equal(read_alpha, pixels[..., alpha])


def test_sample_that_nothing_is_said_of_is_opaque() -> None:
    pixels = np.dstack([photo(height=16, width=16), np.zeros((16, 16), np.uint8)])
    data = make_tiff([pixels.tobytes()], {Tag.SAMPLES: 4, Tag.BITS: 8})
    assert picture(data).alpha is None
    assert np.array_equal(picture(data).pixels, pixels[..., :3])


@pytest.mark.parametrize("deep", [True, False])
def test_white_is_zero_is_inverted(deep: bool) -> None:
    grey = deep_photo()[..., 0] if deep else photo()[..., 0]
    assert np.array_equal(read_tiff(tiff(~grey, photometric="miniswhite")).colours, grey)


@pytest.mark.parametrize("kind", ["rgb", "separated"])
def test_premultiplied_alpha_becomes_straight(kind: str) -> None:
    channels = 3 if kind == "rgb" else 4
    colours, alpha = deep_photo(channels=channels), deep_photo(1, channels=1).clip(6000)
    premultiplied = np.rint(colours * (alpha / 65_535)).astype(np.uint16)
    read = read_tiff(tiff(np.dstack([premultiplied, alpha]), photometric=kind, extrasamples=["assocalpha"]))
    assert np.abs(read.colours.astype(int) - colours).max() <= 65_535 / 6000
    assert read.alpha is not None
    assert np.array_equal(read.alpha, alpha[..., 0])


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("photometric", [0, 1, 2])
def test_every_depth_is_scaled(bits: int, photometric: int) -> None:
    whole = deep_photo(height=16, width=16)[..., : 3 if photometric == 2 else 1]
    values: Pixels = (whole >> (16 - bits)).astype(np.uint16)
    stored = values.astype(">u2").tobytes() if bits == 16 else pack_bits(values, bits)
    tags: dict[int, Value] = {Tag.BITS: bits, Tag.SAMPLES: values.shape[2], Tag.PHOTOMETRIC: photometric}
    colours = read_tiff(make_tiff([stored], tags, order=">")).colours
    full = 255 if bits <= 8 else 65_535
    expected = values.squeeze() * (full / (2**bits - 1))
    assert np.abs(colours - (full - expected if photometric == 0 else expected)).max() <= 0.5
    assert inspect(make_tiff([stored], tags, order=">")).depth == (8 if bits <= 8 else 16)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("unit", [1, 257])
def test_palette_is_looked_up(bits: int, unit: int) -> None:
    palette = np.random.default_rng(0).integers(0, 256, (3, 2**bits))
    indices = np.random.default_rng(1).integers(0, 2**bits, (16, 16)).astype(np.uint16)
    stored = indices.astype("<u2").tobytes() if bits == 16 else pack_bits(indices, bits)
    tags = grey_tags(PHOTOMETRIC=3, BITS=bits, COLOUR_MAP=(palette * unit).ravel().tolist())
    assert np.array_equal(read_tiff(make_tiff([stored], tags)).colours, palette.T[indices])
    with pytest.raises(CorruptImage, match="palette"):
        read_tiff(make_tiff([stored], tags | {Tag.COLOUR_MAP: [1, 2, 3]}))


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}])
def test_ycbcr_becomes_rgb(options: dict[str, Any]) -> None:
    data = file(Image.fromarray(photo()).convert("YCbCr"), "TIFF", **options)
    assert np.abs(read_tiff(data).colours.astype(int) - photo()).max() <= 3


def test_ycbcr_with_a_range_of_its_own() -> None:
    tags: dict[int, Value] = {Tag.PHOTOMETRIC: 6, Tag.YCBCR_SUBSAMPLING: [1, 1]}
    video_range = bytes([16, 128, 128] * 128 + [235, 128, 128] * 128)
    limits = np.array([16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1], "<u4").tobytes()
    layout = make_tiff([video_range, limits], tags | {Tag.STRIP_OFFSETS: 8, Tag.STRIP_BYTE_COUNTS: 768})
    data = make_tiff(
        [video_range, limits],
        tags
        | {
            Tag.STRIP_OFFSETS: 8,
            Tag.STRIP_BYTE_COUNTS: 768,
            Tag.REFERENCE_BLACK_WHITE: (5, 6, (8 + 768).to_bytes(4, "little")),
        },
    )
    assert read_tiff(layout).colours[[0, 15], 0].tolist() == [[16] * 3, [235] * 3]
    assert read_tiff(data).colours[[0, 15], 0].tolist() == [[0] * 3, [255] * 3]


def test_jpeg_in_a_tiff_is_as_libtiff_has_it() -> None:
    for image in (Image.fromarray(photo()), Image.fromarray(photo()).convert("L")):
        data = file(image, "TIFF", compression="jpeg")
        stream = Image.open(io.BytesIO(data))
        assert np.array_equal(read_tiff(data).colours, np.asarray(stream))


def test_cmyk_and_lab_are_named() -> None:
    inks = deep_photo(channels=5)
    read = read_tiff(tiff(inks, photometric="separated", extrasamples=["unspecified"]))
    assert read.model == PHOTOMETRIC.SEPARATED
    assert np.array_equal(read.colours, inks[..., :4])
    assert read_tiff(tiff(photo(), photometric="cielab")).model == PHOTOMETRIC.ICCLAB
    assert np.array_equal(read_tiff(tiff(photo(), photometric="icclab")).colours, photo())


def test_old_jpeg_that_is_a_whole_file() -> None:
    jpeg = bytes(imagecodecs.jpeg8_encode(photo(height=16, width=16), 95))
    tags: dict[int, Value] = {Tag.COMPRESSION: 6, Tag.PHOTOMETRIC: 6}
    whole: dict[int, Value] = {Tag.JPEG_OFFSET: 8, Tag.JPEG_LENGTH: len(jpeg)}
    assert np.array_equal(read_tiff(make_tiff([jpeg], tags | whole)).colours, imagecodecs.jpeg8_decode(jpeg))
    with pytest.raises(UnsupportedImage, match="old-style JPEG"):
        read_tiff(make_tiff([jpeg], tags))
    with pytest.raises(CorruptImage, match="another size"):
        read_tiff(make_tiff([jpeg], tags | whole | {Tag.WIDTH: 17}))


def test_equal_strips_may_be_stored_once() -> None:
    row = bytes(range(16))
    tags = grey_tags(ROWS_PER_STRIP=1, STRIP_OFFSETS=[8] * 16, STRIP_BYTE_COUNTS=[16] * 16)
    assert np.array_equal(read_tiff(make_tiff([row], tags)).colours, [list(row)] * 16)


@pytest.mark.parametrize("side", [2**14, 2**31])
def test_missing_pixels_take_no_memory(side: int) -> None:
    data = make_tiff([bytes(768)], {Tag.WIDTH: side, Tag.LENGTH: side})
    tracemalloc.start()
    with pytest.raises((CorruptImage, ValueError)):
        read_tiff(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 3 * 2**28 + 2**20  # of the picture itself, whose size is within the limits
