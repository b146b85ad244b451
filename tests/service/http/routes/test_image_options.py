"""What a request can ask for beside a style or a scale, over HTTP, with real networks."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model_store import Draft, ModelStore
from service.imaging.codecs import Pixels
from service.imaging.codecs.sixteen_bit import read_png
from service.imaging.resampling import resize
from tests.networks import network
from tests.service.imaging.codecs.samples import deep_photo, png
from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, painted, pixels, publish, same, serving, wait_for

DOUBLING = "c3s1-4,c3s1-12,p2"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    publish(root)
    publish(root, "night", network(seed=1))
    publish(root, "x2", network(DOUBLING, norm="none"))
    publish(root, "painterly", network(DOUBLING, norm="none", seed=1))
    return root


@pytest.fixture(scope="module")
def live(store: Path) -> Iterator[Live]:
    with serving(store, batch_values=10**8) as running:
        yield running


def post(live: Live, path: str, image: Pixels | bytes | None = None, /, **options: Any) -> httpx.Response:
    content = image if isinstance(image, bytes) else file(photo() if image is None else image)
    query = {name: str(value) for name, value in options.items()}
    return live.client.post(path, content=content, params=query)


def painting(live: Live, style: str = "wave", image: Pixels | None = None, **options: Any) -> Pixels:
    answer = post(live, f"/v1/stylize/{style}", image, **options)
    assert answer.status_code == 200, answer.text
    return pixels(answer.content)


def refusal(answer: httpx.Response, status: int, kind: str) -> str:
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    detail: str = answer.json()["detail"]
    return detail


def right_half() -> Pixels:
    plane = np.zeros((24, 32), np.uint8)
    plane[:, 16:] = 255
    return plane


def test_strength(live: Live) -> None:
    assert np.array_equal(painting(live, strength=0), photo())
    whole = painting(live)
    assert np.array_equal(painting(live, strength=1), whole)
    assert np.abs(painting(live, strength=0.25) - (0.75 * photo() + 0.25 * whole)).max() <= 0.5


def test_colours_of_the_photo(live: Live) -> None:
    grey = np.repeat(photo()[..., :1], 3, axis=2)
    assert np.ptp(painting(live, image=grey, preserve_color=True), axis=2).max() == 0
    assert np.ptp(painting(live, image=grey), axis=2).max() > 0


def test_sizes_of_the_painting_and_of_the_answer(live: Live, store: Path) -> None:
    small = painted(store, resize(photo(), 12, 16))
    assert same(painting(live, size=16, output_size=16), small)
    assert painting(live, size=16).shape == (24, 32, 3)
    assert painting(live, output_size=100).shape == (75, 100, 3)
    assert np.abs(painting(live, size=16, enlarge="lanczos") - resize(small, 24, 32).astype(int)).max() <= 2


def test_a_mixture_is_enlarged_by_a_network_as_one_painting(live: Live, store: Path) -> None:
    small = painting(live, "wave:1,night:3", size=16, output_size=16)
    answer = post(live, "/v1/stylize/wave:1,night:3", size=16, enlarge="network")
    assert same(pixels(answer.content), painted(store, small, "x2"))
    assert answer.headers["X-Model"] == "night@1, wave@1, x2@1"
    assert answer.headers["X-Model-Digest"].count("sha256") == 3


def test_large_photographs_are_painted_at_the_working_size(tmp_path: Path) -> None:
    ModelStore(tmp_path).publish(network(), Draft(name="wave", task="style", working_size=16))
    with serving(tmp_path) as live:
        by_filter = post(live, "/v1/stylize/wave")
        assert by_filter.headers["X-Model"] == "wave@1"
        assert by_filter.content == post(live, "/v1/stylize/wave", size=16).content
        assert same(painting(live, size="native"), painted(tmp_path, photo()))
        assert same(painting(live, image=photo(height=12, width=20)), painted(tmp_path, photo(height=12, width=20)))
        publish(tmp_path, "x2", network(DOUBLING, norm="none"))
        live.until("/v1/models", lambda answer: "x2" in {model["name"] for model in answer.json()["models"]})
        assert post(live, "/v1/stylize/wave").content == by_filter.content  # sides are doubled, which is little
        assert post(live, "/v1/stylize/wave", output_size=64).headers["X-Model"] == "wave@1, x2@1"
        by_network = post(live, "/v1/stylize/wave", enlarge="network")
        assert by_network.headers["X-Model"] == "wave@1, x2@1"
        assert by_network.headers["ETag"] != by_filter.headers["ETag"]
        assert same(pixels(by_network.content), painted(tmp_path, painting(live, output_size=16), "x2"))


def test_mixture_of_styles(live: Live) -> None:
    before = [live.metric("pastiche_batch_size_sum", model=name) for name in ("wave", "night")]
    answer = post(live, "/v1/stylize/wave:1,night:3")
    after = [live.metric("pastiche_batch_size_sum", model=name) for name in ("wave", "night")]
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 1]
    assert answer.headers["X-Model"] == "night@1, wave@1"
    assert answer.headers["X-Model-Digest"].count("sha256:") == 2
    expected = 0.25 * painting(live, "wave") + 0.75 * painting(live, "night")
    assert np.abs(pixels(answer.content) - expected).max() <= 0.51
    assert "mixed" in str(live.client.get("/openapi.json").json()["paths"]["/v1/stylize/{style}"])


def test_mixtures_of_many_clients_are_each_their_own(live: Live) -> None:
    styles = ["wave:1,night:1", "night", "wave:9,night:1", "wave"] * 4
    alone = [painting(live, style, photo(seed)) for seed, style in enumerate(styles)]
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(lambda one: painting(live, one[1], photo(one[0])), enumerate(styles)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_mask(live: Live) -> None:
    files = {"image": file(photo()), "mask": file(right_half())}
    result = pixels(live.client.post("/v1/stylize/wave", files=files).content)
    assert np.array_equal(result[:, :16], photo()[:, :16])
    assert np.array_equal(result[:, 16:], painting(live)[:, 16:])
    feathered = pixels(live.client.post("/v1/stylize/wave?feather=8", files=files).content)
    assert not np.array_equal(feathered, result)
    assert np.array_equal(feathered[:, :3], photo()[:, :3])


def test_mask_of_a_photo_that_is_turned(live: Live) -> None:
    """Both are seen upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file(Image.fromarray(photo()).transpose(Image.Transpose.ROTATE_90), exif=exif)
    files = {"image": turned, "mask": file(right_half())}
    result = pixels(live.client.post("/v1/stylize/wave", files=files).content)
    assert np.array_equal(result[:, :16], photo()[:, :16])
    refused = live.client.post("/v1/stylize/wave", files={"image": turned, "mask": file(right_half().T.copy())})
    assert "the mask is 24×32, and the image, upright, 32×24" in refusal(refused, 422, "invalid-request")


def test_what_is_no_mask_is_refused(live: Live) -> None:
    wrong = live.client.post("/v1/stylize/wave", files={"image": file(photo()), "mask": b"none"})
    assert refusal(wrong, 415, "unsupported-image").startswith("the mask: ")
    assert "parts 'image' and 'mask'" in refusal(post(live, "/v1/stylize/wave", feather=3), 422, "invalid-request")
    files = {"image": file(photo()), "mask": file(right_half())}
    assert "one part" in refusal(live.client.post("/v1/upscale/2", files=files), 400, "malformed-body")
    alone = live.client.post("/v1/stylize/wave", files={"mask": file(right_half())})
    assert "may have one named 'mask'" in refusal(alone, 400, "malformed-body")


@pytest.mark.parametrize(
    ("path", "options", "accepted"),
    [
        ("/v1/stylize/wave", {"strength": 2}, "less than or equal to 1"),
        ("/v1/stylize/wave", {"size": 4}, "native, or pixels from 16 to 65500"),
        ("/v1/stylize/wave", {"strenght": 1}, "strenght"),
        ("/v1/stylize/wave:x", {}, "great-wave:0.7,the-scream:0.3"),
        ("/v1/upscale/2", {"fit": "crop"}, "'inside', 'cover' or 'fill'"),
        ("/v1/upscale/2", {"width": 65}, "becomes 64×48 at most"),
        ("/v1/upscale/2", {"strength": 0.5}, "strength"),
    ],
)
def test_options_that_make_no_sense_are_refused(live: Live, path: str, options: dict[str, Any], accepted: str) -> None:
    assert accepted in refusal(post(live, path, **options), 422, "invalid-request")


def test_limits_count_what_is_painted_and_what_is_answered(store: Path) -> None:
    limits = {"max_pixels": 800, "max_whole_pixels": 800, "max_output_pixels": 1600, "max_queue_pixels": 1600}
    with serving(store, **limits) as live:
        assert painting(live, "wave,night", output_size=32).shape == (24, 32, 3)
        for options, limit in (({"size": 50}, "max_output_pixels"), ({"output_size": 50}, "max_output_pixels")):
            refused = post(live, "/v1/stylize/wave", **options)
            assert (refused.status_code, refused.json()["limit"]) == (422, limit)
        many = post(live, "/v1/stylize/wave:1,night:2", output_size=40)
        assert (many.status_code, many.json()["limit"], many.json()["actual"]) == (422, "max_queue_pixels", 2400)
        chained = post(live, "/v1/upscale/4", photo(height=9, width=10))
        assert (chained.status_code, chained.json()["limit"], chained.json()["actual"]) == (
            422,
            "max_queue_pixels",
            1800,
        )
        assert live.metric("pastiche_admitted_requests") == 0


def test_chain_of_networks(live: Live, store: Path) -> None:
    answer = post(live, "/v1/upscale/4", back_projection=False)
    assert answer.headers["X-Model"] == "x2@1, x2@1"
    once = painted(store, photo(), "x2")
    assert same(pixels(answer.content), painted(store, once, "x2"))
    other = post(live, "/v1/upscale/4", model="painterly")
    assert other.headers["X-Model"] == "painterly@1, x2@1"
    stages = [stage.split(";dur=")[0] for stage in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["read", "decode", "queue", "infer", "encode"]
    impossible = post(live, "/v1/upscale/17")
    assert "the largest scale is 16" in refusal(impossible, 404, "unknown-model")


def test_any_scale(live: Live, store: Path) -> None:
    whole = painted(store, painted(store, photo(), "x2"), "x2")
    answer = post(live, "/v1/upscale/2.53", back_projection=False)
    assert answer.headers["X-Model"] == "x2@1, x2@1"
    assert same(pixels(answer.content), resize(whole, round(24 * 2.53), round(32 * 2.53)))
    assert pixels(post(live, "/v1/upscale/3").content).shape == (72, 96, 3)
    assert pixels(post(live, "/v1/upscale/2.5", width=80).content).shape == (60, 80, 3)
    assert "becomes 80×60 at most" in refusal(post(live, "/v1/upscale/2.5", width=81), 422, "invalid-request")
    tags = {post(live, f"/v1/upscale/{scale}").headers["ETag"] for scale in ("2.5", "2.51", "2.50", "4", "4.0")}
    assert len(tags) == 3


def test_enlargement_keeps_the_colours(live: Live) -> None:
    def error(**options: Any) -> float:
        answer = pixels(post(live, "/v1/upscale/4", **options).content)
        reduced = Image.fromarray(answer).resize((32, 24), Image.Resampling.BICUBIC)
        return float(np.abs(np.asarray(reduced).astype(int) - photo()).mean())

    assert error() < error(back_projection=False) / 4


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"width": 100}, (75, 100, 3)),
        ({"width": 100, "height": 100}, (75, 100, 3)),
        ({"width": 90, "height": 90, "fit": "cover"}, (90, 90, 3)),
        ({"width": 90, "height": 90, "fit": "fill"}, (90, 90, 3)),
    ],
)
def test_enlargement_to_any_size(live: Live, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert pixels(post(live, "/v1/upscale/4", **options).content).shape == shape


def test_width_is_that_of_the_upright_photo(live: Live) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    turned = file(Image.fromarray(photo()), "JPEG", exif=exif)
    assert pixels(post(live, "/v1/upscale/2", turned, width=48, format="png").content).shape == (64, 48, 3)
    assert "48×64 at most" in refusal(post(live, "/v1/upscale/2", turned, width=49), 422, "invalid-request")


def test_client_that_leaves_frees_all_of_its_places(store: Path) -> None:
    image = file(photo())
    head = f"POST /v1/stylize/wave,night HTTP/1.1\r\nHost: here\r\nContent-Length: {len(image)}\r\n\r\n"
    with serving(store) as live, held(live):
        host, port = live.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + image)
            wait_for(lambda: live.metric("pastiche_admitted_pixels"), lambda count: count == 2 * 24 * 32)
            wait_for(lambda: live.metric("pastiche_batch_size_count"), lambda count: count == 1)
        wait_for(lambda: live.metric("pastiche_cancelled_total"), lambda cancelled: cancelled == 1)
        assert live.metric("pastiche_admitted_pixels") == 0
        assert live.metric("pastiche_queue_requests") == 0


@pytest.mark.parametrize("options", [{"strength": 0}, {"strength": 0, "size": 16, "preserve_color": False}])
def test_photo_of_16_bits_comes_back_to_the_bit(live: Live, options: dict[str, Any]) -> None:
    given = deep_photo()
    answer = post(live, "/v1/stylize/wave:1,night:1", png(given), **options)
    assert answer.status_code == 200, answer.text
    assert np.array_equal(read_png(answer.content), given)


def test_options_keep_16_bits(live: Live) -> None:
    given = deep_photo()
    painting = read_png(post(live, "/v1/stylize/wave", png(given)).content)
    half = read_png(post(live, "/v1/stylize/wave", png(given), strength=0.5).content)
    assert half.dtype == np.uint16
    assert np.abs(half - (given.astype(float) + painting) / 2).max() <= 0.5
    enlarged = read_png(post(live, "/v1/upscale/4", png(given), width=100).content)
    assert enlarged.dtype == np.uint16
    assert enlarged.shape == (75, 100, 3)


def test_numbers_of_another_colour_space_come_back_unchanged(live: Live, wide_gamut: bytes) -> None:
    given = file(photo(), icc_profile=wide_gamut)
    answer = Image.open(BytesIO(post(live, "/v1/stylize/wave", given, strength=0).content))
    assert answer.info["icc_profile"] == wide_gamut
    assert np.array_equal(np.asarray(answer), photo())
    painted = pixels(post(live, "/v1/stylize/wave", given).content)
    half = pixels(post(live, "/v1/stylize/wave", given, strength=0.5).content)
    assert np.abs(half - (photo().astype(float) + painted) / 2).max() <= 0.5


def test_every_frame_is_treated(live: Live) -> None:
    frames = [Image.fromarray(photo(seed)) for seed in range(3)]
    moving = file(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    answer = Image.open(BytesIO(post(live, "/v1/stylize/wave:1,night:3", moving, strength=0, output_size=16).content))
    for seed in range(3):
        answer.seek(seed)
        assert np.array_equal(np.asarray(answer.convert("RGB")), resize(photo(seed), 12, 16))
