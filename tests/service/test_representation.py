import pytest

from service.representation import image_ranges, wants_json


@pytest.mark.parametrize(
    ("accept", "images"),
    [
        ("application/json", None),
        ("Application/JSON; charset=utf-8", None),
        ("application/json, */*;q=0.1", " */*;q=0.1"),
        ("application/json, image/webp;q=0.5, text/html", " image/webp;q=0.5"),
        ("application/json;q=0.2", None),
        ("application/*", None),
    ],
)
def test_json_is_given_where_it_is_liked_best(accept: str, images: str | None) -> None:
    assert wants_json(accept)
    assert image_ranges(accept) == images


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "image/png",
        "text/html",
        "application/json, text/plain, */*",
        "application/json;q=0.5, image/*",
        "application/json;q=0",
        "application/json;q=2",
        "application/*, image/*",
        "application/problem+json",
    ],
)
def test_image_is_given_otherwise_and_by_the_whole_header(accept: str | None) -> None:
    assert not wants_json(accept)
    assert image_ranges(accept) == accept
