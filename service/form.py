"""A multipart form (RFC 7578), read in memory as it arrives."""

from collections.abc import Collection

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import MalformedBody

FIELD = "image"
MASK = "mask"


class Form:
    """Fed with the body chunk by chunk, gives its parts. It refuses a part as soon as its name is known."""

    def __init__(self, content_type: str, accepted: Collection[str]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        self._accepted = accepted
        if not boundary:
            raise self._malformed("its Content-Type names no boundary")
        self._names: list[str] = []
        self._contents: list[bytearray] = []
        self._header, self._value = bytearray(), bytearray()
        self._named: str | None = None
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body; raises MalformedBody as soon as it cannot be such a form."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise self._malformed("it is no multipart form") from error

    def parts(self) -> list[tuple[str, bytes]]:
        """Names and contents in the order of the form, when the whole body was fed; raises MalformedBody."""
        if not self._ended:
            raise self._malformed("it ends too early")
        if not self._names:
            raise self._malformed("it has no parts")
        return list(zip(self._names, map(bytes, self._contents), strict=True))

    def _accepts(self, name: str) -> bool:
        """Whether a further part may have that name."""
        return name in self._accepted

    def _wanted(self) -> str:
        return f"a form may have the parts {', '.join(self._accepted)}"

    def _malformed(self, what: str) -> MalformedBody:
        return MalformedBody(f"{self._wanted()}: {what}")

    def _on_part_begin(self) -> None:
        self._named = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name", b"")
            self._named = name.decode("utf-8", "replace")
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        if self._named is None:
            raise self._malformed("it has a part without a name")
        if not self._accepts(self._named):
            raise self._malformed(f"it has {', '.join(map(repr, [*self._names, self._named]))}")
        self._names.append(self._named)
        self._contents.append(bytearray())

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._contents[-1] += data[start:end]

    def _on_end(self) -> None:
        self._ended = True


class ImageForm(Form):
    """A form of exactly one part named `image`, and of at most one of each of the optional ones."""

    def __init__(self, content_type: str, optional: Collection[str] = ()) -> None:
        self._optional = optional
        super().__init__(content_type, (FIELD, *optional))

    def image(self) -> bytes:
        """The image, when the whole body was fed; raises MalformedBody where there is none."""
        parts = dict(self.parts())
        if FIELD not in parts:
            raise self._malformed(f"it has {', '.join(map(repr, parts))}")
        return parts[FIELD]

    def part(self, name: str) -> bytes | None:
        """An optional part, when the whole body was fed; None where it is not there."""
        return dict(self.parts()).get(name)

    def _accepts(self, name: str) -> bool:
        return super()._accepts(name) and name not in self._names

    def _wanted(self) -> str:
        exactly = f"a form must have exactly one part, named {FIELD!r}"
        return exactly + "".join(f", and may have one named {name!r}" for name in self._optional)
