"""The body of a request for an inference: JSON, and the values of its tensor in it or behind it.

Behind it, as the extension "binary tensor data" has them; in it, as numbers or, for files, as base64.
"""

import asyncio
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidRequest
from service.http.compatible_api_calls import check_count
from service.http.open_inference.messages import (
    CHANNELS,
    FILES,
    IMAGE,
    MAX_INTEGER,
    PIXELS,
    InferenceMessage,
    InputTensor,
)
from service.imaging.codecs.raw import wrap_pixels
from service.imaging.json_contents import EACH
from service.imaging.sizes import Size
from service.pipeline.output_options import OutputOptions
from service.pipeline.pipeline import ImagePipeline

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are JSON, where others follow."""

MAX_HEADER_BYTES = 2**16
"""Of the JSON before binary values; it is parsed on the event loop."""

DATA = ("inputs", EACH, "data")

SHARED_MEMORY = "shared_memory_region"
"""The parameter of a tensor whose values are in the memory that a client shares with its server."""

LENGTH = struct.Struct("<I")
"""What is before each element of a binary tensor of BYTES."""

COPIED_ON_LOOP = 2**20
"""Bytes of images up to which they are copied on the event loop."""

MICRO = 1e-6

PROTOCOL_PARAMETERS = frozenset({"binary_data_output", "timeout"})
"""What has a meaning of its own in a request's `parameters`; all others are options of the model."""


@dataclass(frozen=True)
class InferenceCall:
    """What a client asks for."""

    id: str | None
    options: Mapping[str, Any]
    """Options of the operation; of a file also those of the answer's."""
    timeout: float | None
    """Seconds; None where the client does not say."""
    images: Sequence[bytes]
    """Files; pixels were put into files that hold them as they are."""
    sizes: Sequence[Size]
    """Of pixels; empty for files."""
    wants_binary: bool
    """Whether the values of the answer come behind its JSON."""

    @property
    def has_pixels(self) -> bool:
        """Whether it sends pixels, and gets pixels; else files."""
        return bool(self.sizes)


async def parse_call(body: bytes, header_length: str | None, pipeline: ImagePipeline) -> InferenceCall:
    """The call that a body makes. Raises InvalidRequest; and MalformedJson, or what the workers raise, for JSON."""
    length = _json_length(body, header_length)
    if length == len(body):
        taken = await pipeline.take_apart(body, [DATA])
        message = InferenceMessage.parse(taken.document)
        tensor = _tensor(message)
        if tensor.binary_size is not None:
            raise _invalid(f"binary_data_size needs the header {HEADER_LENGTH}")
        return await _build_call(message, tensor, taken.contents)
    message = InferenceMessage.parse(memoryview(body)[:length])
    tensor, values = _tensor(message), memoryview(body)[length:]
    if tensor.data is not None:
        raise _invalid("its values are in the JSON, and others follow it; send them once")
    if tensor.binary_size != len(values):
        raise _invalid(f"{len(values)} bytes follow the JSON, and binary_data_size is {tensor.binary_size}")
    contents = _split_elements(values) if tensor.datatype == FILES else [values]
    return await _build_call(message, tensor, contents)


def _json_length(body: bytes, header_length: str | None) -> int:
    """How many bytes of the body are JSON."""
    if header_length is None:
        return len(body)
    digits = header_length.isdecimal() and len(header_length) <= len(str(len(body)))
    length = int(header_length) if digits else -1
    if not 0 <= length <= len(body):
        raise InvalidRequest(f"{HEADER_LENGTH}: it must be a whole number up to {len(body)}, the length of the body")
    if length > MAX_HEADER_BYTES and length < len(body):
        raise InvalidRequest(f"{HEADER_LENGTH}: at most {MAX_HEADER_BYTES} bytes of JSON are accepted before values")
    return length


def _tensor(message: InferenceMessage) -> InputTensor:
    """The one input. Raises InvalidRequest for others, and for outputs that there are not."""
    if [tensor.name for tensor in message.inputs] != [IMAGE]:
        raise InvalidRequest(f"inputs: there must be one, named {IMAGE!r}")
    if unknown := [output.name for output in message.outputs if output.name != IMAGE]:
        raise InvalidRequest(f"outputs: there is no {', '.join(map(repr, unknown))}; the model gives {IMAGE!r} alone")
    tensor = message.inputs[0]
    if SHARED_MEMORY in tensor.parameters:
        raise _invalid("its values must be in the body; there is no shared memory here")
    return tensor


async def _build_call(
    message: InferenceMessage, tensor: InputTensor, contents: Sequence[bytes | memoryview]
) -> InferenceCall:
    sizes = _sizes(tensor, contents)
    if sum(map(len, contents)) <= COPIED_ON_LOOP:
        images = _files(contents, sizes)
    else:
        images = await asyncio.to_thread(_files, contents, sizes)
    options = {name: value for name, value in message.parameters.items() if name not in PROTOCOL_PARAMETERS}
    _check_options(options, has_pixels=bool(sizes))
    return InferenceCall(message.id, options, _timeout(message), images, sizes, _wants_binary(message))


def _sizes(tensor: InputTensor, contents: Sequence[bytes | memoryview]) -> list[Size]:
    """The sizes of the images of a batch of pixels; none for files. Raises InvalidRequest for a shape that is none."""
    shape, datatype = tensor.shape, tensor.datatype
    if datatype == FILES:
        check_count(math.prod(shape), IMAGE)
        if len(contents) != math.prod(shape):
            raise _invalid(f"its shape {shape} is not that of {len(contents)} files")
        return []
    if datatype != PIXELS:
        raise _invalid(f"its datatype is {datatype!r}; accepted are {PIXELS} (pixels) and {FILES} (files)")
    if len(shape) != 4 or min(shape) < 1 or shape[3] != CHANNELS:
        raise _invalid(f"its shape is {shape}; pixels are [images, height, width, {CHANNELS}]: RGB by rows")
    check_count(shape[0], IMAGE)
    given = sum(map(len, contents))
    if len(contents) != 1 or given != math.prod(shape):
        raise _invalid(f"its shape {shape} has {math.prod(shape)} values, and there are {given}")
    return [Size(shape[1], shape[2])] * shape[0]


def _files(contents: Sequence[bytes | memoryview], sizes: Sequence[Size]) -> list[bytes]:
    """The contents; or for pixels of these sizes files that hold them."""
    if not sizes:
        return [bytes(content) for content in contents]
    view = memoryview(contents[0])
    length = len(view) // len(sizes)
    return [wrap_pixels(view[index * length : (index + 1) * length], size) for index, size in enumerate(sizes)]


def _split_elements(values: memoryview) -> list[memoryview]:
    """The elements of a binary tensor of BYTES: each has its length, 4 bytes, before it."""
    elements = []
    while values:
        if len(values) < LENGTH.size or len(values) < LENGTH.size + LENGTH.unpack_from(values)[0]:
            raise _invalid("its values end within a file; before each file is its length, 4 bytes, little-endian")
        end = LENGTH.size + LENGTH.unpack_from(values)[0]
        elements.append(values[LENGTH.size : end])
        check_count(len(elements), IMAGE)
        values = values[end:]
    return elements


def _check_options(options: Mapping[str, Any], *, has_pixels: bool) -> None:
    """Raise InvalidRequest for options that would have no effect."""
    if "model" in options:
        raise InvalidRequest("parameters.model: the path names the model; leave it out")
    needless = sorted(options.keys() & OutputOptions.model_fields.keys())
    if has_pixels and needless:
        raise InvalidRequest(f"parameters.{needless[0]}: it is for files, and pixels become pixels; leave it out")


def _timeout(message: InferenceMessage) -> float | None:
    """Seconds; the protocol has microseconds, and 0 where a client does not say."""
    value = message.parameters.get("timeout", 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
        raise InvalidRequest(f"parameters.timeout: it must be a whole number of microseconds, at most {MAX_INTEGER}")
    return value * MICRO if value else None


def _wants_binary(message: InferenceMessage) -> bool:
    """What is said of the output, or else of all outputs."""
    everywhere = message.parameters.get("binary_data_output", False)
    if not isinstance(everywhere, bool):
        raise InvalidRequest("parameters.binary_data_output: it must be true or false")
    named = [output.parameters.binary_data for output in message.outputs]
    return any(everywhere if each is None else each for each in named or [None])


def _invalid(what: str) -> InvalidRequest:
    return InvalidRequest(f"inputs.{IMAGE}: {what}")
