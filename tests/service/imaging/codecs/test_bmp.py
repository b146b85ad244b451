import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs import ImageFormat, Pixels, decode, inspect
from service.imaging.codecs.bmp import read_bitmap, read_pixels
from service.imaging.masks import Mask
from tests.service.imaging.codecs.samples import DISPLAY_P3, rgb_profile
from tests.service.imaging.images import file, photo

NONE, RLE8, RLE4, BITFIELDS, JPEG, ALPHA_BITFIELDS = 0, 1, 2, 3, 4, 6
ARGB = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmp(
    width: int,
    height: int,
    bits: int,
    pixels: bytes,
    *,
    compression: int = NONE,
    size: int = 40,
    used: int = 0,
    rest: bytes = b"",
    profile: bytes = b"",
) -> bytes:
    """A file; `rest` is what follows the first 40 bytes of its second header: masks, the rest of it, a palette."""
    if size == 12:
        second = struct.pack("<IHHHH", size, width, height, 1, bits)
    else:
        second = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, 0, 0, 0, used, 0)
    second = (second + rest)[: max(size, len(second + rest))]
    offset = 14 + len(second)
    return struct.pack("<2sI4xI", b"BM", offset + len(pixels), offset) + second + pixels + profile


def rows(pixels: Pixels) -> bytes:
    """Rows from the bottom up, padded to 32 bits; (H, W × bytes a pixel) or (H, W, bytes a pixel)."""
    flat = pixels.reshape(len(pixels), -1)[::-1]
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4))).tobytes()


def palette(colours: Pixels, entry: int = 4) -> bytes:
    return np.pad(colours[:, ::-1], ((0, 0), (0, entry - 3))).tobytes()


COLOURS = np.random.default_rng(3).integers(0, 256, (256, 3), np.uint8)
INDICES = np.random.default_rng(4).integers(0, 256, (7, 9), np.uint8)


def packed(indices: Pixels, bits: int) -> Pixels:
    """Indices of less than 8 bits, the first in the highest bits."""
    per_byte = 8 // bits
    padded = np.pad(indices, ((0, 0), (0, -indices.shape[1] % per_byte))).reshape(len(indices), -1, per_byte)
    shifts = np.arange(per_byte)[::-1] * bits
    result: Pixels = np.bitwise_or.reduce(padded << shifts, axis=-1).astype(np.uint8)
    return result


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("width", [1, 30, 31, 32, 33])
def test_pixels_are_those_that_pillow_reads(mode: str, width: int) -> None:
    image = Image.fromarray(photo(1, 9, width)).convert(mode)
    data = file(image, "BMP")
    read = next(decode(data).pictures).pixels
    assert np.array_equal(read, np.asarray(image.convert("RGB")))
    header = inspect(data)
    assert (header.format, header.width, header.height, header.frames) == (ImageFormat.BMP, width, 9, 1)
    assert header.grey == (mode in ("1", "L"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [12, 16, 40, 52, 56, 64, 108, 124])
def test_every_header_and_palette_is_read(bits: int, size: int) -> None:
    indices, count = (INDICES.astype(int) % 2**bits).astype(np.uint8), 2**bits
    entry = 3 if size == 12 else 4
    head = bytes(max(0, size - 40))
    data = bmp(9, 7, bits, rows(packed(indices, bits)), size=size, rest=head + palette(COLOURS[:count], entry))
    if size == 16:  # the first 16 bytes only
        data = struct.pack("<2sI4xI", b"BM", 0, 30 + 4 * count) + data[14:30] + data[54:]
    assert np.array_equal(read_pixels(data), COLOURS[indices])


def test_palette_that_lacks_colours_is_black_there() -> None:
    data = bmp(9, 7, 8, rows(INDICES), used=100, rest=palette(COLOURS[:100]))
    expected = np.where(INDICES[..., None] < 100, COLOURS[INDICES], 0)
    assert np.array_equal(read_pixels(data), expected)


def test_rows_from_the_top_are_not_turned() -> None:
    up = bmp(32, 24, 24, rows(photo()[..., ::-1]))
    down = bmp(32, -24, 24, rows(photo()[::-1, :, ::-1]))
    assert np.array_equal(read_pixels(up), photo())
    assert np.array_equal(read_pixels(down), photo())
    assert inspect(down).height == 24


def test_fourth_byte_is_alpha_only_where_a_mask_says_so() -> None:
    stored = np.dstack([photo()[..., ::-1], photo(2)[..., 0]])
    plain = bmp(32, 24, 32, rows(stored))
    masks = struct.pack("<4I", *ARGB)
    before_alpha = bmp(32, 24, 32, rows(stored), compression=BITFIELDS, rest=masks[:12])
    assert not inspect(plain).has_alpha
    assert np.array_equal(read_pixels(plain), photo())
    assert np.array_equal(read_pixels(before_alpha), photo())
    for size, compression in ((56, BITFIELDS), (108, BITFIELDS), (124, BITFIELDS), (40, ALPHA_BITFIELDS)):
        head = masks.ljust(size - 40, b"\0")
        data = bmp(32, 24, 32, rows(stored), size=size, compression=compression, rest=head)
        assert inspect(data).has_alpha
        assert np.array_equal(read_pixels(data), np.dstack([photo(), photo(2)[..., 0]]))


def test_alpha_that_was_never_written_is_opaque() -> None:
    stored = np.dstack([photo()[..., ::-1], np.zeros((24, 32), np.uint8)])
    data = bmp(32, 24, 32, rows(stored), size=56, compression=BITFIELDS, rest=struct.pack("<4I", *ARGB))
    (picture,) = decode(data).pictures
    assert picture.alpha is None
    assert np.array_equal(picture.pixels, photo())


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (16, None),
        (16, (0xF800, 0x7E0, 0x1F)),
        (16, (0x1F, 0x7E0, 0xF800)),
        (16, (0xF00, 0xF0, 0xF)),
        (32, (0x3FF00000, 0xFFC00, 0x3FF)),
        (32, (0xFF000000, 0xFF0000, 0xFF00)),
        (32, (0x1F, 0, 0xFFF00000)),
    ],
)
def test_channels_of_any_bits_are_scaled(bits: int, masks: tuple[int, int, int] | None) -> None:
    given = masks or (0x7C00, 0x3E0, 0x1F)
    stored = np.zeros((24, 32), np.uint64)
    expected = np.zeros((24, 32, 3), np.uint8)
    for channel, mask in enumerate(given):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            values = np.rint(photo()[..., channel] * ((mask >> shift) / 255)).astype(np.uint64)
            stored |= values << np.uint64(shift)
            expected[..., channel] = np.rint(values * (255 / (mask >> shift)))
    raw = rows(stored.astype(f"<u{bits // 8}").view(np.uint8))
    rest = struct.pack("<3I", *masks) if masks else b""
    data = bmp(32, 24, bits, raw, compression=BITFIELDS if masks else NONE, rest=rest)
    assert np.abs(read_pixels(data).astype(int) - expected).max() <= (1 if bits == 32 else 0)


RUNS = bytes((3, 5, 0, 4, 1, 2, 3, 4, 2, 7, 0, 0, 0, 2, 2, 1, 4, 9, 0, 0, 9, 1, 0, 1))
"""Three fives, four that are listed, two sevens; two to the right and one up, four nines; nine ones; the end."""


def test_run_lengths_are_read() -> None:
    expected = np.zeros((4, 9), np.uint8)
    expected[3] = [5, 5, 5, 1, 2, 3, 4, 7, 7]
    expected[1, 2:6], expected[0] = 9, 1
    data = bmp(9, 4, 8, RUNS, compression=RLE8, rest=palette(COLOURS))
    assert np.array_equal(read_pixels(data), COLOURS[expected])


def test_run_lengths_of_four_bits_are_read() -> None:
    runs = bytes((5, 0x12, 0, 3, 0x45, 0x60, 0, 0, 20, 0x77, 0, 1))
    expected = np.array([[7] * 9, [1, 2, 1, 2, 1, 4, 5, 6, 0]])
    data = bmp(9, 2, 4, runs, compression=RLE4, rest=palette(COLOURS[:16]))
    assert np.array_equal(read_pixels(data), COLOURS[expected])


def test_run_lengths_outside_the_picture_are_ignored() -> None:
    for runs in (bytes((250, 1)) * 4, bytes((0, 2, 255, 255, 3, 3, 0, 1)), bytes((9, 1, 0, 2, 1, 0, 4, 2, 0, 1))):
        assert read_pixels(bmp(9, 2, 8, runs + bytes((0, 1)), compression=RLE8, rest=palette(COLOURS))).shape == (
            2,
            9,
            3,
        )


def test_embedded_profile_is_kept() -> None:
    profile = rgb_profile(DISPLAY_P3)
    raw = rows(photo()[..., ::-1])
    head = bytearray(84)
    head[16:20] = b"DEBM"
    head[72:80] = struct.pack("<II", 124 + len(raw), len(profile))
    data = bmp(32, 24, 24, raw, size=124, rest=bytes(head), profile=profile)
    image = decode(data)
    assert image.space.profile == profile
    assert np.array_equal(next(image.pictures).pixels, photo())
    assert read_bitmap(data[:-1]).profile is None


def test_grey_and_masks() -> None:
    grey = Image.fromarray(photo()).convert("L")
    data = file(grey, "BMP")
    assert next(decode(data, keep_grey=True).pictures).pixels.shape == (24, 32, 3)
    assert np.array_equal(Mask.decode(data).plane[..., 0], np.asarray(grey))


WHOLE = bmp(32, 24, 24, rows(photo()[..., ::-1]))


@pytest.mark.parametrize(
    "data",
    [
        WHOLE[:20],
        WHOLE[:40],
        bmp(0, 24, 24, b""),
        bmp(32, 0, 24, b""),
        bmp(-32, 24, 24, b""),
        bmp(32, 24, 24, b"", size=124),
    ],
)
def test_broken_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptImage):
        inspect(data)


@pytest.mark.parametrize(
    "data",
    [
        WHOLE[:-100],
        bmp(2**31 - 1, 2**31 - 1, 1, b""),
        bmp(9, 4, 8, RUNS[:-3], compression=RLE8, rest=palette(COLOURS)),
        bmp(9, 4, 8, bytes((0, 200, 1, 2)), compression=RLE8, rest=palette(COLOURS)),
        bmp(9, 4, 8, b"", compression=RLE8, rest=palette(COLOURS)),
    ],
)
def test_missing_pixels_are_corrupt(data: bytes) -> None:
    inspect(data)
    with pytest.raises(CorruptImage, match="too early"):
        decode(data)


def test_padding_of_the_last_row_may_be_missing() -> None:
    data = bmp(31, 24, 24, rows(photo(0, 24, 31)[..., ::-1]))
    assert np.array_equal(read_pixels(data[:-3]), photo(0, 24, 31))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bmp(8, 8, 0, b"", compression=JPEG), "a JPEG wrapped in a BMP"),
        (bmp(8, 8, 24, b"", compression=RLE8), "24 bits a pixel with the compression 1"),
        (bmp(8, 8, 5, b""), "5 bits a pixel"),
        (bmp(8, 8, 24, b"", compression=9), "compression 9"),
        (bmp(8, 8, 1, b"", compression=BITFIELDS, size=64, rest=bytes(24)), "compression 3"),
        (bmp(8, 8, 24, b"", compression=4, size=64, rest=bytes(24)), "compression 4"),
        (bmp(8, 8, 16, b"", compression=BITFIELDS, rest=struct.pack("<3I", 0xF0F0, 0xF, 0xF00)), "0xf0f0"),
        (bmp(8, 8, 16, b"", compression=BITFIELDS, rest=struct.pack("<3I", 0xFF0000, 0xF, 0xF00)), "0xff0000"),
    ],
)
def test_unusual_layouts_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words) as failure:
        inspect(data)
    assert "image/bmp" in failure.value.members["accepted"]


def test_endless_run_lengths_are_refused() -> None:
    data = bmp(60_000, 60_000, 8, bytes((1, 1)) * 2**22, compression=RLE8, rest=palette(COLOURS))
    with pytest.raises(UnsupportedImage, match="4194304 bytes in run lengths"):
        decode(data)


VARIANTS = {
    "BMP3 24": ("RGB", ["-type", "truecolor"], "BMP3"),
    "BMP2": ("RGB", [], "BMP2"),
    "BMP5 alpha": ("RGBA", [], "BMP"),
    "run lengths": ("RGB", ["-colors", "200", "-compress", "rle"], "BMP3"),
    "16 colours": ("RGB", ["-colors", "16", "-type", "palette", "-compress", "none"], "BMP3"),
    "2 colours": ("RGB", ["-monochrome"], "BMP3"),
    "565": ("RGB", ["-define", "bmp:subtype=RGB565"], "BMP"),
    "555": ("RGB", ["-define", "bmp:subtype=RGB555"], "BMP"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_pixels_are_those_that_imagemagick_reads(variant: str, tmp_path: Path) -> None:
    convert = shutil.which("convert-im6.q16") or shutil.which("convert")
    if convert is None:
        pytest.skip("ImageMagick is not installed")
    mode, options, kind = VARIANTS[variant]
    pixels = photo(1, 23, 31) if mode == "RGB" else np.dstack([photo(1, 23, 31), photo(2, 23, 31)[..., 0]])
    (tmp_path / "in.png").write_bytes(file(pixels))
    subprocess.run([convert, tmp_path / "in.png", *options, f"{kind}:{tmp_path / 'in.bmp'}"], check=True)
    subprocess.run([convert, tmp_path / "in.bmp", f"PNG32:{tmp_path / 'out.png'}"], check=True)
    expected = np.asarray(Image.open(io.BytesIO((tmp_path / "out.png").read_bytes())).convert(mode))
    read = read_pixels((tmp_path / "in.bmp").read_bytes())
    read = np.stack([read] * 3, axis=-1) if read.ndim == 2 else read
    assert np.abs(read.astype(int) - expected).max() <= 1
