import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage, ImageTooDemanding
from service.imaging.codecs.jpeg import END_MARKER, MAX_SCANS, read_jpeg
from service.imaging.codecs.jpeg_segments import MAX_SEGMENTS
from tests.service.imaging.codecs.samples import picture
from tests.service.imaging.images import file, photo

PHOTO = Image.fromarray(photo(96, 120))

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "full chroma": ("RGB", {"subsampling": 0, "optimize": True}),
    "restart markers": ("RGB", {"restart_marker_rows": 1}),
    "restart markers in a row": ("RGB", {"restart_marker_blocks": 3}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive with restart markers": ("RGB", {"progressive": True, "restart_marker_rows": 1}),
    "grey": ("L", {}),
    "grey, progressive": ("L", {"progressive": True}),
    "CMYK": ("CMYK", {}),
}

JPEGS = {name: file(PHOTO.convert(mode), "JPEG", quality=85, **options) for name, (mode, options) in KINDS.items()}

each_kind = pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in JPEGS.items()])


def expected(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)))


@each_kind
def test_a_complete_file_is_decoded_as_pillow_does(data: bytes) -> None:
    image = read_jpeg(data)
    assert image.mode == Image.open(io.BytesIO(data)).mode
    assert np.array_equal(np.asarray(image), expected(data))


@each_kind
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(3000), id="zeros"),
        pytest.param(b"\xff" * 50, id="fill bytes"),
        pytest.param(END_MARKER + b"a trailer", id="a trailer"),
        pytest.param(END_MARKER + JPEGS["baseline"], id="another picture"),
    ],
)
def test_a_file_with_all_pixels_is_decoded_whatever_it_ends_with(data: bytes, end: bytes) -> None:
    assert np.array_equal(np.asarray(read_jpeg(data[:-2] + end)), expected(data))


@each_kind
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(END_MARKER, id="end marker"),
        pytest.param(bytes(4000), id="zeros"),
        pytest.param(b"\xff\xd0" + END_MARKER, id="restart and end marker"),
    ],
)
def test_a_file_cut_in_its_first_scan_is_refused(data: bytes, end: bytes) -> None:
    scan = data.index(b"\xff\xda") + 20
    with pytest.raises((CorruptImage, OSError)):
        read_jpeg(data[:scan] + end)


@pytest.mark.parametrize("kind", [name for name, (_, options) in KINDS.items() if "progressive" not in options])
@pytest.mark.parametrize("left_out", [100, 300])
@pytest.mark.parametrize("end", [b"", END_MARKER], ids=["nothing", "end marker"])
def test_a_file_without_its_last_rows_is_refused(kind: str, left_out: int, end: bytes) -> None:
    with pytest.raises(CorruptImage, match="ends before its last pixels"):
        read_jpeg(JPEGS[kind][: -2 - left_out] + end)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_some_bytes_before_its_end_is_refused_or_shows_all_pixels(kind: str) -> None:
    """The last bits of a scan may say what a decoder supplies anyway."""
    data, refused = JPEGS[kind], 0
    for left_out in range(1, 41):
        try:
            image = read_jpeg(data[: -2 - left_out])
        except (CorruptImage, OSError):
            refused += 1
        else:
            difference = np.abs(np.asarray(image).astype(int) - expected(data))
            assert difference.max() <= 8, left_out
    assert refused >= 38


def test_a_progressive_file_without_its_last_scans_is_refused() -> None:
    data = JPEGS["progressive"]
    last = data.rindex(b"\xff\xda")
    with pytest.raises(CorruptImage):
        read_jpeg(data[:last])


def test_a_progressive_file_that_ends_after_any_but_its_last_scan_is_refused() -> None:
    data = JPEGS["progressive"]
    scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
    assert len(scans) > 5
    for begin in scans[1:]:
        tables = data.rfind(b"\xff\xc4", 0, begin)  # each scan follows its tables, where it has some
        with pytest.raises(CorruptImage, match="ends before its last scan"):
            read_jpeg(data[: tables if tables > max(s for s in scans if s < begin) else begin] + END_MARKER)


@pytest.mark.parametrize("kind", ["restart markers", "restart markers in a row", "progressive with restart markers"])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_file_that_lost_a_part_between_restart_markers_is_refused(kind: str, lost: int) -> None:
    data = JPEGS[kind]
    markers = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    with pytest.raises(CorruptImage, match="lost a part between its restart markers"):
        read_jpeg(data[: markers[1]] + data[markers[1 + lost] :])


@pytest.mark.parametrize("kind", ["baseline", "full chroma", "grey"])
@pytest.mark.parametrize("left_out", [20, 40])
def test_a_file_without_a_few_blocks_is_refused(kind: str, left_out: int) -> None:
    with pytest.raises(CorruptImage):
        read_jpeg(JPEGS[kind][: -2 - left_out] + END_MARKER)


def test_a_file_of_too_many_scans_is_refused_before_it_is_decoded() -> None:
    data = JPEGS["grey, progressive"]
    last, count = data.rindex(b"\xff\xda"), data.count(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * (MAX_SCANS - count + 2) + END_MARKER
    with pytest.raises(ImageTooDemanding, match="has 101 scans, and 100 are accepted"):
        read_jpeg(bomb)


@pytest.mark.parametrize("at", [2, -2])
def test_a_file_of_too_many_segments_is_refused_before_it_is_decoded(at: int) -> None:
    """Before its first scan, or after its last one: half a million of them took three seconds to follow."""
    data = file(photo(), "JPEG")
    many = b"\xff\xdd\x00\x04\x00\x00" * (MAX_SEGMENTS + 1)
    with pytest.raises(CorruptImage, match="more than 16384 segments"):
        read_jpeg(data[:at] + many + data[at:])


def test_a_file_without_a_scan_is_refused() -> None:
    data = JPEGS["baseline"]
    with pytest.raises(CorruptImage):
        read_jpeg(data[: data.index(b"\xff\xda")] + END_MARKER)


def test_the_service_decodes_a_file_without_end_marker() -> None:
    data = JPEGS["baseline"]
    assert np.array_equal(picture(data[:-2]).pixels, expected(data))


def test_the_service_refuses_half_a_file_with_an_end_marker() -> None:
    data = JPEGS["baseline"]
    with pytest.raises(CorruptImage, match="send a complete file"):
        picture(data[: len(data) // 2] + END_MARKER)
