"""Hostile files: valid ones of every format that is read, changed by chance. The same seed makes the same files."""

import io
from collections.abc import Callable, Sequence

import imagecodecs
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

SIDES = (40, 56)
"""Height and width of the pictures, in pixels."""

INTERESTING = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1", b"\xff\xff", b"\0", b"\xff", b"\x80")
"""Values at the ends of ranges, which lengths, counts and offsets rarely have."""

Pixels = NDArray[np.uint8]


def sources() -> list[bytes]:
    """Valid files of all formats and of many of their kinds."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*SIDES, 3), np.uint8)
    image = Image.fromarray(pixels)
    grey, alpha, palette = image.convert("L"), image.convert("RGBA"), image.quantize(16)
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "somebody"
    frames = [Image.fromarray(rng.integers(0, 256, (*SIDES, 3), np.uint8)) for _ in range(3)]
    return [
        _save(image, "JPEG", exif=exif, icc_profile=_profile()),
        _save(image, "JPEG", progressive=True),
        _save(image.convert("CMYK"), "JPEG"),
        _save(grey, "JPEG"),
        _save(image, "PNG", exif=exif, icc_profile=_profile()),
        _save(alpha, "PNG"),
        _save(palette, "PNG", transparency=3),
        _save(grey.convert("1"), "PNG"),
        bytes(imagecodecs.png_encode(rng.integers(0, 65536, (*SIDES, 3), np.uint16))),
        _animate(frames, "PNG"),
        _save(image, "GIF"),
        _animate(frames, "GIF"),
        _save(image, "WEBP", exif=exif),
        _save(alpha, "WEBP", lossless=True),
        _animate(frames, "WEBP"),
        _save(image, "AVIF"),
        *(_save(image, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        _save(image.convert("CMYK"), "TIFF"),
        _save(image, "BMP"),
        _save(palette, "BMP"),
        bytes(imagecodecs.jpegxl_encode(pixels)),
    ]


def mutate(file: bytes, others: Sequence[bytes], rng: Generator) -> bytes:
    """The file after one to four changes; `others` are where foreign pieces come from."""
    for _ in range(int(rng.integers(1, 5))):
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        file = change(file or b"\0", others, rng)
    return file


def _flip_bits(file: bytes, _others: Sequence[bytes], rng: Generator) -> bytes:
    changed = bytearray(file)
    for at in rng.integers(len(file), size=int(rng.integers(1, 9))):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(file: bytes, _others: Sequence[bytes], rng: Generator) -> bytes:
    value = INTERESTING[int(rng.integers(len(INTERESTING)))]
    at = _position(file, rng)
    return file[:at] + value + file[at + len(value) :]


def _cut_end(file: bytes, _others: Sequence[bytes], rng: Generator) -> bytes:
    return file[: _position(file, rng)]


def _remove(file: bytes, _others: Sequence[bytes], rng: Generator) -> bytes:
    at, length = _position(file, rng), int(rng.integers(1, 64))
    return file[:at] + file[at + length :]


def _repeat(file: bytes, _others: Sequence[bytes], rng: Generator) -> bytes:
    at, length, times = _position(file, rng), int(rng.integers(1, 256)), int(2 ** rng.integers(1, 12))
    return file[:at] + file[at : at + length] * times + file[at + length :]


def _splice(file: bytes, others: Sequence[bytes], rng: Generator) -> bytes:
    other = others[int(rng.integers(len(others)))]
    return file[: _position(file, rng)] + other[_position(other, rng) :]


Change = Callable[[bytes, Sequence[bytes], Generator], bytes]

CHANGES: Sequence[Change] = (_flip_bits, _flip_bits, _overwrite, _overwrite, _cut_end, _remove, _repeat, _splice)


def _position(file: bytes, rng: Generator) -> int:
    """Anywhere, and half of the time near the beginning, where the headers are."""
    most = len(file) if rng.integers(2) else min(len(file), 200)
    return int(rng.integers(most))


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _animate(frames: Sequence[Image.Image], kind: str) -> bytes:
    return _save(frames[0], kind, save_all=True, append_images=frames[1:], duration=20)


def _profile() -> bytes:
    return bytes(imagecodecs.cms_profile("adobergb"))
