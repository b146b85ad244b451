"""What is fuzzed: every parser of what clients and files send, with examples of what it reads.

A parser may refuse an input only by the exceptions that its target names. Everything else is a defect: another
exception, a crash, an input that takes seconds, and memory beyond its limit.
"""

import asyncio
import gzip
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast

import numpy as np
import torch
from httptools import HttpParserError
from pydantic import ValidationError
from safetensors.torch import save

from benchmarks.mutations import sources
from model_store import Architecture, ArchitectureError, Manifest
from model_store.errors import StoreError
from model_store.importers.checkpoint import read_checkpoint
from model_store.importers.sstable import read_table
from model_store.importers.tensorflow_checkpoint import read_first_version, read_second_version
from service.errors import ServiceError
from service.http.access.api_key import KeysFile
from service.http.content_coding import CODINGS, Decoder
from service.http.content_negotiation import Accept
from service.http.load_shedding.request_class import classify_url
from service.http.multipart import MASK, ImageForm
from service.http.open_inference.request_body import parse_call
from service.http.prefer import Preference
from service.http.request_id import request_id
from service.http.webhooks.address_policy import AddressPolicy, ForbiddenTarget
from service.http.webhooks.resolver import Resolver
from service.imaging.codecs import ImageFormat, MetadataPolicy, OutputSpec, SourceType, decode, encode, inspect
from service.imaging.codecs.xmp import Packet
from service.imaging.json_contents import TakenApart, take_apart
from service.jobs.record import JobRecord
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.stylize import parse_mixture
from service.telemetry.trace_context import TraceContext
from tests.tensorflow import block, first_version, second_version, table
from tests.torch7 import Layer, torch7

MOST_PIXELS = 2**18
"""Of all frames: larger images are inspected only, as the service bounds them before it decodes."""

BOUNDARY = "x"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Target:
    """A parser."""

    parse: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    """What it may raise."""
    examples: Sequence[bytes]
    """Valid inputs, from which others are made."""

    def run(self, data: bytes) -> None:
        """Parse, and raise what is a defect."""
        with suppress(*self.refusals):
            self.parse(data)


def targets() -> dict[str, Target]:
    """All of them, by name."""
    refused = (ServiceError,)
    return {
        **_images(),
        **_checkpoints(),
        "accept": Target(_text(lambda text: Accept.parse([text]).formats()), refused, [b"image/webp;q=0.5, */*;q=.1"]),
        "binary-tensor": Target(_read_call, refused, [_binary_call()]),
        "form": Target(_read_form, refused, [_form(b"image", b"mask"), _form(b"image")]),
        "json-tensor": Target(
            _read_call, refused, [_json_call(b"[[[[1, 2, 3]]]]"), _json_call(b'["aGFsbG8="]', b"BYTES")]
        ),
        "gzip": Target(lambda data: _uncode(data, 0), refused, [_gzip()]),
        "deflate": Target(lambda data: _uncode(data, 1), refused, [_gzip()[10:-8]]),
        "keys": Target(KeysFile.parse, (ValueError,), [b'[keys.shop]\ndigests = ["sha256:00"]\nrights = ["admin"]']),
        "manifest": Target(Manifest.model_validate_json, (ValidationError,), [b'{"name": "wave", "version": 1}']),
        "mixture": Target(_text(parse_mixture), refused, [b"great-wave:0.7,the-scream:0.3"]),
        "notation": Target(
            _text(Architecture.parse), (ArchitectureError,), [b"c9s1-32,d64,d128,R128*5,u64,u32,c9s1-3"]
        ),
        "prefer": Target(_text(lambda text: Preference.parse([text])), (), [b'respond-async, wait="10"; x=1']),
        "record": Target(JobRecord.model_validate_json, (ValidationError,), [b'{"id": "a", "request": {}}']),
        "request-class": Target(
            _classify, (ValueError, HttpParserError), [b"/v1/stylize/wave?size=64&strength=.5\nX-Request-Timeout: 3"]
        ),
        "request-id": Target(_text(request_id), (), [b"0af7651916cd43dd8448eb211c80319c"]),
        "traceparent": Target(_continue_trace, (), [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\na=b"]),
        "webhook": Target(
            _text(AddressPolicy(Resolver()).parse), (ServiceError, ForbiddenTarget), [b"https://example.org:8443/a?b=c"]
        ),
        "xmp": Target(Packet.parse, refused, [_packet()]),
    }


def _images() -> dict[str, Target]:
    """One target for each format, since what is made of a file of one format is seldom of another."""
    files: dict[ImageFormat, list[bytes]] = {}
    for file in sources():
        files.setdefault(inspect(file).format, []).append(file)
    return {str(kind): Target(_read_image, (ServiceError,), examples) for kind, examples in files.items()}


def _checkpoints() -> dict[str, Target]:
    """One target for each format of checkpoints that `pastiche-models import` reads."""
    tensors = {"conv.weight": torch.ones(2, 3, 3, 3), "conv.bias": torch.zeros(2)}
    arrays, pickled = io.BytesIO(), io.BytesIO()
    np.savez(arrays, weight=np.ones((2, 3), np.float32))
    torch.save({"params_ema": tensors, "step": 7}, pickled)
    layer = torch7(Layer("nn.SpatialConvolution", {"weight": tensors["conv.weight"], "kW": 3}))
    examples = {"npz": arrays.getvalue(), "pth": pickled.getvalue(), "safetensors": save(tensors), "t7": layer}
    files = {kind: Target(_read_checkpoint(kind), (StoreError,), [example]) for kind, example in examples.items()}
    return files | _tensorflow_checkpoints()


def _tensorflow_checkpoints() -> dict[str, Target]:
    """Whole files, whose checksums notice most changes, and blocks of their tables, which are given true ones."""
    tensors = {"Variable": np.ones((2, 3), np.float32), "global_step": np.array(7)}
    whole, (index, data) = first_version(tensors), second_version(tensors)
    contents, entries = (block([(key, bytes(value)) for key, value in read_table(each)]) for each in (whole, index))
    return {
        "ckpt": Target(_read_checkpoint("ckpt"), (StoreError,), [whole]),
        "ckpt-block": Target(lambda changed: read_first_version(table(changed)), (StoreError,), [contents]),
        "index-block": Target(lambda changed: read_second_version(table(changed), data), (StoreError,), [entries]),
    }


def _read_checkpoint(kind: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        with NamedTemporaryFile(suffix=f".{kind}") as file:
            file.write(data)
            file.flush()
            read_checkpoint(Path(file.name))

    return read


class _Documents:
    """Takes JSON apart as the pipeline does, in this process."""

    async def take_apart(self, body: bytes, paths: Sequence[Sequence[str]]) -> TakenApart:
        return take_apart(body, paths)


def _read_call(data: bytes) -> None:
    """A request for an inference, with its header in the first line."""
    length, _, body = data.partition(b"\n")
    asyncio.run(parse_call(body, length.decode("latin-1") or None, cast("ImagePipeline", _Documents())))


def _json_call(values: bytes, datatype: bytes = b"UINT8") -> bytes:
    shape = b"[1]" if datatype == b"BYTES" else b"[1, 1, 1, 3]"
    tensor = b'{"name": "image", "shape": %s, "datatype": "%s", "data": %s}' % (shape, datatype, values)
    return b'\n{"id": "a", "inputs": [%s], "parameters": {"timeout": 5}}' % tensor


def _binary_call() -> bytes:
    parameters = b'"parameters": {"binary_data_size": 3}'
    tensor = b'{"name": "image", "shape": [1, 1, 1, 3], "datatype": "UINT8", %s}' % parameters
    body = b'{"inputs": [%s]}' % tensor
    return b"%d\n%s\1\2\3" % (len(body), body)


def _read_image(data: bytes) -> None:
    """As the service does: inspect, decode every frame, and write its metadata into the answer."""
    header = inspect(data)
    if header.width * header.height * header.frames > MOST_PIXELS:
        return
    image = decode(data, keep_grey=True, keep_16_bit=True, header=header)
    pictures = list(image.pictures)
    if pictures:
        encode(
            pictures[:1],
            image,
            ImageFormat.PNG,
            OutputSpec([ImageFormat.PNG], metadata=MetadataPolicy.KEEP),
            SourceType.STYLIZED,
        )


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """ImageHeader values are Latin-1 (RFC 9110, section 5.5)."""
    return lambda data: parse(data.decode("latin-1"))


def _read_form(data: bytes) -> None:
    """In two chunks, and with the first line as the Content-Type."""
    content_type, _, body = data.partition(b"\n")
    form = ImageForm(content_type.decode("latin-1"), [MASK])
    form.feed(body[: len(body) // 2])
    form.feed(body[len(body) // 2 :])
    form.parts()


def _form(*names: bytes) -> bytes:
    parts = (b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\nabc\r\n' % name for name in names)
    return FORM.encode() + b"\n" + b"".join(parts) + b"--x--\r\n"


def _uncode(data: bytes, coding: int) -> None:
    decoder = Decoder(CODINGS[coding])
    for chunk in (data[: len(data) // 2], data[len(data) // 2 :]):
        for _ in decoder.feed(chunk):
            pass
    decoder.finish()


def _gzip() -> bytes:
    return gzip.compress(b"an image" * 100, mtime=0)


def _classify(data: bytes) -> None:
    url, *lines = data.split(b"\n")
    fields = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    classify_url(url, fields, 30.0, 300.0)


def _continue_trace(data: bytes) -> None:
    parent, _, states = data.decode("latin-1").partition("\n")
    context = TraceContext.continued([parent], states.split("\n"))
    if context is not None:
        context.headers()


def _packet() -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator><rdf:Seq><rdf:li>A'
        b"</rdf:li></rdf:Seq></dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
