"""How the pixels of a TIFF's first page are stored, as far as its tags say (TIFF 6.0)."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from math import ceil
from typing import NamedTuple

from tifffile import COMPRESSION, EXTRASAMPLE, FILETYPE, PHOTOMETRIC, PREDICTOR, SAMPLEFORMAT

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.formats import readable_types
from service.imaging.codecs.lab import White, is_d50, is_usable
from service.imaging.codecs.tiff_directory import Directory, corrupt, read_directory

ALPHA_SAMPLES = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)

COLOUR_SAMPLES = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.ICCLAB: 3,
}
"""What is read, and how many samples of a pixel are its colours."""

GREY_PHOTOMETRICS = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK)
RAW_PHOTOMETRICS = (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)
EXACT_DEPTHS = {
    PHOTOMETRIC.PALETTE: (1, 2, 4, 8, 16),
    PHOTOMETRIC.YCBCR: (8, 12),
    PHOTOMETRIC.CIELAB: (8, 16),
    PHOTOMETRIC.ICCLAB: (8, 16),
}
"""The bits a channel of those that do not have any from 1 to 16."""

FAX_COMPRESSIONS = (COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6, COMPRESSION.CCIRLEW)
DEFLATE_COMPRESSIONS = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
ZSTD_COMPRESSIONS = (COMPRESSION.ZSTD, COMPRESSION.ZSTD_DEPRECATED)
JPEG_2000_COMPRESSIONS = (
    COMPRESSION.JPEG2000,
    COMPRESSION.JPEG_2000_LOSSY,
    COMPRESSION.APERIO_JP2000_YCBC,
    COMPRESSION.APERIO_JP2000_RGB,
)
WEBP_COMPRESSIONS = (COMPRESSION.WEBP, COMPRESSION.WEBP_DEPRECATED)
JPEG_XL_COMPRESSIONS = (COMPRESSION.JPEGXL, COMPRESSION.JPEGXL_DNG)
JPEG_XR_COMPRESSIONS = (COMPRESSION.JPEGXR, COMPRESSION.JPEGXR_NDPI)
"""Not read: jxrlib makes up what is missing of a file, and crashes on damaged ones."""

BYTE_COMPRESSIONS = (
    COMPRESSION.NONE,
    COMPRESSION.PACKBITS,
    COMPRESSION.LZW,
    COMPRESSION.LZMA,
    *DEFLATE_COMPRESSIONS,
    *ZSTD_COMPRESSIONS,
)
"""Those that are of bytes, and do not know of pixels."""

IMAGE_COMPRESSIONS = (
    COMPRESSION.JPEG,
    COMPRESSION.LERC,
    *JPEG_2000_COMPRESSIONS,
    *WEBP_COMPRESSIONS,
    *JPEG_XL_COMPRESSIONS,
)
"""Those whose strips and tiles are images with headers of their own."""

LIBTIFF_COMPRESSIONS = (COMPRESSION.LZW, COMPRESSION.PACKBITS, *FAX_COMPRESSIONS, COMPRESSION.THUNDERSCAN)
"""Those that are left to libtiff."""

COMPRESSIONS = frozenset({*BYTE_COMPRESSIONS, *IMAGE_COMPRESSIONS, *LIBTIFF_COMPRESSIONS, COMPRESSION.OJPEG})

COMPRESSION_NAMES = {
    COMPRESSION.NONE: "no compression",
    COMPRESSION.OJPEG: "old-style JPEG",
    **dict.fromkeys(FAX_COMPRESSIONS, "CCITT"),
    **dict.fromkeys(JPEG_2000_COMPRESSIONS, "JPEG 2000"),
    **dict.fromkeys(JPEG_XL_COMPRESSIONS, "JPEG XL"),
    **dict.fromkeys(JPEG_XR_COMPRESSIONS, "JPEG XR"),
}

MAX_SAMPLES = 8
"""Of a pixel: colours, alpha, masks and spot colours."""

MAX_SEGMENTS = 2**17

TILE_MARGIN = 2**24
"""Pixels by which a tile may be larger than its picture."""

REPEATED_BYTES = 16
"""So many times the bytes of a file strips and tiles may have together: some writers store equal ones once."""

USUAL = "save it as RGB with 8 or 16 bits a channel, compressed with LZW or Deflate"

WHOLE_IMAGE = 2**32 - 1
"""The rows of a strip where there is one."""


class Tag(IntEnum):
    """The tags that the layout is read from."""

    SUBFILE_TYPE = 254
    WIDTH = 256
    LENGTH = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    PLANAR = 284
    T4_OPTIONS = 292
    T6_OPTIONS = 293
    PREDICTOR = 317
    WHITE_POINT = 318
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    JPEG_OFFSET = 513
    JPEG_LENGTH = 514
    YCBCR_COEFFICIENTS = 529
    YCBCR_SUBSAMPLING = 530
    REFERENCE_BLACK_WHITE = 532
    XMP = 700
    IPTC = 33_723
    IMAGE_RESOURCES = 34_377
    ICC_PROFILE = 34_675
    LERC_PARAMETERS = 50_674
    DNG_VERSION = 50_706


class Segment(NamedTuple):
    """A strip, or a tile: where it is in the picture, and in the file."""

    top: int
    left: int
    plane: int
    """Of samples that are stored apart; else 0."""
    rows: int
    """As stored. The last strip may be shorter than the others."""
    offset: int
    size: int
    """Bytes in the file."""


@dataclass(frozen=True)
class TiffLayout:
    """How pixels are stored."""

    directory: Directory
    width: int
    height: int
    bits: int
    samples: int
    """Samples of a pixel."""
    photometric: PHOTOMETRIC
    compression: COMPRESSION
    is_planar: bool
    """Whether the samples of a kind are stored apart from the others."""
    extra_samples: tuple[int, ...]
    """The kinds of the samples that are no colours."""
    tile: tuple[int, int] | None
    """Height and width; None for strips."""
    segment_rows: int
    predictor: int = 1
    is_bit_reversed: bool = False
    """Whether the first pixel is in the lowest bit of a byte."""
    orientation: int = 1
    subsampling: tuple[int, int] = (1, 1)
    """How many pixels in a row, and how many rows, share their chroma."""

    @property
    def colours(self) -> int:
        """How many of the samples are colours."""
        return COLOUR_SAMPLES[self.photometric]

    @property
    def is_grey(self) -> bool:
        """Whether colours are one channel, without a palette."""
        return self.photometric in GREY_PHOTOMETRICS

    @property
    def depth(self) -> int:
        """The bits a channel of what is decoded, 8 or 16."""
        return 16 if self.bits > 8 and self.photometric != PHOTOMETRIC.PALETTE else 8

    @property
    def is_decoded_to_rgb(self) -> bool:
        """Whether the decoder of JPEG converts YCbCr."""
        is_jpeg = self.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)
        return self.photometric == PHOTOMETRIC.YCBCR and is_jpeg and not self.is_planar

    @property
    def alpha(self) -> int | None:
        """Which sample is alpha: the first extra one that says so."""
        kinds = (self.colours + i for i, kind in enumerate(self.extra_samples) if kind in ALPHA_SAMPLES)
        return next(kinds, None)

    @property
    def is_premultiplied(self) -> bool:
        """Whether colours are multiplied by alpha."""
        return self.alpha is not None and self.extra_samples[self.alpha - self.colours] == EXTRASAMPLE.ASSOCALPHA

    @property
    def lab_white(self) -> White | None:
        """The white of CIELab, where a tag names a usable one that is not D50 (sections 20 and 23)."""
        try:
            x, y = self.directory.rationals(Tag.WHITE_POINT)
        except (CorruptImage, ValueError):  # broken, or not there
            return None
        counts = self.photometric == PHOTOMETRIC.CIELAB and is_usable((x, y)) and not is_d50((x, y))
        return (x, y) if counts else None

    @property
    def segment_samples(self) -> int:
        """Samples of a pixel in a strip or tile."""
        return 1 if self.is_planar else self.samples

    @property
    def segment_width(self) -> int:
        """Pixels in a row of a strip or tile."""
        return self.tile[1] if self.tile else self.width

    def row_bytes(self, rows: int) -> int:
        """The bytes of that many rows of a strip or tile before compression."""
        across, down = self.subsampling
        if across * down > 1:
            return ceil(rows / down) * ceil(self.segment_width / across) * (across * down + 2)
        return rows * ceil(self.segment_width * self.segment_samples * self.bits / 8)

    def segments(self, planes: frozenset[int]) -> Iterator[Segment]:
        """Yield strips or tiles, of those planes alone. Raises CorruptImage where some are missing."""
        offsets, sizes = self._find_segments()
        rows, columns = self.segment_rows, self.segment_width
        down, across = ceil(self.height / rows), ceil(self.width / columns)
        for index in range(down * across * (self.samples if self.is_planar else 1)):
            plane, place = divmod(index, down * across)
            if plane in planes or not self.is_planar:
                top = place // across * rows
                stored = rows if self.tile else min(rows, self.height - top)
                yield Segment(top, place % across * columns, plane, stored, offsets[index], sizes[index])

    def _find_segments(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The offsets and sizes of all strips or tiles."""
        tags = self.directory
        tag = (Tag.TILE_OFFSETS, Tag.TILE_BYTE_COUNTS) if self.tile else (Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS)
        offsets, sizes = tags.integers(tag[0]), tags.integers(tag[1])
        if self.compression == COMPRESSION.NONE:
            sizes = (self.row_bytes(self.segment_rows),) * len(offsets)  # what the file says is often wrong
        elif not sizes and len(offsets) == 1:
            sizes = (max(0, len(tags.data) - offsets[0]),)
        count = ceil(self.height / self.segment_rows) * ceil(self.width / self.segment_width)
        if min(len(offsets), len(sizes)) < count * (self.samples if self.is_planar else 1):
            raise corrupt("it lacks some of its strips or tiles")
        if self.compression != COMPRESSION.NONE and sum(sizes) > REPEATED_BYTES * len(tags.data):
            raise corrupt("its strips or tiles have more bytes than the file")
        return offsets, sizes


def read_layout(data: bytes) -> TiffLayout:
    """Read the layout of the first page. Raises CorruptImage; UnsupportedImage for pixels that are not read."""
    tags = read_directory(data)
    _check_kind_of_page(tags)
    photometric = _read_photometric(tags)
    samples = _read_samples(tags, photometric)
    compression = _read_compression(tags)
    tile = _read_tile(tags)
    height = tags.integer(Tag.LENGTH)
    layout = TiffLayout(
        tags,
        tags.integer(Tag.WIDTH),
        height,
        _read_bits(tags, is_lab=photometric == PHOTOMETRIC.CIELAB),
        samples,
        photometric,
        compression,
        samples > 1 and _read_planar(tags),
        _read_extra_samples(tags, samples - COLOUR_SAMPLES[photometric]),
        tile,
        tile[0] if tile else min(tags.integer(Tag.ROWS_PER_STRIP, WHOLE_IMAGE), height),
        tags.integer(Tag.PREDICTOR, 1),
        _read_bit_order(tags),
        _read_orientation(tags),
        _read_subsampling(tags) if photometric == PHOTOMETRIC.YCBCR and compression in BYTE_COMPRESSIONS else (1, 1),
    )
    _check(layout)
    return layout


def unsupported(what: str, remedy: str = USUAL) -> UnsupportedImage:
    """The error for a file that is not read."""
    return UnsupportedImage(f"a TIFF {what} is not accepted; {remedy}", accepted=readable_types())


def _check_kind_of_page(tags: Directory) -> None:
    """Refuse a raw file: its first page is a preview, marked as a reduced image (TIFF 6.0, section 8)."""
    if tags.integer(Tag.SUBFILE_TYPE, 0) & FILETYPE.REDUCEDIMAGE or Tag.DNG_VERSION in tags:
        raise unsupported("that is a camera's raw file, or begins with a preview,", "develop it to a TIFF or JPEG")


def _read_photometric(tags: Directory) -> PHOTOMETRIC:
    code = tags.integer(Tag.PHOTOMETRIC)
    if code in RAW_PHOTOMETRICS:
        raise unsupported("that is a camera's raw file", "develop it to a TIFF or JPEG")
    names = {int(kind): kind.name for kind in PHOTOMETRIC}
    if code not in {int(kind) for kind in COLOUR_SAMPLES}:
        raise unsupported(f"of the photometric interpretation {names.get(code, code)}")
    if code == PHOTOMETRIC.SEPARATED and tags.integer(Tag.INK_SET, 1) != 1:
        raise unsupported("of other inks than CMYK")
    return PHOTOMETRIC(code)


def _read_compression(tags: Directory) -> COMPRESSION:
    code = tags.integer(Tag.COMPRESSION, COMPRESSION.NONE)
    names = {int(kind): name_compression(kind) for kind in COMPRESSION}
    if code not in COMPRESSIONS:
        raise unsupported(f"with the compression {names.get(code, code)}")
    return COMPRESSION(code)


def name_compression(compression: COMPRESSION) -> str:
    """What a compression is called."""
    return COMPRESSION_NAMES.get(compression, compression.name)


def _read_bits(tags: Directory, *, is_lab: bool) -> int:
    """The bits of each sample, which are unsigned whole numbers. Some say of Lab that it is signed, as a and b are."""
    bits, formats = set(tags.integers(Tag.BITS)), set(tags.integers(Tag.SAMPLE_FORMAT))
    names = {SAMPLEFORMAT.INT: "signed", SAMPLEFORMAT.IEEEFP: "floating-point"}
    if formats - {SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID, SAMPLEFORMAT.INT if is_lab else SAMPLEFORMAT.UINT}:
        kind = names.get(SAMPLEFORMAT(max(formats)), "complex") if max(formats) in set(SAMPLEFORMAT) else "unknown"
        raise unsupported(f"of {kind} samples of {max(bits, default=1)} bits")
    if len(bits) > 1:
        raise unsupported(f"whose channels differ in depth ({', '.join(map(str, sorted(bits)))} bits)")
    depth = bits.pop() if bits else 1
    if not 1 <= depth <= 16:
        raise unsupported(f"of {depth} bits a channel")
    return depth


def _read_samples(tags: Directory, photometric: PHOTOMETRIC) -> int:
    count = tags.integer(Tag.SAMPLES, 1)
    if count < COLOUR_SAMPLES[photometric]:
        raise corrupt(f"its pixels have {count} samples, too few for their colours")
    if count > MAX_SAMPLES:
        raise unsupported(f"of {count} samples a pixel (more than {MAX_SAMPLES})")
    return count


def _read_planar(tags: Directory) -> bool:
    code = tags.integer(Tag.PLANAR, 1)
    if code not in (1, 2):
        raise corrupt(f"its planar configuration is {code}")
    return code == 2


def _read_extra_samples(tags: Directory, count: int) -> tuple[int, ...]:
    """The kinds of the extra samples, unspecified where the tag says nothing of them."""
    kinds = tags.integers(Tag.EXTRA_SAMPLES)
    return (*kinds, *[EXTRASAMPLE.UNSPECIFIED.value] * max(0, count - len(kinds)))[: max(0, count)]


def _read_tile(tags: Directory) -> tuple[int, int] | None:
    if Tag.TILE_WIDTH not in tags and Tag.TILE_OFFSETS not in tags:
        return None
    return tags.integer(Tag.TILE_LENGTH), tags.integer(Tag.TILE_WIDTH)


def _read_bit_order(tags: Directory) -> bool:
    code = tags.integer(Tag.FILL_ORDER, 1)
    if code not in (1, 2):
        raise corrupt(f"its fill order is {code}")
    return code == 2


def _read_orientation(tags: Directory) -> int:
    """1, upright, where it makes no sense: a photo is still good."""
    try:
        code = tags.integer(Tag.ORIENTATION, 1)
    except CorruptImage:
        return 1
    return code if code in range(1, 9) else 1


def _read_subsampling(tags: Directory) -> tuple[int, int]:
    """How many pixels across and down share their chroma (section 21)."""
    values = tags.integers(Tag.YCBCR_SUBSAMPLING) or (2, 2)
    if len(values) != 2 or not set(values) <= {1, 2, 4}:
        raise corrupt("its subsampling is not of 1, 2 or 4")
    return values[0], values[1]


def _check(layout: TiffLayout) -> None:
    if layout.width < 1 or layout.height < 1 or layout.segment_rows < 1 or layout.segment_width < 1:
        raise corrupt("it has a side of no pixels")
    _check_depth(layout)
    _check_predictor(layout)
    _check_segments(layout)


def _check_depth(layout: TiffLayout) -> None:
    photometric, compression, bits = layout.photometric, layout.compression, layout.bits
    if bits not in EXACT_DEPTHS.get(photometric, range(1, 17)):
        raise unsupported(f"of {bits} bits a channel in {photometric.name}")
    plain = {**dict.fromkeys(FAX_COMPRESSIONS, 1), COMPRESSION.THUNDERSCAN: 4}
    if compression in plain and (bits, layout.samples) != (plain[compression], 1):
        name = name_compression(compression)
        raise unsupported(f"of {layout.samples} samples of {bits} bits, compressed with {name},")
    if photometric == PHOTOMETRIC.YCBCR and (layout.samples > 3 or not (bits == 8 or layout.is_decoded_to_rgb)):
        raise unsupported(f"of {layout.samples} samples of {bits} bits in YCbCr")
    if layout.subsampling != (1, 1) and layout.is_planar:
        raise unsupported("in YCbCr with planes of two sizes")


def _check_predictor(layout: TiffLayout) -> None:
    predictor, bits = layout.predictor, layout.bits
    if layout.compression not in BYTE_COMPRESSIONS or predictor == PREDICTOR.NONE:
        return
    if predictor != PREDICTOR.HORIZONTAL or bits not in (8, 16) or layout.subsampling != (1, 1):
        raise unsupported(f"of {bits} bits a channel with the predictor {predictor}")


def _check_segments(layout: TiffLayout) -> None:
    count = ceil(layout.height / layout.segment_rows) * ceil(layout.width / layout.segment_width)
    if count * (layout.samples if layout.is_planar else 1) > MAX_SEGMENTS:
        raise unsupported(f"of more than {MAX_SEGMENTS} strips or tiles", "save it with larger ones")
    if layout.tile and layout.tile[0] * layout.tile[1] > layout.width * layout.height + TILE_MARGIN:
        raise unsupported(f"of {layout.width}×{layout.height} pixels in a much larger tile", "save it in strips")
