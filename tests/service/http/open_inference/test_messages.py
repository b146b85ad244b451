import json

import pytest

from service.errors import InvalidRequest, Overloaded
from service.http.open_inference.messages import InferenceMessage, render_inference_error


def test_failure_is_one_text() -> None:
    answer = render_inference_error(Overloaded("wait", retry_after=7), "mine")
    assert (answer.status_code, answer.headers["Retry-After"], answer.headers["X-Request-ID"]) == (503, "7", "mine")
    assert json.loads(bytes(answer.body)) == {"error": "The service is full: wait"}


def test_members_that_are_not_known_are_ignored() -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": 3}, "later": 1}
    message = InferenceMessage.parse(json.dumps({"inputs": [tensor], "later": 1}).encode())
    assert (message.id, message.outputs, message.inputs[0].binary_size) == (None, [], 3)


@pytest.mark.parametrize("parameter", [{"classification": 3}, {"shared_memory_region": "a"}, {"binary_data": "false"}])
def test_output_that_cannot_be_given_is_refused(parameter: dict[str, object]) -> None:
    output = {"name": "image", "later": 1, "parameters": parameter}
    with pytest.raises(InvalidRequest, match=f"outputs.0.parameters.{next(iter(parameter))}: "):
        InferenceMessage.parse(json.dumps({"inputs": [], "outputs": [output]}).encode())


@pytest.mark.parametrize("wrong", [{"name": "x" * 101}, {"shape": [-1]}, {"shape": [1] * 9}, {"datatype": 8}])
def test_others_are_refused(wrong: dict[str, object]) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1]} | wrong
    with pytest.raises(InvalidRequest, match=f"inputs.0.{next(iter(wrong))}"):
        InferenceMessage.parse(json.dumps({"inputs": [tensor]}).encode())
