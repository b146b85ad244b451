"""Multipart forms (RFC 7578), parsed in memory as they arrive."""

from collections.abc import Collection

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import MalformedBody

IMAGE = "image"
MASK = "mask"

MAX_BOUNDARY = 70
"""Characters (RFC 2046, section 5.1.1)."""


MAX_PARTS = 100
"""A form has some twenty at most; each takes memory beside its content."""


class MultipartForm:
    """A form that is fed with the chunks of a body. An unexpected part is refused as soon as its name is known."""

    def __init__(self, content_type: str, accepted: Collection[str]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        self._accepted = accepted
        if not boundary:
            raise self._malformed("its Content-Type names no boundary")
        if len(boundary) > MAX_BOUNDARY:
            raise self._malformed(f"its boundary has {len(boundary)} characters, {MAX_BOUNDARY} are allowed")
        self._names: list[str] = []
        self._contents: list[bytearray] = []
        self._header, self._value = bytearray(), bytearray()
        self._part_name: str | None = None
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
        """Parse the next bytes of the body. Raises MalformedBody as soon as it cannot be such a form."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise self._malformed("it is no multipart form") from error

    def parts(self) -> list[tuple[str, bytes]]:
        """Names and contents in the order of the form, once the whole body was fed. Raises MalformedBody."""
        if not self._ended:
            raise self._malformed("it ends too early")
        if not self._names:
            raise self._malformed("it has no parts")
        return list(zip(self._names, map(bytes, self._contents), strict=True))

    def _accepts(self, name: str) -> bool:
        """Whether another part may have that name."""
        return name in self._accepted

    def _describe_parts(self) -> str:
        return f"a form may have the parts {', '.join(self._accepted)}"

    def _malformed(self, what: str) -> MalformedBody:
        return MalformedBody(f"{self._describe_parts()}: {what}")

    def _on_part_begin(self) -> None:
        self._part_name = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name", b"")
            self._part_name = name.decode("utf-8", "replace")
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        if self._part_name is None:
            raise self._malformed("it has a part without a name")
        if not self._accepts(self._part_name):
            raise self._malformed(f"it has {', '.join(map(repr, [*self._names, self._part_name]))}")
        if len(self._names) == MAX_PARTS:
            raise self._malformed(f"it has more than {MAX_PARTS} parts")
        self._names.append(self._part_name)
        self._contents.append(bytearray())

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._contents[-1] += data[start:end]

    def _on_end(self) -> None:
        self._ended = True


class ImageForm(MultipartForm):
    """A form with exactly one part named `image`, and at most one of each optional part."""

    def __init__(self, content_type: str, optional: Collection[str] = ()) -> None:
        self._optional = optional
        super().__init__(content_type, (IMAGE, *optional))

    def image(self) -> bytes:
        """The image, once the whole body was fed. Raises MalformedBody where there is none."""
        parts = dict(self.parts())
        if IMAGE not in parts:
            raise self._malformed(f"it has {', '.join(map(repr, parts))}")
        return parts[IMAGE]

    def part(self, name: str) -> bytes | None:
        """An optional part, once the whole body was fed; None where it is absent."""
        return dict(self.parts()).get(name)

    def _accepts(self, name: str) -> bool:
        return super()._accepts(name) and name not in self._names

    def _describe_parts(self) -> str:
        exactly = f"a form must have exactly one part, named {IMAGE!r}"
        return exactly + "".join(f", and may have one named {name!r}" for name in self._optional)
