import pytest

from service.errors import NotAcceptable
from service.http.content_negotiation import JSON, Accept
from service.http.problems import failure_headers
from service.imaging.codecs import ImageFormat, writable_types

JPEG, PNG, WEBP, AVIF, TIFF, GIF, *_ = ImageFormat
ALL = [JPEG, PNG, WEBP, AVIF, TIFF, GIF]


def parse(accept: str | None) -> Accept:
    return Accept.parse([] if accept is None else [accept])


@pytest.mark.parametrize(
    ("requested", "accept", "formats"),
    [
        (None, None, ALL),
        (None, "*/*", ALL),
        (None, "image/*", ALL),
        (None, "image/png", [PNG]),
        (None, "image/webp, image/png", [PNG, WEBP]),
        (None, "image/webp;q=0.5, image/png;q=0.4", [WEBP]),
        (None, "image/*;q=0.5, image/jpeg;q=0.1", ALL),
        (None, "image/*, image/jpeg;q=0", ALL[1:]),
        (None, "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", ALL),  # Chrome
        (None, "text/html, image/avif, image/webp, */*;q=0.8", ALL),
        (None, "image/avif, image/webp, */*;q=0", [WEBP, AVIF]),
        (None, "image/heic, image/jpeg;q=0.3", [JPEG]),
        (None, "IMAGE/PNG ; Q=1", [PNG]),
        (None, "image/apng", [PNG]),
        ("png", "image/webp", [PNG]),
        *((name, None, [JPEG]) for name in ("JPG", "jpe", "JFIF", "pjpeg", "pjp", ".jpg", "Jpeg")),
        *((name, None, [TIFF]) for name in ("tif", "TIFF", ".TIF")),
        *((name, None, [PNG]) for name in ("apng", "PNG", ".png")),
        ("WebP", None, [WEBP]),
    ],
)
def test_formats(requested: str | None, accept: str | None, formats: list[ImageFormat]) -> None:
    assert sorted(parse(accept).formats(requested)) == sorted(formats)


@pytest.mark.parametrize(
    ("requested", "accept"),
    [
        ("heic", None),
        ("bmp", None),
        ("", None),
        ("..png", None),
        (None, "image/jxl"),
        (None, "image/png;q=0"),
        (None, "json"),
    ],
)
def test_what_cannot_be_given_is_not_acceptable(requested: str | None, accept: str | None) -> None:
    with pytest.raises(NotAcceptable, match="image/jpeg") as failure:
        parse(accept).formats(requested)
    others = [JSON] if requested is None else []  # which no `format` names
    assert failure.value.members == {"available": [*writable_types(), *others]}
    assert failure_headers(failure.value, "id")["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("accept", "formats"),
    [
        ("application/json", ALL),
        ("Application/JSON; charset=utf-8", ALL),
        ("application/json, */*;q=0.1", ALL),
        ("application/json, image/webp;q=0.5, text/html", [WEBP]),
        ("application/json;q=0.2", ALL),
        ("application/*", ALL),
    ],
)
def test_json_is_preferred_where_the_client_likes_it_best(accept: str, formats: list[ImageFormat]) -> None:
    assert parse(accept).prefers_json
    assert sorted(parse(accept).formats()) == sorted(formats)


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
def test_image_is_preferred_otherwise(accept: str | None) -> None:
    assert not parse(accept).prefers_json


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        (None, False),
        ("*/*", False),
        ("text/*", False),
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json, text/html", False),
        ("application/json;q=0.9, Text/HTML", True),
        ("application/*, text/html;q=0.9", False),
        ("text/html;q=0", False),
    ],
)
def test_html_is_preferred_by_those_who_name_it(accept: str | None, prefers: bool) -> None:
    assert parse(accept).prefers_html is prefers


def test_several_headers_are_one_list() -> None:
    assert Accept.parse(["image/png", "image/webp;q=0.5"]) == Accept.parse(["image/png, image/webp;q=0.5"])
    assert Accept.parse(["application/json", "image/png;q=0.1"]).prefers_json


@pytest.mark.parametrize("weight", ["1.1", "0.1234", "-1", "", "x"])
def test_malformed_weight_is_a_refusal(weight: str) -> None:
    assert parse(f"image/png;q={weight}, image/webp").formats() == (WEBP,)
