"""A multipart form (RFC 7578) that holds one image, read in memory as it arrives."""

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import MalformedBody

FIELD = "image"


class ImageForm:
    """Fed with the body chunk by chunk, gives the bytes of its only part, which must be named `image`."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise _malformed("its Content-Type names no boundary")
        self._names: list[str] = []
        self._header, self._value = bytearray(), bytearray()
        self._image = bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body; raises MalformedBody as soon as it cannot be the form of one image."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed("it is no multipart form") from error

    def image(self) -> bytes:
        """The image, when the whole body was fed; raises MalformedBody where there is none."""
        if not self._ended:
            raise _malformed("it ends too early")
        if not self._names:
            raise _malformed("it has no parts")
        return bytes(self._image)

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name", b"")
            self._names.append(name.decode("utf-8", "replace"))
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        if self._names != [FIELD]:
            raise _malformed(f"it has {', '.join(map(repr, self._names)) or 'a part without a name'}")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._image += data[start:end]

    def _on_end(self) -> None:
        self._ended = True


def _malformed(what: str) -> MalformedBody:
    return MalformedBody(f"a form must have exactly one part, named {FIELD!r}: {what}")
