import string
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.http.multipart import MAX_PARTS, ImageForm, MultipartForm

FORM = "multipart/form-data; boundary=cut"


def part(content: bytes, disposition: str = 'name="image"; filename="a.png"') -> bytes:
    return b"--cut\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--cut--\r\n"


def read(body: bytes, size: int = 10_000, content_type: str = FORM) -> bytes:
    subject = ImageForm(content_type)
    for i in range(0, len(body), size):
        subject.feed(body[i : i + size])
    return subject.image()


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_image_is_read_however_the_body_is_cut(size: int) -> None:
    content = b"\x89PNG\r\n--cu\r\n--cutter\r\n" * 10
    assert read(form(part(content)), size) == content


@pytest.mark.parametrize("disposition", ['name="image"', "name=image", 'filename="\u00e9.jpg"; name="image"'])
def test_file_needs_no_name_of_its_own(disposition: str) -> None:
    assert read(form(part(b"x", disposition))) == b"x"


def test_other_headers_of_the_part_do_not_matter() -> None:
    body = form(part(b"x")).replace(b"\r\n\r\n", b"\r\nContent-Type: image/png\r\nX-Name: name=other\r\n\r\n")
    assert read(body) == b"x"


def test_boundary_may_be_quoted() -> None:
    assert read(form(part(b"x")), content_type='Multipart/Form-Data; charset=utf-8; boundary="cut"') == b"x"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it ends too early"),
        (form(), "it has no parts|no multipart form|ends too early"),
        (form(part(b"x", 'name="photo"; filename="a.png"')), "it has 'photo'"),
        (form(part(b"x"), part(b"y")), "it has 'image', 'image'"),
        (form(part(b"x"), part(b"y", 'name="strength"')), "it has 'image', 'strength'"),
        (form(part(b"x", "filename=a")), "it has ''"),
        (b"--cut\r\n\r\nx\r\n--cut--\r\n", "a part without a name"),
        (b"no form at all", "it is no multipart form"),
        (part(b"x"), "it ends too early"),
        (form(part(b"x"))[:-10], "it ends too early"),
    ],
)
def test_form_that_is_not_one_image_is_malformed(body: bytes, said: str) -> None:
    with pytest.raises(MalformedBody, match="exactly one part, named 'image'") as failure:
        read(body)
    assert any(text in failure.value.detail for text in said.split("|")), failure.value.detail


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_form_without_boundary_is_malformed(content_type: str) -> None:
    with pytest.raises(MalformedBody, match="boundary"):
        ImageForm(content_type)


@pytest.mark.parametrize("length", [71, 256, 257, 5000])
def test_boundary_that_is_too_long_is_malformed(length: int) -> None:
    with pytest.raises(MalformedBody, match=f"its boundary has {length} characters, 70 are allowed"):
        ImageForm(f"multipart/form-data; boundary={'x' * length}")


def test_longest_boundary_is_accepted() -> None:
    boundary = "x" * 70
    body = form(part(b"image")).replace(b"cut", boundary.encode())
    assert read(body, content_type=f"multipart/form-data; boundary={boundary}") == b"image"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary*=utf-8''cut",
        "multipart/form-data; boundary*0=cu; boundary*1=t",
        "multipart/form-data, boundary=cut",
        "multipart/form-data;;;",
        "multipart/form-data; xboundary=cut",
    ],
)
def test_header_that_names_no_boundary_is_malformed(content_type: str) -> None:
    with pytest.raises(MalformedBody, match="its Content-Type names no boundary"):
        ImageForm(content_type)


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Disposition: form-data; name=image\n\n",
        b"Content-Disposition form-data\r\n\r\n",
        b"Content Disposition: form-data; name=image\r\n\r\n",
        b": form-data; name=image\r\n\r\n",
        b"X: y\r\n" * 100 + b"Content-Disposition: form-data; name=image\r\n\r\n",
        b"X: " + b"y" * 100_000 + b"\r\nContent-Disposition: form-data; name=image\r\n\r\n",
        b"Content-Disposition: form-data; name=image; filename=" + b"x" * 100_000 + b"\r\n\r\n",
        b"\xff\xfe: \0\r\n\r\n",
        b"Content-Disposition: form-data; name*=utf-8''image\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_header_of_a_part_that_is_none_is_malformed(header: bytes, size: int) -> None:
    with pytest.raises(MalformedBody, match="exactly one part, named 'image'"):
        read(b"--cut\r\n" + header + b"x\r\n--cut--\r\n", size)


def test_parts_are_bounded() -> None:
    subject = MultipartForm(FORM, ["image"])
    subject.feed(part(b"x") * MAX_PARTS)
    with pytest.raises(MalformedBody, match="more than 100 parts"):
        subject.feed(part(b"x") * 2)


@given(st.text(string.printable + "\xe9", max_size=300), st.binary(max_size=300), st.booleans())
@example("x" * 257, b"", True)
def test_any_form_is_read_or_malformed(text: str, body: bytes, is_boundary: bool) -> None:
    content_type = f"multipart/form-data; boundary={text}" if is_boundary else f"multipart/form-data;{text}"
    with suppress(MalformedBody):
        read(body + part(body) + b"--cut--", content_type=content_type)
