"""Photographs through the whole service: what comes back is what went in, painted or enlarged, and nothing is lost."""

import io
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import Base

from model_store import ModelStore
from service.imaging.codecs import ImageFormat, decode, inspect
from tests.service.imaging.codecs.samples import (
    DISPLAY_P3,
    adobe_rgb,
    camera_exif,
    deep_photo,
    moving,
    picture,
    pictures,
    png,
    psnr,
    rgb_profile,
    tiff,
)
from tests.service.imaging.images import file, photo
from tests.service.live import (
    PATIENCE,
    Live,
    held,
    painted,
    pixels,
    publish,
    publish_upscaler,
    same,
    serving,
    wait_for,
)

BROWSER = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
MOST_FRAMES = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    publish(root)
    publish_upscaler(root)
    return root


@pytest.fixture(scope="module")
def live(store: Path) -> Iterator[Live]:
    with serving(store, max_frames=MOST_FRAMES) as running:
        yield running


def post(live: Live, path: str, content: bytes, **headers: str) -> httpx.Response:
    answer = live.client.post(f"/v1/{path}", content=content, headers=headers)
    wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 0)
    return answer


def answered(live: Live, path: str, content: bytes, **headers: str) -> bytes:
    answer = post(live, path, content, **headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == inspect(answer.content).format.media_type
    return answer.content


@torch.inference_mode()
def exactly(store: Path, name: str, deep: np.ndarray) -> np.ndarray:
    """What the stored network makes of 16 bits, in fp32, in units of 16 bits."""
    batch = torch.from_numpy(deep.astype(np.float32)).permute(2, 0, 1)[None] / 65_535
    result: np.ndarray = ModelStore(store).load(name).network(batch)[0].permute(1, 2, 0).numpy() * 65_535
    return result


@pytest.mark.parametrize(("path", "name"), [("stylize/wave", "wave"), ("upscale/4?back_projection=false", "x4")])
@pytest.mark.parametrize("given", [png(deep_photo()), tiff(deep_photo(), photometric="rgb")])
def test_sixteen_bits_are_painted_as_such(live: Live, store: Path, path: str, name: str, given: bytes) -> None:
    answer = answered(live, path, given)
    assert inspect(answer).format is inspect(given).format
    result = picture(answer, keep_16_bit=True).pixels
    assert result.dtype == np.uint16
    assert np.abs(result - exactly(store, name, deep_photo())).max() <= 8


def test_sixteen_bits_become_eight_where_the_format_has_no_more(live: Live, store: Path) -> None:
    answer = answered(live, "stylize/wave?format=webp&lossless=true", png(deep_photo()))
    rounded = np.rint(deep_photo() / 257).astype(np.uint8)
    assert same(pixels(answer), painted(store, rounded))


def test_painting_of_wide_colours_is_that_of_the_same_colours_in_srgb(live: Live) -> None:
    for profile in (rgb_profile(DISPLAY_P3), adobe_rgb()):
        space = decode(file(photo(), icc_profile=profile)).space
        wide = file(space.from_srgb(photo()), icc_profile=profile)
        answer = decode(answered(live, "stylize/wave", wide))
        assert answer.space.profile == profile
        shown = space.to_srgb(next(answer.pictures).pixels)
        expected = pixels(answered(live, "stylize/wave", file(photo())))
        assert psnr(shown, expected) > 37
        assert psnr(next(decode(answered(live, "stylize/wave", wide)).pictures).pixels, expected) < 32


def test_enlargement_of_wide_colours_is_in_their_own_numbers(live: Live, store: Path) -> None:
    answer = decode(answered(live, "upscale/4?back_projection=false", file(photo(), icc_profile=adobe_rgb())))
    assert answer.space.profile == adobe_rgb()
    assert same(next(answer.pictures).pixels, painted(store, photo(), "x4"))


def test_grey_stays_grey_when_it_is_enlarged(live: Live) -> None:
    grey = Image.fromarray(photo()).convert("L")
    assert inspect(answered(live, "upscale/4", file(grey))).grey
    assert not inspect(answered(live, "stylize/wave", file(grey))).grey
    deep = inspect(answered(live, "upscale/4", png(deep_photo(channels=2))))
    assert (deep.grey, deep.depth, deep.has_alpha) == (True, 16, True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_leaves_no_dark_fringe(live: Live, dtype: type[np.uint8 | np.uint16]) -> None:
    """A disc on transparent black is painted, where it is seen, as it is on its own colour."""
    most = np.iinfo(dtype).max
    rows, columns = np.mgrid[:60, :60]
    disc = np.where(np.hypot(rows - 30, columns - 30) < 20, most, 0).astype(dtype)
    colour = np.array([most, most * 0.8, most * 0.2]).astype(dtype)
    cut, whole = (
        np.dstack([np.where(disc[..., None], colour, 0).astype(dtype), disc]),
        np.broadcast_to(colour, (60, 60, 3)),
    )
    shown = picture(answered(live, "upscale/4", png(cut)), keep_16_bit=True)
    expected = picture(answered(live, "upscale/4", png(whole)), keep_16_bit=True)
    assert shown.alpha is not None
    visible = shown.alpha > 0
    assert not visible.all()
    difference = np.abs(shown.pixels.astype(int) - expected.pixels)[visible]
    assert difference.max() <= most / 255


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_every_frame_is_painted(live: Live, store: Path, kind: str) -> None:
    given = moving(kind, 10, loop=0, **({"lossless": True} if kind == "WEBP" else {}))
    before = live.metric("pastiche_batch_size_sum")
    answer = answered(live, "stylize/wave?lossless=" + str(kind == "WEBP").lower(), given)
    assert live.metric("pastiche_batch_size_sum") == before + 10
    photograph = decode(answer)
    assert (photograph.header.format, photograph.loop_count) == (ImageFormat[kind], 0)
    for one, other in zip(pictures(given), photograph.pictures, strict=True):
        assert other.milliseconds == one.milliseconds
        expected = painted(store, np.ascontiguousarray(one.pixels).astype(np.uint8))
        assert psnr(other.pixels, expected) > (20 if kind == "GIF" else 45)


def test_frames_are_enlarged_and_counted_together(live: Live) -> None:
    before = live.metric("pastiche_output_pixels_total", model="x4")
    shown = pictures(answered(live, "upscale/4?format=png", moving("GIF", 3, alpha=True)))
    assert [one.pixels.shape for one in shown] == [(96, 128, 3)] * 3
    assert all(one.alpha is not None and one.alpha.min() == 0 for one in shown)
    assert live.metric("pastiche_output_pixels_total", model="x4") == before + 3 * 96 * 128


def test_animation_is_refused_where_it_is_too_long_or_would_stand_still(live: Live) -> None:
    long = post(live, "stylize/wave", moving("GIF", MOST_FRAMES + 1)).json()
    assert (long["status"], long["limit"], long["actual"], long["max_accepted"]) == (422, "max_frames", 13, 12)
    still = post(live, "stylize/wave?format=jpeg", moving("GIF", 2)).json()
    assert (still["status"], still["available"]) == (406, ["image/png", "image/webp", "image/gif"])


def test_animation_is_refused_where_others_hold_the_places_of_its_frames(store: Path) -> None:
    limits = {"max_frames": 4, "max_queue_inferences": 4}
    with serving(store, **limits) as live, ThreadPoolExecutor(2) as clients:
        path = f"{live.url}/v1/stylize/wave"
        with held(live):
            first = clients.submit(httpx.post, path, content=moving("GIF", 3), timeout=PATIENCE)
            wait_for(lambda: live.metric("pastiche_admitted_inferences"), lambda count: count == 3)
            refused = live.client.post(path, content=moving("GIF", 2))
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
            assert "5 inference requests (frames times networks) would be admitted, 4 are" in refused.json()["detail"]
            assert int(refused.headers["Retry-After"]) >= 1
            second = clients.submit(httpx.post, path, content=file(photo()), timeout=PATIENCE)
            wait_for(lambda: live.metric("pastiche_admitted_inferences"), lambda count: count == 4)
        assert [first.result().status_code, second.result().status_code] == [200, 200]


def test_broken_frame_fails_the_animation_and_nothing_else(live: Live) -> None:
    data = moving("GIF", 10)
    answer = post(live, "stylize/wave", data[: len(data) * 2 // 3])
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/corrupt-image")
    assert post(live, "stylize/wave", file(photo())).status_code == 200


@pytest.mark.parametrize(("kind", "answer"), [("JPEG", "JPEG"), ("PNG", "PNG"), ("TIFF", "TIFF"), ("GIF", "PNG")])
def test_browser_gets_the_format_that_it_sent(live: Live, kind: str, answer: str) -> None:
    assert inspect(answered(live, "stylize/wave", file(photo(), kind), Accept=BROWSER)).format is ImageFormat[answer]


def test_photograph_of_a_phone_is_answered_as_jpeg(live: Live, store: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(photo(0, 64, 96))).save(stream, quality=-1, icc_profile=rgb_profile(DISPLAY_P3))
    answer = answered(live, "upscale/4?metadata=keep&quality=98&back_projection=false", stream.getvalue())
    assert inspect(answer).format is ImageFormat.JPEG
    assert decode(answer).space.profile == rgb_profile(DISPLAY_P3)
    assert psnr(pixels(answer), painted(store, photo(0, 64, 96), "x4")) > 25


def test_bmp_and_jpeg_xl_are_answered_in_a_format_that_keeps_them(live: Live, store: Path) -> None:
    transparent = np.dstack([photo(), photo(2)[..., 0]])
    for given, kind in (
        (file(photo(), "BMP"), ImageFormat.PNG),
        (jxl(photo(), lossless=True), ImageFormat.PNG),
        (jxl(transparent, level=95), ImageFormat.PNG),
        (jxl(photo(), level=99), ImageFormat.JPEG),
    ):
        answer = answered(live, "upscale/4?back_projection=false", given)
        assert inspect(answer).format is kind
        assert pixels(answer).shape == (96, 128, 3)
        if kind is ImageFormat.PNG and not inspect(answer).has_alpha:
            assert same(pixels(answer), painted(store, photo(), "x4"))
    assert inspect(answered(live, "stylize/wave?format=JFIF", file(photo(), "BMP"))).format is ImageFormat.JPEG


def test_masks_may_be_bmp_or_jpeg_xl(live: Live) -> None:
    plane = np.zeros((24, 32), np.uint8)
    plane[:, 16:] = 255
    answers = {
        live.client.post("/v1/stylize/wave?format=png", files={"image": file(photo()), "mask": mask}).content
        for mask in (file(plane), file(plane, "BMP"), jxl(plane, lossless=True))
    }
    assert len(answers) == 1


def test_size_is_limited_before_bmp_and_jpeg_xl_are_decoded(live: Live) -> None:
    for given in (
        b"BM" + bytes(8) + struct.pack("<IIiiHHI24x", 54, 40, 20_000, 20_000, 1, 24, 0),
        b"\xff\x0a" + ((2 << 1) + ((20_000 - 1) << 3) + (1 << 21)).to_bytes(8, "little") + bytes(20),
    ):
        answer = post(live, "stylize/wave", given)
        assert (answer.status_code, answer.json()["limit"]) == (422, "max_pixels"), answer.text


def jxl(image: np.ndarray, **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(image, **options))


def test_metadata_is_kept_on_request_and_the_origin_is_told_always(live: Live) -> None:
    given = file(photo(), "JPEG", exif=camera_exif())
    for path, source in (
        ("stylize/wave", b"compositeWithTrainedAlgorithmicMedia"),
        ("upscale/4", b"algorithmicallyEnhanced"),
    ):
        for policy, make in (("strip", None), ("keep", "Kamera")):
            answer = answered(live, f"{path}?metadata={policy}", given)
            assert source in answer
            assert Image.open(io.BytesIO(answer)).getexif().get(Base.Make) == make
    wrong = post(live, "stylize/wave?metadata=all", given).json()
    assert wrong["status"] == 422
    assert "'strip', 'copyright' or 'keep'" in wrong["detail"]


def test_file_is_as_it_was_asked_for(live: Live) -> None:
    image = Image.open(
        io.BytesIO(answered(live, "stylize/wave?format=jpeg&progressive=true&subsampling=420", file(photo())))
    )
    assert "progressive" in image.info
    assert image.layer[0][1:3] == (2, 2)  # type: ignore[attr-defined]
    lossy = post(live, "stylize/wave?format=jpeg&lossless=true", file(photo())).json()
    assert (lossy["status"], lossy["detail"]) == (422, "a jpeg cannot be lossless; png, tiff and webp can")
