import os

import pytest
from pydantic import ValidationError

from model_store import Draft, Provenance
from model_store.manifest import is_unicode, parse_version
from model_store.published_versions import valid_name


@pytest.mark.parametrize("name", ["wave", "x4", "2-waves", "a.b_c", "a" * 64])
def test_names_are_folders_and_parts_of_urls(name: str) -> None:
    assert valid_name(name)
    assert Draft(name=name, task="style").name == name


@pytest.mark.parametrize("name", ["", "Wave", "a/b", "..", ".wave", "-wave", "wave\n", "a" * 65, "été"])
def test_other_names_are_refused(name: str) -> None:
    assert not valid_name(name)
    with pytest.raises(ValidationError, match="pattern"):
        Draft(name=name, task="style")


def test_text_that_is_no_utf_8_is_told_from_other_text() -> None:
    assert is_unicode("café")
    assert not is_unicode(os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_losses_and_metrics_are_finite(value: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Provenance(data="photographs", losses={"total": value})
    with pytest.raises(ValidationError, match="finite number"):
        Provenance(data="photographs", metrics={"psnr_set5": value})


def test_version_has_no_more_digits_than_the_name_of_a_folder() -> None:
    assert [parse_version(text) for text in ("3", "9" * 5000, "", "v3")] == [3, None, None, None]
