import pytest

from service.errors import NotAcceptable
from service.photographs import JSON, ImageFormat, output_formats, writable_types

JPEG, PNG, WEBP, AVIF, TIFF, GIF, _ = ImageFormat
ALL = [JPEG, PNG, WEBP, AVIF, TIFF, GIF]


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
        ("JPG", None, [JPEG]),
        ("tif", None, [TIFF]),
    ],
)
def test_output_formats(requested: str | None, accept: str | None, formats: list[ImageFormat]) -> None:
    assert sorted(output_formats(requested, accept)) == sorted(formats)


@pytest.mark.parametrize(
    ("requested", "accept"), [("heic", None), ("", None), (None, "image/jxl"), (None, "image/png;q=0"), (None, "json")]
)
def test_what_cannot_be_given_is_not_acceptable(requested: str | None, accept: str | None) -> None:
    with pytest.raises(NotAcceptable, match="image/jpeg") as failure:
        output_formats(requested, accept)
    others = [JSON] if requested is None else []  # which no `format` names
    assert failure.value.members == {"available": [*writable_types(), *others]}
    assert failure.value.headers == {"Vary": "Accept"}
