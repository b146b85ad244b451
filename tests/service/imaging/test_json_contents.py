import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequest, MalformedJson
from service.imaging.json_contents import EACH, MAX_DOCUMENT_BYTES, TakenApart, take_apart

TENSORS = ("inputs", EACH, "data")


def test_contents_are_taken_out() -> None:
    encoded = base64.b64encode(b"file").decode()
    body = {
        "image": f"data:image/png;base64,{encoded}",
        "inputs": [{"name": "a", "data": [[1, 2], [3, 255]]}, {"data": [encoded, encoded[:4] + "\n" + encoded[4:]]}],
        "other": {"data": [300]},
    }
    taken = take_apart(json.dumps(body).encode(), [("image",), TENSORS])
    assert taken.contents == (b"file", b"\1\2\3\xff", b"file", b"file")
    left = {"image": None, "inputs": [{"name": "a", "data": None}, {"data": None}], "other": {"data": [300]}}
    assert json.loads(taken.document) == left


@pytest.mark.parametrize("body", ['{"inputs": 3}', '{"inputs": {"data": [1]}}', '{"inputs": [[1]]}', '{"a": 1}'])
def test_what_a_path_does_not_lead_to_is_left(body: str) -> None:
    assert take_apart(body.encode(), [TENSORS]) == TakenApart(body.encode(), ())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "cannot be parsed"),
        (b"\xff{}", "cannot be parsed"),
        (b"[" * 100_000, "cannot be parsed"),
        (b'{"a": NaN}', "there is no NaN in JSON"),
        (b"[1]", "no JSON object"),
        (b'{"image": "?"}', "image: it is no base64"),
        (b'{"image": "\xc3\xa9"}', "image: it is no base64"),
        (b'{"image": "data:image/png,abcd"}', "image: it is no base64"),
        *(
            (f'{{"inputs": [{{"data": {values}}}]}}'.encode(), "inputs.0.data: its values must be whole numbers")
            for values in ("[-1]", "[256]", "[0.5]", "[true]", "[null]", '["YQ==", 1]', "[[1], [1, 2]]", f"[{2**70}]")
        ),
        (json.dumps({"prompt": "x" * MAX_DOCUMENT_BYTES}).encode(), "bytes beside its images"),
    ],
)
def test_others_are_refused(body: bytes, words: str) -> None:
    with pytest.raises((InvalidRequest, MalformedJson), match=words):
        take_apart(body, [("image",), TENSORS])


@given(body=st.binary(max_size=40) | st.text(alphabet='{}[]":,1.e-nulfatrsdimg ').map(str.encode))
@settings(max_examples=300, derandomize=True, database=None, deadline=None)
def test_nothing_else_is_raised(body: bytes) -> None:
    with suppress(InvalidRequest, MalformedJson):
        take_apart(body, [("image",), TENSORS, ("a",)])
