import io
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import Pixels
from service.imaging.codecs.tiff_layout import Tag, read_layout
from service.imaging.codecs.tiff_segments import GROUP_SEGMENTS, REVERSED_BITS, decode_segments
from tests.service.imaging.codecs.samples import deep_photo
from tests.service.imaging.codecs.tiff_samples import Value, grey_tags, make_tiff, pack_bits
from tests.service.imaging.images import file, photo

SMALL = photo(height=16, width=16)


def decode(strip: bytes, tags: dict[int, Value], order: str = "<") -> Pixels:
    """Decode the first strip."""
    layout = read_layout(make_tiff([strip], tags, order=order))
    return next(decode_segments(layout, layout.segments(frozenset(range(8)))))[1]


@pytest.mark.parametrize("bits", range(1, 17))
def test_values_of_every_depth_are_unpacked(bits: int) -> None:
    whole = deep_photo(height=16, width=15) >> (16 - bits)
    values: Pixels = whole.astype(np.uint8) if bits <= 8 else whole.astype(np.uint16)
    stored = values.astype(">u2").tobytes() if bits == 16 else pack_bits(values, bits)
    decoded = decode(stored, {Tag.BITS: [bits] * 3, Tag.WIDTH: 15}, ">")
    assert decoded.dtype == values.dtype
    assert np.array_equal(decoded, values)
    if bits < 16:
        reversed_bits = stored.translate(REVERSED_BITS)
        assert np.array_equal(decode(reversed_bits, {Tag.BITS: bits, Tag.WIDTH: 15, Tag.FILL_ORDER: 2}), values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_differences_are_summed(compression: int, order: str) -> None:
    pixels = deep_photo(height=16, width=16)
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    stored = differences.astype(f"{order}u2").tobytes()
    packed = {1: stored, 5: bytes(imagecodecs.lzw_encode(stored)), 8: zlib.compress(stored)}[compression]
    tags: dict[int, Value] = {Tag.BITS: 16, Tag.COMPRESSION: compression, Tag.PREDICTOR: 2}
    assert np.array_equal(decode(packed, tags, order), pixels)


@pytest.mark.parametrize("compression", [5, 8, 32_773, 34_925, 50_000])
def test_too_few_bytes_are_corrupt(compression: int) -> None:
    encoders: dict[int, Callable[[bytes], bytes | bytearray]] = {
        5: imagecodecs.lzw_encode,
        8: zlib.compress,
        32_773: imagecodecs.packbits_encode,
        34_925: imagecodecs.lzma_encode,
        50_000: imagecodecs.zstd_encode,
    }
    packed = bytes(encoders[compression](SMALL.tobytes()[:-1]))
    with pytest.raises((CorruptImage, OSError), match=r"767 bytes of pixels instead of 768|decoder error"):
        decode(packed, {Tag.COMPRESSION: compression})
    with pytest.raises(CorruptImage, match="not in the file"):
        decode(packed, {Tag.COMPRESSION: compression, Tag.STRIP_OFFSETS: 10**6})


def test_pixels_after_the_end_of_the_file_are_corrupt() -> None:
    with pytest.raises(CorruptImage, match="0 bytes of pixels instead of 768"):
        decode(SMALL.tobytes(), {Tag.STRIP_OFFSETS: 10**6})


@pytest.mark.parametrize("sizes", [0, 10**9])
def test_lying_sizes_of_strips(sizes: int) -> None:
    assert np.array_equal(decode(SMALL.tobytes(), {Tag.STRIP_BYTE_COUNTS: sizes}), SMALL)  # they are known without
    with pytest.raises(CorruptImage):
        decode(zlib.compress(SMALL.tobytes()), {Tag.COMPRESSION: 8, Tag.STRIP_BYTE_COUNTS: sizes})


def test_blocks_of_pixels_share_their_chroma() -> None:
    luma = np.arange(16, dtype=np.uint8).reshape(4, 4)
    blocks = [
        [*luma[top : top + 2, left : left + 2].ravel(), 100 + top, 200 + left] for top in (0, 2) for left in (0, 2)
    ]
    tags: dict[int, Value] = {Tag.PHOTOMETRIC: 6, Tag.WIDTH: 3, Tag.LENGTH: 3}
    decoded = decode(bytes(np.array(blocks, np.uint8).ravel()), tags)
    assert np.array_equal(decoded[..., 0], luma[:3, :3])
    assert decoded[..., 1].tolist() == [[100] * 3, [100] * 3, [102] * 3]
    assert decoded[..., 2].tolist() == [[200, 200, 202]] * 3


@pytest.mark.parametrize("kind", ["group3", "group4", "tiff_ccitt"])
def test_fax_is_decoded(kind: str) -> None:
    stripes = Image.fromarray((np.indices((16, 16)).sum(axis=0) % 5 > 2).astype(np.uint8) * 255).convert("1")
    data = file(stripes, "TIFF", compression=kind)
    layout = read_layout(data)
    _, decoded = next(decode_segments(layout, layout.segments(frozenset({0}))))
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("L")) // 255
    assert np.array_equal(decoded[..., 0], shown if layout.photometric == 1 else 1 - shown)


def test_nonsense_as_fax_is_an_error() -> None:
    with pytest.raises(OSError, match="decoder error"):
        decode(bytes(100), grey_tags(BITS=1, COMPRESSION=4))


@pytest.mark.parametrize("encode", [imagecodecs.lzw_encode, imagecodecs.packbits_encode])
def test_more_strips_than_are_decoded_at_once(encode: Callable[[bytes], bytes | bytearray]) -> None:
    rows = 2 * GROUP_SEGMENTS + 5
    pixels = photo(height=2 * rows - 1, width=16)[..., 0]
    strips = [bytes(encode(pixels[top : top + 2].tobytes())) for top in range(0, len(pixels), 2)]
    code = 5 if encode is imagecodecs.lzw_encode else 32_773
    tags = grey_tags(COMPRESSION=code, LENGTH=len(pixels), ROWS_PER_STRIP=2)
    layout = read_layout(make_tiff(strips, tags))
    found = [strip for _, strip in decode_segments(layout, layout.segments(frozenset({0})))]
    assert np.array_equal(np.concatenate(found)[..., 0], pixels)


def test_damaged_lzw_is_an_error() -> None:
    """The code after the one that clears the table is none of a byte, which crashes imagecodecs."""
    codes = [256, 300, 258, 259, 260]
    bits = "".join(f"{code:09b}" for code in codes).ljust(48, "0")
    with pytest.raises(OSError, match="decoder error"):
        decode(int(bits, 2).to_bytes(6), {Tag.COMPRESSION: 5})
