import lzma
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
from tifffile import COMPRESSION

from service.imaging.codecs.tiff_compression import UNPACKERS, unpack_by_libtiff

PLAIN = bytes(range(256)) * 8

PACKED: dict[COMPRESSION, bytes] = {
    COMPRESSION.NONE: PLAIN,
    COMPRESSION.LZW: bytes(imagecodecs.lzw_encode(PLAIN)),
    COMPRESSION.LZMA: lzma.compress(PLAIN),
    COMPRESSION.PACKBITS: bytes(imagecodecs.packbits_encode(PLAIN)),
    COMPRESSION.ADOBE_DEFLATE: zlib.compress(PLAIN),
    COMPRESSION.DEFLATE: zlib.compress(PLAIN),
    COMPRESSION.ZSTD: bytes(imagecodecs.zstd_encode(PLAIN)),
    COMPRESSION.ZSTD_DEPRECATED: bytes(imagecodecs.zstd_encode(PLAIN)),
}

LARGE = bytes(2**24)
BOMBS: dict[COMPRESSION, bytes] = {
    COMPRESSION.LZMA: lzma.compress(LARGE, preset=0),
    COMPRESSION.PACKBITS: b"\x81\0" * 2**17,
    COMPRESSION.ADOBE_DEFLATE: zlib.compress(LARGE),
    COMPRESSION.ZSTD: bytes(imagecodecs.zstd_encode(LARGE)),
    COMPRESSION.LZW: bytes(imagecodecs.lzw_encode(bytes(2**20))),
}


def unpack(compression: COMPRESSION, data: bytes, most: int) -> bytes:
    if compression in UNPACKERS:
        return UNPACKERS[compression](data, most)
    return unpack_by_libtiff([data], compression, most).tobytes()


@pytest.mark.parametrize("compression", PACKED)
def test_bytes_are_unpacked(compression: COMPRESSION) -> None:
    assert unpack(compression, PACKED[compression], len(PLAIN)) == PLAIN


@pytest.mark.parametrize("compression", BOMBS)
def test_output_is_bounded(compression: COMPRESSION) -> None:
    unpack(compression, PACKED[compression], len(PLAIN))  # loads its library
    tracemalloc.start()
    try:
        result = unpack(compression, BOMBS[compression], 100)
    except imagecodecs.ZstdError:
        result = b""
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(result) <= 100
    assert peak < 2**20


def test_dictionary_of_lzma_is_bounded() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    with pytest.raises(lzma.LZMAError, match="emory"):
        unpack(COMPRESSION.LZMA, lzma.compress(PLAIN, filters=filters), len(PLAIN))


@pytest.mark.parametrize("compression", [COMPRESSION.ADOBE_DEFLATE, COMPRESSION.LZMA])
def test_damage_is_noticed(compression: COMPRESSION) -> None:
    noise = np.random.default_rng(0).bytes(2000)
    packed = bytearray(zlib.compress(noise, 0) if compression != COMPRESSION.LZMA else lzma.compress(noise, preset=0))
    assert unpack(compression, bytes(packed), len(noise)) == noise
    packed[1000] ^= 1
    with pytest.raises((zlib.error, lzma.LZMAError)):
        unpack(compression, bytes(packed), len(noise))


def test_missing_checksum_and_further_data_are_no_damage() -> None:
    packed = zlib.compress(PLAIN)
    assert unpack(COMPRESSION.ADOBE_DEFLATE, packed[:-4], len(PLAIN)) == PLAIN
    assert unpack(COMPRESSION.ADOBE_DEFLATE, packed, len(PLAIN) - 1) == PLAIN[:-1]


@pytest.mark.parametrize("compression", [COMPRESSION.LZW, COMPRESSION.PACKBITS])
def test_less_than_is_wanted_is_an_error(compression: COMPRESSION) -> None:
    with pytest.raises(OSError, match="decoder error"):
        unpack(compression, PACKED[compression], len(PLAIN) + 1)


def test_more_than_is_wanted_of_lzw_is_left() -> None:
    noise = np.random.default_rng(0).bytes(5000)
    for most in range(1, 5000, 77):
        assert unpack(COMPRESSION.LZW, bytes(imagecodecs.lzw_encode(noise)), most) == noise[:most]
