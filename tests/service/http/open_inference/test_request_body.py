"""Bodies as the specification has them; what is wrong with them is tested in routes/test_open_inference.py."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.app import Service, build_service
from service.errors import InvalidRequest
from service.http.open_inference.request_body import MAX_HEADER_BYTES, InferenceCall, parse_call
from service.imaging.codecs.raw import unwrap_pixels
from service.imaging.sizes import Size
from tests.service.imaging.images import photo
from tests.service.live import settings, worker_launcher


def parse(root: Path, head: dict[str, Any], values: bytes) -> InferenceCall:
    """The call of a body with binary values, which no worker parses."""
    service: Service = build_service(settings(root), launcher=worker_launcher())
    encoded = json.dumps(head).encode()
    return asyncio.run(parse_call(encoded + values, str(len(encoded)), service.pipeline))


def tensor(datatype: str, shape: list[int], size: int) -> dict[str, Any]:
    return {"name": "image", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


def test_pixels_are_put_into_files(tmp_path: Path) -> None:
    batch = np.stack([photo(1), photo(2)])
    head = {
        "id": "mine",
        "inputs": [tensor("UINT8", list(batch.shape), batch.size)],
        "outputs": [{"name": "image", "parameters": {"binary_data": True}}],
        "parameters": {"strength": 0.5, "timeout": 1_500_000},
    }
    call = parse(tmp_path, head, batch.tobytes())
    assert (call.id, call.options, call.timeout, call.wants_binary) == ("mine", {"strength": 0.5}, 1.5, True)
    assert call.has_pixels
    assert call.sizes == [Size(24, 32)] * 2
    assert [unwrap_pixels(image).values for image in call.images] == [image.tobytes() for image in batch]


def test_files_have_their_lengths_before_them(tmp_path: Path) -> None:
    values = b"\3\0\0\0one\0\0\0\0"
    call = parse(tmp_path, {"inputs": [tensor("BYTES", [2], len(values))]}, values)
    assert (call.images, call.has_pixels, call.wants_binary, call.timeout) == ([b"one", b""], False, False, None)
    for broken in (values[:-1], values[:6], values + b"\0\0\0\xff"):
        with pytest.raises(InvalidRequest, match="end within a file"):
            parse(tmp_path, {"inputs": [tensor("BYTES", [2], len(broken))]}, broken)
    with pytest.raises(InvalidRequest, match="not that of 2 files"):
        parse(tmp_path, {"inputs": [tensor("BYTES", [1], len(values))]}, values)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    one = tensor("UINT8", [1, 1, 1, 3], 3)
    for head, words in (
        ({"inputs": [one, one]}, "there must be one"),
        ({"inputs": [one | {"parameters": {}}]}, "3 bytes follow the JSON, and binary_data_size is None"),
        ({"inputs": [one | {"shape": [1, 1, 2, 3]}]}, "has 6 values, and there are 3"),
        ({"inputs": [one | {"shape": [0, 1, 1, 3]}]}, "RGB by rows"),
        ({"inputs": [one | {"data": [1, 2, 3]}]}, "send them once"),
        ({"inputs": [one | {"parameters": {"shared_memory_region": "a"}}]}, "there is no shared memory here"),
        ({"inputs": [one], "parameters": {"timeout": -1}}, "microseconds"),
        ({"inputs": [one], "parameters": {"binary_data_output": "no"}}, "binary_data_output: it must be true or false"),
        ({"inputs": [one], "parameters": {"x": "x" * MAX_HEADER_BYTES}}, "bytes of JSON are accepted"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            parse(tmp_path, head, bytes(3))
