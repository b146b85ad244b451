"""Whole answers are tested in routes/test_open_inference.py."""

import json

import pytest

from service.errors import InvalidRequest
from service.http.open_inference.answer_body import MAX_JSON_VALUES, build_answer, check_json_size
from service.http.open_inference.request_body import InferenceCall
from service.imaging.codecs.raw import wrap_pixels
from service.imaging.sizes import Size
from service.pipeline.result import FinishedImage, ModelVersion, Result

MODEL = ModelVersion(name="wave", version=3, digest="d")


def finished(content: bytes) -> FinishedImage:
    result = Result(
        models=(MODEL,),
        verdict="",
        format="tiff",
        media_type="image/tiff",
        width=2,
        height=1,
        bytes=len(content),
        etag='"e"',
        seconds={},
    )
    return FinishedImage(content, result)


def call(*, pixels: bool, binary: bool) -> InferenceCall:
    return InferenceCall("mine", {}, None, [b""], [Size(1, 2)] if pixels else [], binary)


@pytest.mark.parametrize("pixels", [True, False])
def test_values_are_the_same_in_json_and_behind_it(pixels: bool) -> None:
    values = bytes(range(6))
    images = [finished(wrap_pixels(values, Size(1, 2)) if pixels else b"file")]
    answer = build_answer(call(pixels=pixels, binary=True), "wave", images)
    message = json.loads(answer.content[: answer.json_length])
    assert (message["model_name"], message["model_version"], message["id"]) == ("wave", "3", "mine")
    (output,) = message["outputs"]
    behind = values if pixels else b"\4\0\0\0file"
    assert answer.content[answer.json_length :] == behind
    assert output["parameters"] == {"binary_data_size": len(behind)}
    plain = build_answer(call(pixels=pixels, binary=False), "wave", images)
    assert plain.json_length == len(plain.content)
    (output,) = json.loads(plain.content)["outputs"]
    assert output["data"] == (list(values) if pixels else ["ZmlsZQ=="])
    assert output["shape"] == ([1, 1, 2, 3] if pixels else [1])


def test_json_has_a_bounded_number_of_values() -> None:
    check_json_size(MAX_JSON_VALUES // 3)
    with pytest.raises(InvalidRequest, match="ask for binary data"):
        check_json_size(MAX_JSON_VALUES // 3 + 1)
