"""Content codings of request bodies (RFC 9110, section 8.4): gzip and deflate, decoded as they arrive."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator

from service.errors import MalformedBody, UnsupportedCoding

GZIP, DEFLATE = "gzip", "deflate"
CODINGS = (GZIP, DEFLATE)
"""The codings that are decoded."""

ALIASES = {"x-gzip": GZIP}
"""RFC 9110, section 8.4.1.3."""

GZIP_FORMAT, ZLIB_FORMAT, RAW_FORMAT = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
"""What zlib calls its formats."""

PIECE = 2**18
"""The most bytes that are decoded at once: other requests go on in between."""


def parse_coding(headers: Iterable[str], accepted: Iterable[str] = CODINGS) -> str | None:
    """The coding of a body by the values of all its Content-Encoding headers; None where it has none.

    Raises UnsupportedCoding for one that is not accepted, and for several.
    """
    names = [name.strip().lower() for name in ",".join(headers).split(",")]
    named = [ALIASES.get(name, name) for name in names if name not in ("", "identity")]
    known = list(accepted)
    if len(named) > 1 or not set(named) <= set(known):
        can = ", ".join([*known, "identity"])
        detail = f"the body has the Content-Encoding {', '.join(named)}; accepted are: {can}"
        raise UnsupportedCoding(detail, accepted=[*known, "identity"])
    return named[0] if named else None


async def decode_stream(chunks: AsyncIterable[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    """The decoded bytes of a body, in pieces of at most PIECE bytes. Raises MalformedBody where they are broken."""
    decoder = Decoder(coding)
    async for chunk in chunks:
        for piece in decoder.feed(chunk):
            yield piece
            await asyncio.sleep(0)
    decoder.finish()


class Decoder:
    """Decodes one body. A gzip may have several members (RFC 1952, section 2.2), and zeros after the last one."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._begin = b""
        self._stream: zlib._Decompress | None = None
        self._complete = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the body decode to. Raises MalformedBody."""
        rest, pending = chunk, False
        while rest or pending:
            stream, rest = self._current_stream(rest)
            if stream is None:
                return
            piece = self._decompress(stream, rest)
            rest, pending = stream.unconsumed_tail, len(piece) == PIECE and not stream.eof
            if stream.eof:
                rest, self._stream, self._complete = stream.unused_data, None, True
            if piece:
                yield piece

    def finish(self) -> None:
        """Raises MalformedBody where the body ended too early; an empty body is none at all."""
        if self._stream is not None or self._begin:
            raise self._malformed("ends too early")

    def _decompress(self, stream: "zlib._Decompress", data: bytes) -> bytes:
        try:
            return stream.decompress(data, PIECE)
        except zlib.error as error:
            raise self._malformed("is broken") from error

    def _current_stream(self, data: bytes) -> "tuple[zlib._Decompress | None, bytes]":
        """The stream that goes on, or begins, with these bytes, and the bytes; no stream before its format is known."""
        if self._stream is not None:
            return self._stream, data
        if self._complete:
            data = data.lstrip(b"\0")
            if data and self._coding == DEFLATE:
                raise self._malformed("goes on after its end")
        self._begin += data
        if len(self._begin) < 2:
            return None, b""
        begin, self._begin = self._begin, b""
        self._stream = zlib.decompressobj(self._format(begin))
        return self._stream, begin

    def _format(self, begin: bytes) -> int:
        """Deflate is meant in the format of zlib (RFC 9110, section 8.4.1.2), and some clients send it without."""
        if self._coding == GZIP:
            return GZIP_FORMAT
        is_zlib = begin[0] & 15 == zlib.DEFLATED and int.from_bytes(begin[:2], "big") % 31 == 0
        return ZLIB_FORMAT if is_zlib else RAW_FORMAT

    def _malformed(self, what: str) -> MalformedBody:
        return MalformedBody(f"the body's {self._coding} {what}; send it whole, or without Content-Encoding")
