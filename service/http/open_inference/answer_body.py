"""The body of an answer to a request for an inference: JSON, and the values of the image in it or behind it."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidRequest
from service.http.open_inference.messages import CHANNELS, FILES, IMAGE, PIXELS
from service.http.open_inference.request_body import LENGTH, InferenceCall
from service.imaging.codecs.raw import unwrap_pixels
from service.pipeline.result import FinishedImage

MAX_JSON_VALUES = 12_000_000
"""The most values of pixels in JSON, of which each takes up to four bytes of text."""

ROW = 2**12
"""Values that are written at once: other threads go on in between."""


@dataclass(frozen=True)
class AnswerBody:
    """A body, of which the first `json_length` bytes are JSON."""

    content: bytes
    json_length: int


def check_json_size(pixels: int) -> None:
    """Raise InvalidRequest where an answer of so many pixels is too large for JSON."""
    if pixels * CHANNELS > MAX_JSON_VALUES:
        raise InvalidRequest(
            f"outputs.{IMAGE}: {pixels * CHANNELS} values are too many for JSON, which may have {MAX_JSON_VALUES}; ask "
            "for binary data (binary_data, or binary_data_output)"
        )


def build_answer(call: InferenceCall, name: str, images: Sequence[FinishedImage]) -> AnswerBody:
    """The answer to a call of the model of that name."""
    values = [unwrap_pixels(image.content).values if call.has_pixels else image.content for image in images]
    size = images[0].result
    shape = [len(images), size.height, size.width, CHANNELS] if call.has_pixels else [len(images)]
    output: dict[str, Any] = {"name": IMAGE, "datatype": PIXELS if call.has_pixels else FILES, "shape": shape}
    message: dict[str, Any] = {"model_name": name, "model_version": str(size.models[0].version)}
    message |= {} if call.id is None else {"id": call.id}
    if call.wants_binary:
        return _with_binary(message, output, values if call.has_pixels else list(_elements(values)))
    return _with_json(message, output, _numbers(values) if call.has_pixels else _texts(values))


def _with_binary(message: dict[str, Any], output: dict[str, Any], values: Sequence[bytes | memoryview]) -> AnswerBody:
    described = output | {"parameters": {"binary_data_size": sum(map(len, values))}}
    head = json.dumps(message | {"outputs": [described]}).encode()
    return AnswerBody(b"".join((head, *values)), len(head))


def _with_json(message: dict[str, Any], output: dict[str, Any], data: Iterator[str]) -> AnswerBody:
    head = json.dumps(message | {"outputs": [output]}).removesuffix("}]}")
    content = "".join((head, ', "data": [', ", ".join(data), "]}]}")).encode()
    return AnswerBody(content, len(content))


def _elements(files: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The elements of a binary tensor of BYTES, each after its length."""
    for file in files:
        yield LENGTH.pack(len(file))
        yield file


def _numbers(images: Sequence[bytes | memoryview]) -> Iterator[str]:
    for values in images:
        for begin in range(0, len(values), ROW):
            yield ", ".join(map(str, values[begin : begin + ROW]))


def _texts(files: Sequence[bytes | memoryview]) -> Iterator[str]:
    return (f'"{base64.b64encode(file).decode()}"' for file in files)
