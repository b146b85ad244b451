"""`/v2` as tritonclient speaks it, and as a client that only knows the specification does."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from service.http.open_inference.messages import IMAGE
from service.http.open_inference.request_body import HEADER_LENGTH
from service.imaging.codecs import Pixels
from tests.networks import network
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import Live, painted, pixels, publish, publish_upscaler, same, serving_clients


@contextmanager
def client(live: Live) -> Iterator[Any]:
    made = triton.InferenceServerClient(live.url.removeprefix("http://"))
    try:
        yield made
    finally:
        made.close()


def tensor(values: Pixels, *, binary: bool = True) -> Any:
    made = triton.InferInput(IMAGE, list(values.shape), "UINT8")
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def message(values: Pixels, **members: Any) -> dict[str, Any]:
    flat = {"name": IMAGE, "datatype": "UINT8", "shape": list(values.shape), "data": values.ravel().tolist()}
    return {"inputs": [flat], **members}


def test_tritonclient_sees_the_server_and_its_models(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving_clients(tmp_path) as live, client(live) as asking:
        assert asking.is_server_live()
        assert asking.is_server_ready()
        assert asking.is_model_ready("wave")
        assert asking.is_model_ready("wave", "1")
        assert not asking.is_model_ready("cats")
        assert not asking.is_model_ready("wave", "2")
        assert "binary_tensor_data" in asking.get_server_metadata()["extensions"]
        metadata = asking.get_model_metadata("x4")
        assert (metadata["name"], metadata["versions"]) == ("x4", ["1"])
        assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
        assert metadata["outputs"] == metadata["inputs"]
        index = asking.get_model_repository_index()
        assert [(model["name"], model["version"], model["state"]) for model in index] == [
            ("wave", "1", "READY"),
            ("x4", "1", "READY"),
        ]


def test_index_has_the_ready_models_alone_where_these_are_asked_for(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "night")
    (tmp_path / "night" / "1" / "weights.safetensors").write_bytes(b"broken")
    with serving_clients(tmp_path) as live:
        for asked, states in [
            (b"", ["READY", "UNAVAILABLE"]),
            (b"{}", ["READY", "UNAVAILABLE"]),
            (b'{"ready": false}', ["READY", "UNAVAILABLE"]),
            (b'{"ready": true}', ["READY"]),
        ]:
            answer = live.client.post("/v2/repository/index", content=asked)
            assert [model["state"] for model in answer.json()] == states
        for wrong in (b"{", b'{"ready": 1}', b"[]"):
            refused = live.client.post("/v2/repository/index", content=wrong)
            assert (refused.status_code, list(refused.json())) == (422, ["error"])


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_sends_pixels_and_gets_pixels(tmp_path: Path, binary: bool) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    batch = np.stack([photo(1), photo(2)])
    with serving_clients(tmp_path) as live, client(live) as asking:
        wanted = [triton.InferRequestedOutput(IMAGE, binary_data=binary)]
        answer = asking.infer("wave", [tensor(batch, binary=binary)], request_id="mine", outputs=wanted)
        assert answer.get_response()["id"] == "mine"
        assert (answer.get_response()["model_name"], answer.get_response()["model_version"]) == ("wave", "1")
        output = answer.as_numpy(IMAGE)
        assert (output.dtype, output.shape) == (np.uint8, (2, 24, 32, 3))
        for index, image in enumerate(batch):
            plain = live.client.post("/v1/stylize/wave?format=png", content=file(image)).content
            assert np.array_equal(output[index], pixels(plain))
        larger = asking.infer("x4", [tensor(batch[:1], binary=binary)]).as_numpy(IMAGE)
        assert larger.shape == (1, 96, 128, 3)
        plain = live.client.post("/v1/upscale/4?model=x4&format=png", content=file(batch[0])).content
        assert np.array_equal(larger[0], pixels(plain))
        assert live.metric("pastiche_http_requests_total", route="/v2/models/{name}/infer", code="200") == 2


@pytest.mark.parametrize("binary", [True, False])
def test_files_become_files(tmp_path: Path, binary: bool) -> None:
    publish(tmp_path)
    publish(tmp_path, "night", network(seed=1))
    files = [file(photo(1)), file(photo(2, 40, 30), "JPEG")]
    with serving_clients(tmp_path) as live, client(live) as asking:
        sent = triton.InferInput(IMAGE, [2], "BYTES")
        if binary:
            sent.set_data_from_numpy(np.array(files, object))
        else:
            texts = [base64.b64encode(each).decode() for each in files]
            sent.set_data_from_numpy(np.array(texts, object), binary_data=False)
        wanted = [triton.InferRequestedOutput(IMAGE, binary_data=binary)]
        mixed = "wave:0.7,night:0.3"
        answer = asking.infer(mixed, [sent], outputs=wanted, parameters={"format": "webp", "quality": 40})
        for each, result in zip(files, answer.as_numpy(IMAGE), strict=True):
            plain = live.client.post(f"/v1/stylize/{mixed}?format=webp&quality=40", content=each).content
            assert (result if binary else base64.b64decode(result)) == plain


def test_compressed_body_and_its_options(tmp_path: Path) -> None:
    publish(tmp_path)
    image = photo(1, 300, 300)
    with serving_clients(tmp_path) as live, client(live) as asking:
        options = {"strength": 0.5, "size": 64}
        answer = asking.infer(
            "wave", [tensor(image[None])], parameters=options, request_compression_algorithm="gzip", timeout=30_000_000
        )
        plain = live.client.post("/v1/stylize/wave?format=png&strength=0.5&size=64", content=file(image)).content
        assert np.array_equal(answer.as_numpy(IMAGE)[0], pixels(plain))


def test_failures_are_those_that_tritonclient_knows(tmp_path: Path) -> None:
    publish(tmp_path)
    one = photo(1)[None]
    with serving_clients(tmp_path, max_pixels=1000, max_body_bytes=100_000) as live, client(live) as asking:
        for model, image, options, words in (
            ("cats", one, {}, "there are: wave"),
            ("wave", one, {"strength": 2}, "parameters.strength: Input should be less than"),
            ("wave", one, {"width": 2}, "parameters.width: there is no such field"),
            ("wave", one, {"format": "png"}, "parameters.format: it is for files"),
            ("wave", one, {"model": "wave"}, "the path names the model"),
            ("wave", photo(1, 40, 30)[None], {}, "1200 pixels in the input exceed the 1000"),
            ("wave", photo(1, 200, 200)[None], {}, "a body has at most 100000 bytes"),
            ("wave", np.stack([photo(1)] * 17), {}, "send from 1 to 16"),
            ("wave", one[..., :2].copy(), {}, "RGB by rows"),
        ):
            with pytest.raises(InferenceServerException, match=words):
                asking.infer(model, [tensor(image)], parameters=options)
        with pytest.raises(InferenceServerException, match="served in version 1"):
            asking.infer("wave", [tensor(one)], model_version="7")
        with pytest.raises(InferenceServerException, match="no 'pixels'"):
            asking.infer("wave", [tensor(one)], outputs=[triton.InferRequestedOutput("pixels")])
        floats = triton.InferInput(IMAGE, [1, 2, 2, 3], "FP32")
        floats.set_data_from_numpy(np.zeros((1, 2, 2, 3), np.float32))
        with pytest.raises(InferenceServerException, match="accepted are UINT8"):
            asking.infer("wave", [floats])
        nothing = live.client.get("/v2/nothing")
        assert (nothing.status_code, list(nothing.json())) == (404, ["error"])


def call(shape: bytes, parameters: bytes = b"{}") -> bytes:
    """A message with one file of that shape."""
    return (
        b'{"parameters": %s, "inputs": [{"name": "image", "datatype": "BYTES", "shape": [%s], "data": ["eA=="]}]}'
        % (parameters, shape)
    )


def test_malformed_bodies(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving_clients(tmp_path) as live:
        for sent, length, status, words in (
            (b"{", None, 400, "cannot be parsed"),
            (b"[]", None, 400, "no JSON object"),
            (b"{}", None, 422, "inputs: Field required"),
            (b"{}", "3", 422, "whole number up to 2"),
            (b"{}", "-1", 422, "whole number up to 2"),
            (b"{}", "\u0663", 422, "whole number up to 2"),
            (b"{}" + bytes(9), "1", 422, "Invalid JSON"),
            (b"", None, 400, "cannot be parsed"),
            (
                call(b"1", b'{"timeout": 1%s}' % (b"0" * 400)),
                None,
                422,
                "a whole number of microseconds",
            ),
            (call(b"1", b'{"timeout": 9223372036854775807}'), None, 422, "at most 600 s"),
            (call(b"9" * 4000 + b", 1" + b"0" * 4000), None, 422, "less than or equal to 9223372036854775807"),
            (call(b", ".join([b"9223372036854775807"] * 8)), None, 422, "send from 1 to 16"),
        ):
            headers = {} if length is None else {HEADER_LENGTH.encode(): length.encode()}
            answer = live.client.post("/v2/models/wave/infer", content=sent, headers=headers)
            assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_json_alone_is_enough(tmp_path: Path) -> None:
    publish(tmp_path)
    image = photo(3)
    with serving_clients(tmp_path) as live:
        nested = message(image[None]) | {}
        nested["inputs"][0]["data"] = image[None].tolist()
        for sent in (message(image[None]), nested):
            answer = live.client.post("/v2/models/wave/versions/1/infer", json=sent)
            assert answer.status_code == 200, answer.text
            (output,) = answer.json()["outputs"]
            assert (output["datatype"], output["shape"]) == ("UINT8", [1, 24, 32, 3])
            assert same(np.array(output["data"], np.uint8).reshape(24, 32, 3), painted(tmp_path, image))
        for values, words in (([256] * 12, "from 0 to 255"), ([0.5] * 12, "whole"), ([0] * 11, "has 12 values")):
            wrong = message(np.zeros((1, 2, 2, 3), np.uint8))
            wrong["inputs"][0]["data"] = values
            refused = live.client.post("/v2/models/wave/infer", json=wrong)
            assert refused.status_code in (400, 422)
            assert words in refused.json()["error"]


def test_pixels_are_charged_and_keys_are_needed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(store)
    path = tmp_path / "keys.toml"
    sent = write_keys(path, shop='rights = ["use", "metrics"]')["shop"]
    batch = np.stack([photo(1), photo(2)])
    with serving_clients(store, keys_file=path) as live:
        assert live.client.get("/v2/health/live").json() == {"live": True}
        assert live.client.get("/v2/health/ready").json() == {"ready": True}
        refused = live.client.post("/v2/models/wave/infer", json=message(batch))
        assert (refused.status_code, "no API key" in refused.json()["error"]) == (401, True)
        assert live.client.get("/v2").status_code == 401
        live.client.headers.update(sent)
        assert live.client.post("/v2/models/wave/infer", json=message(batch)).status_code == 200
        assert live.metric("pastiche_key_pixels_total", key="shop") == 2 * 24 * 32


def test_protocol_can_be_switched_off(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving_clients(tmp_path, client_apis="openai") as live:
        assert live.client.get("/v2/models/wave").status_code == 404
        assert live.client.post("/v1/images/edits").status_code == 400


def test_nothing_that_is_sent_breaks_the_service(tmp_path: Path) -> None:
    publish(tmp_path)
    scalars = st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | st.text(max_size=6)
    anything = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
    input_ = st.fixed_dictionaries(
        {},
        optional={
            "name": st.just(IMAGE) | anything,
            "datatype": st.sampled_from(["UINT8", "BYTES"]) | anything,
            "shape": st.just([1, 1, 2, 3]) | st.just([1]) | anything,
            "data": st.just([1, 2, 3, 4, 5, 6]) | anything,
            "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 9)}) | anything,
        },
    )
    sent = st.fixed_dictionaries(
        {}, optional={"inputs": st.lists(input_, max_size=2) | anything, "outputs": anything, "parameters": anything}
    )
    with serving_clients(tmp_path) as live:

        @settings(
            max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(document=sent | anything, behind=st.none() | st.binary(max_size=12))
        def is_answered(document: Any, behind: bytes | None) -> None:
            head = json.dumps(document).encode()
            headers = {} if behind is None else {HEADER_LENGTH: str(len(head))}
            answer = live.client.post("/v2/models/wave/infer", content=head + (behind or b""), headers=headers)
            assert answer.status_code < 500, answer.text
            assert answer.status_code == 200 or isinstance(answer.json()["error"], str)

        is_answered()


def test_answer_too_large_for_json_is_refused(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    image = np.zeros((1, 520, 520, 3), np.uint8)
    body = {
        "name": IMAGE,
        "datatype": "UINT8",
        "shape": list(image.shape),
        "parameters": {"binary_data_size": image.size},
    }
    head = json.dumps({"inputs": [body]}).encode()
    with serving_clients(tmp_path) as live:
        answer: httpx.Response = live.client.post(
            "/v2/models/x4/infer", content=head + image.tobytes(), headers={HEADER_LENGTH: str(len(head))}
        )
        assert (answer.status_code, "too many for JSON" in answer.json()["error"]) == (422, True)
