"""Whole calls are tested in routes/test_edits.py."""

import pytest

from service.errors import InvalidRequest
from service.http.openai.edit_form import Edit, edited_files, form_schema


def test_fields_become_options_of_the_answer() -> None:
    edit = Edit.parse([("model", b"wave"), ("output_format", b"JPG"), ("output_compression", b"0"), ("size", b" ")])
    assert edit.query == {"format": "jpeg", "quality": 1}
    assert (edit.model, edit.size) == ("wave", "auto")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("stream", b"true", "stream: "),
        ("background", b"transparent", "background: .*transparency is kept where the format has it"),
        ("n", b"2", "n: .*a network gives one picture"),
        ("response_format", b"url", "response_format: .*nothing is kept here that a url could name"),
        ("output_format", b"gif", "output_format: "),
    ],
)
def test_what_is_not_possible_is_refused(field: str, value: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        Edit.parse([("model", b"wave"), (field, value)])
    assert refused.value.members["param"] == field


def test_field_that_is_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="model: given more than once") as refused:
        Edit.parse([("model", b"wave"), ("model", b"scream")])
    assert refused.value.members["param"] == "model"
    assert Edit.parse([("model", b"wave"), ("model", b"")]).model == "wave"


def test_form_has_one_image_and_at_most_one_mask() -> None:
    files = edited_files([("image[]", b"i"), ("mask", b"")])
    assert (files.image, files.mask) == (b"i", None)
    for parts, words in (
        ([("mask", b"m")], "the form has 0"),
        ([("image", b"i")] * 2, "the form has 2"),
        ([("image", b"i"), ("mask", b"m"), ("mask", b"m")], "an image has one mask"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            edited_files(parts)


def test_form_is_described() -> None:
    properties = form_schema()["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"image", "mask", "prompt", *Edit.model_fields} <= properties.keys()
