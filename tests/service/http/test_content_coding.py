import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from service.errors import MalformedBody, UnsupportedCoding
from service.http.content_coding import PIECE, decode_stream, parse_coding
from service.http.problems import failure_headers

CONTENT = bytes(range(256)) * 40


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def decode(coding: str, chunks: Iterable[bytes]) -> list[bytes]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> list[bytes]:
        return [piece async for piece in decode_stream(stream(), coding)]

    return asyncio.run(collect())


def cut(content: bytes, length: int) -> list[bytes]:
    return [content[first : first + length] for first in range(0, len(content), length)]


@pytest.mark.parametrize(
    ("headers", "coding"),
    [
        ([], None),
        ([""], None),
        (["identity"], None),
        (["gzip"], "gzip"),
        (["X-GZip"], "gzip"),
        ([" Deflate "], "deflate"),
        (["identity, gzip"], "gzip"),
        (["identity", "gzip"], "gzip"),
    ],
)
def test_coding_is_read(headers: list[str], coding: str | None) -> None:
    assert parse_coding(headers) == coding


@pytest.mark.parametrize("headers", [["br"], ["zstd"], ["compress"], ["gzip, gzip"], ["gzip", "br"], ["?"]])
def test_other_codings_are_refused_with_those_that_are_accepted(headers: list[str]) -> None:
    with pytest.raises(UnsupportedCoding, match=r"accepted are: gzip, deflate, identity") as failure:
        parse_coding(headers)
    assert ", ".join(headers) in failure.value.detail
    assert failure_headers(failure.value, "id")["Accept-Encoding"] == "gzip, deflate, identity"


def test_every_coding_can_be_refused() -> None:
    with pytest.raises(UnsupportedCoding, match="accepted are: identity"):
        parse_coding(["gzip"], accepted=())


@pytest.mark.parametrize("length", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        ("gzip", gzip.compress(CONTENT)),
        ("gzip", gzip.compress(CONTENT[:5000]) + gzip.compress(b"") + gzip.compress(CONTENT[5000:])),
        ("gzip", gzip.compress(CONTENT) + bytes(100)),
        ("deflate", zlib.compress(CONTENT)),
        ("deflate", raw_deflate(CONTENT)),
    ],
)
def test_body_is_decoded_as_it_arrives(coding: str, coded: bytes, length: int) -> None:
    assert b"".join(decode(coding, cut(coded, length))) == CONTENT


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_no_body_is_no_body(coding: str) -> None:
    assert decode(coding, []) == []


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 5 * PIECE])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
def test_pieces_are_small(coding: str, size: int) -> None:
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "raw": raw_deflate,
    }
    compress = compressors[coding]
    pieces = decode("gzip" if coding == "gzip" else "deflate", [compress(bytes(size))])
    assert sum(map(len, pieces)) == size
    assert max(map(len, pieces)) <= PIECE


@pytest.mark.parametrize(
    ("coding", "coded", "words"),
    [
        ("gzip", CONTENT, "gzip is broken"),
        ("gzip", gzip.compress(CONTENT)[:-1], "gzip ends too early"),
        ("gzip", b"\x1f", "gzip ends too early"),
        ("gzip", gzip.compress(CONTENT)[:-8] + bytes(8), "gzip is broken"),
        ("gzip", gzip.compress(CONTENT) + b"rest", "gzip is broken"),
        ("gzip", gzip.compress(CONTENT) + b"?", "gzip ends too early"),
        ("deflate", zlib.compress(CONTENT)[:-1], "deflate ends too early"),
        ("deflate", zlib.compress(CONTENT) + b"rest", "deflate goes on after its end"),
        ("deflate", b"\xff\xff\xff", "deflate is broken"),
    ],
)
def test_broken_coding_is_malformed(coding: str, coded: bytes, words: str) -> None:
    with pytest.raises(MalformedBody, match=words):
        decode(coding, [coded])
