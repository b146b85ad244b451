from pathlib import Path

import httpx
import numpy as np
import pytest

from client.errors import UnexpectedAnswer
from client.picture import Picture
from tests.service.imaging.images import file, photo

HEADERS = {
    "Content-Type": "image/png",
    "ETag": '"1"',
    "Server-Timing": "read;dur=0.8, infer;dur=89.2",
    "X-Model": "wave@3, the-scream@4",
    "X-Model-Digest": "aa, bb",
    "X-Model-Reason": "clean",
    "X-Request-ID": "mine",
}


def test_headers_are_read() -> None:
    picture = Picture.parse(httpx.Response(200, headers=HEADERS, content=file(photo())))
    assert [(model.name, model.version, model.digest) for model in picture.models] == [
        ("wave", 3, "aa"),
        ("the-scream", 4, "bb"),
    ]
    assert (picture.reason, picture.etag, picture.request_id) == ("clean", '"1"', "mine")
    assert picture.seconds == {"read": 0.0008, "infer": 0.0892}
    assert np.array_equal(np.array(picture.image()), photo())


def test_picture_is_shown_without_its_bytes() -> None:
    assert "secret" not in repr(Picture(b"secret", "image/png"))


def test_headers_may_be_missing() -> None:
    picture = Picture.parse(httpx.Response(200, headers={"Content-Type": "image/webp; x=1"}, content=b"x"))
    assert picture == Picture(b"x", "image/webp")
    assert picture.extension == ".webp"


def test_headers_that_a_proxy_has_garbled_are_read_as_far_as_they_go() -> None:
    headers = {"Server-Timing": "a;dur=1.2.3, b;dur=., c;dur=5", "X-Model": f"wave@{'9' * 5000}, x4@2"}
    picture = Picture.parse(httpx.Response(200, headers=HEADERS | headers, content=b"x"))
    assert picture.seconds == {"a": 0.0012, "c": 0.005}
    assert [model.name for model in picture.models] == ["x4"]


@pytest.mark.parametrize(
    ("headers", "named"), [({}, "nothing"), ({"Content-Type": "text/html; charset=x"}, "text/html")]
)
def test_other_answers_are_no_picture(headers: dict[str, str], named: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=f"the answer is {named} and no image"):
        Picture.parse(httpx.Response(200, headers=headers, content=b"x"))


def test_picture_is_saved_as_it_came(tmp_path: Path) -> None:
    picture = Picture(b"jpeg", "image/jpeg")
    assert picture.save(tmp_path / "a") == tmp_path / "a.jpg"
    assert picture.save(str(tmp_path / "b.JPEG")) == tmp_path / "b.JPEG"
    assert picture.save(tmp_path / "c.part") == tmp_path / "c.part"
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"jpeg"}
    with pytest.raises(ValueError, match="is a png by its name, but the picture is a jpeg; ask for format='png'"):
        picture.save(tmp_path / "d.png")
