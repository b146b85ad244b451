"""What imagecodecs does not offer of its own copy of libjxl: ICC profiles, and the space that pixels are decoded to.

Its functions are called by their C interface (jxl/decode.h, version 0.9 and later).
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint32, c_void_p
from functools import cache
from typing import Any

import imagecodecs
import numpy as np

from service.errors import UnsupportedImage
from service.imaging.codecs.formats import readable_types
from service.imaging.pixels import Pixels

FIRST_VERSION = 9000
"""0.9, whose functions have these parameters."""

MAX_PROFILE_BYTES = 2**24

SUCCESS, NEED_IMAGE_OUT_BUFFER = 0, 5
COLOR_ENCODING, FULL_IMAGE = 0x100, 0x1000
"""Events of the decoder."""

TARGET_ORIGINAL = 0
UINT8, UINT16 = 2, 3

RGB, GREY = 0, 1
D65, SRGB_PRIMARIES, SRGB_TRANSFER = 1, 1, 13


class LibjxlError(ValueError):
    """libjxl cannot do this with a file."""


class ColorEncoding(ctypes.Structure):
    """JxlColorEncoding."""

    _fields_ = (
        ("color_space", c_int),
        ("white_point", c_int),
        ("white_point_xy", c_double * 2),
        ("primaries", c_int),
        ("primaries_xy", c_double * 6),
        ("transfer_function", c_int),
        ("gamma", c_double),
        ("rendering_intent", c_int),
    )


class PixelFormat(ctypes.Structure):
    """JxlPixelFormat."""

    _fields_ = (("channels", c_uint32), ("type", c_int), ("endianness", c_int), ("align", c_size_t))


def read_icc_profile(data: bytes) -> bytes:
    """The ICC profile of a file that has one. Raises LibjxlError."""
    library, size = _library(), c_size_t()
    with _decoder(data, COLOR_ENCODING) as decoder:
        _expect(library.JxlDecoderProcessInput(decoder), COLOR_ENCODING)
        _expect(library.JxlDecoderGetICCProfileSize(decoder, TARGET_ORIGINAL, byref(size)), SUCCESS)
        if size.value > MAX_PROFILE_BYTES:
            raise LibjxlError(f"its profile has {size.value} bytes")
        profile = ctypes.create_string_buffer(size.value)
        _expect(library.JxlDecoderGetColorAsICCProfile(decoder, TARGET_ORIGINAL, profile, size), SUCCESS)
    return profile.raw


def decode_as_srgb(data: bytes, pixels: Pixels, *, grey: bool) -> None:
    """Decode a file whose colours are stored as XYB to sRGB, into (H, W) or (H, W, C), uint8 or uint16.

    Raises LibjxlError, also where the pixels are not those of the file.
    """
    library, size = _library(), c_size_t()
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    layout = PixelFormat(channels, UINT8 if pixels.dtype == np.uint8 else UINT16, 0, 0)
    encoding = ColorEncoding(GREY if grey else RGB, D65, primaries=SRGB_PRIMARIES, transfer_function=SRGB_TRANSFER)
    with _decoder(data, COLOR_ENCODING | FULL_IMAGE) as decoder:
        _expect(library.JxlDecoderProcessInput(decoder), COLOR_ENCODING)
        _expect(library.JxlDecoderSetPreferredColorProfile(decoder, byref(encoding)), SUCCESS)
        _expect(library.JxlDecoderProcessInput(decoder), NEED_IMAGE_OUT_BUFFER)
        _expect(library.JxlDecoderImageOutBufferSize(decoder, byref(layout), byref(size)), SUCCESS)
        if size.value != pixels.nbytes or not pixels.flags.c_contiguous:
            raise LibjxlError("its pixels are not those of its header")
        target = pixels.ctypes.data_as(c_void_p)
        _expect(library.JxlDecoderSetImageOutBuffer(decoder, byref(layout), target, size), SUCCESS)
        _expect(library.JxlDecoderProcessInput(decoder), FULL_IMAGE)


@cache
def _library() -> Any:
    """The library, through the module of imagecodecs that it is linked to.

    Raises UnsupportedImage where it is not there, as in a build of imagecodecs that contains it otherwise.
    """
    try:
        imagecodecs.jpegxl_version()  # loads the module
        library = ctypes.CDLL(str(sys.modules["imagecodecs._jpegxl"].__file__))
        version = int(library.JxlDecoderVersion())
        for name, result, arguments in (
            ("Create", c_void_p, (c_void_p,)),
            ("Destroy", None, (c_void_p,)),
            ("SubscribeEvents", c_int, (c_void_p, c_int)),
            ("SetInput", c_int, (c_void_p, c_char_p, c_size_t)),
            ("CloseInput", None, (c_void_p,)),
            ("ProcessInput", c_int, (c_void_p,)),
            ("GetICCProfileSize", c_int, (c_void_p, c_int, POINTER(c_size_t))),
            ("GetColorAsICCProfile", c_int, (c_void_p, c_int, c_char_p, c_size_t)),
            ("SetPreferredColorProfile", c_int, (c_void_p, POINTER(ColorEncoding))),
            ("ImageOutBufferSize", c_int, (c_void_p, POINTER(PixelFormat), POINTER(c_size_t))),
            ("SetImageOutBuffer", c_int, (c_void_p, POINTER(PixelFormat), c_void_p, c_size_t)),
        ):
            function = getattr(library, f"JxlDecoder{name}")
            function.restype, function.argtypes = result, arguments
    except (OSError, KeyError, AttributeError) as error:
        raise _missing() from error
    if version < FIRST_VERSION:
        raise _missing()
    return library


def _missing() -> UnsupportedImage:
    detail = "a JPEG XL with an ICC profile is not accepted with this build of imagecodecs; send it as a PNG or JPEG"
    return UnsupportedImage(detail, accepted=readable_types())


@contextmanager
def _decoder(data: bytes, events: int) -> Iterator[c_void_p]:
    library = _library()
    decoder = c_void_p(library.JxlDecoderCreate(None))
    if decoder.value is None:
        raise MemoryError
    try:
        _expect(library.JxlDecoderSubscribeEvents(decoder, events), SUCCESS)
        _expect(library.JxlDecoderSetInput(decoder, data, len(data)), SUCCESS)
        library.JxlDecoderCloseInput(decoder)
        yield decoder
    finally:
        library.JxlDecoderDestroy(decoder)


def _expect(status: int, wanted: int) -> None:
    if status != wanted:
        raise LibjxlError(f"libjxl gives the status {status}")
