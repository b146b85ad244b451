import asyncio
import io
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import pastiche
from pastiche.pictures import Array, Source, read_source
from service.errors import InvalidRequest, ServiceError, UnknownModel
from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import STYLE, Live, publish, publish_restorer, publish_upscaler, serving

TILE_VALUES = 2**16
"""Small tiles, so that an image of 200 pixels has several."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("python") / "models"
    publish(root, "wave", network(STYLE, seed=3))
    publish(root, "wave")
    publish(root, "scream", network(STYLE, norm="none", seed=1))
    publish(root, "whole", network(STYLE, norm="instance", seed=2))
    publish_upscaler(root)
    publish_restorer(root)
    return root


@pytest.fixture(scope="module")
def live(store: Path) -> Iterator[Live]:
    with serving(store, tile_values=TILE_VALUES) as service:
        yield service


@pytest.fixture(autouse=True, scope="module")
def _same_settings() -> Iterator[None]:
    """The service's of these tests, but for the threads: their number changes no pixel."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {"DEVICE": "cpu", "PRECISION": "fp32", "THREADS": 2, "TILE_VALUES": TILE_VALUES}.items():
            patched.setenv(f"PASTICHE_{name}", str(value))
        yield


@pytest.fixture(scope="module")
def models(store: Path) -> Iterator[dict[str | int, pastiche.Model]]:
    """Models that several tests may call."""
    loaded = {name: pastiche.load(name, stores=store) for name in ("wave", "x4", 4)}
    yield loaded
    for model in loaded.values():
        model.close()


def served(live: Live, path: str, image: bytes, mask: bytes | None = None, **options: Any) -> Array:
    """The pixels of the service's answer, a PNG."""
    query = {name: str(value).lower() for name, value in options.items()} | {"format": "png"}
    if mask is None:
        answer = live.client.post(path, params=query, content=image)
    else:
        answer = live.client.post(path, params=query, files={"image": image, "mask": mask})
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def oriented(pixels: Array, orientation: int) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return Image.open(io.BytesIO(file(pixels, "JPEG", exif=exif, quality=95)))


def in_adobe_rgb(pixels: Array) -> Image.Image:
    image = Image.fromarray(pixels)
    import imagecodecs  # noqa: PLC0415

    image.info["icc_profile"] = bytes(imagecodecs.cms_profile("adobergb"))
    return image


def with_alpha(pixels: Array) -> Array:
    ramp = np.linspace(0, 255, pixels.shape[1]).astype(np.uint8)
    return np.dstack([pixels, np.broadcast_to(ramp, pixels.shape[:2])])


IMAGES: dict[str, Source] = {
    "photo": photo(),
    "several tiles": photo(1, 150, 220),
    "alpha": with_alpha(photo(2)),
    "grey": photo(3)[..., 0],
    "pillow grey": Image.fromarray(photo(3)[..., 0]),
    "pillow palette": Image.fromarray(photo(4)).quantize(16),
    "pillow cmyk": Image.fromarray(photo(5)).convert("CMYK"),
    "on its side": oriented(photo(6), 6),
    "adobe rgb": in_adobe_rgb(photo(7)),
    "one pixel": photo(8, 1, 1),
    "jpeg file": file(photo(9, 64, 64), "JPEG", quality=30),
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
@pytest.mark.parametrize(
    ("name", "path", "options"),
    [("wave", "/v1/stylize/wave", {}), ("x4", "/v1/upscale/4", {"model": "x4"}), (4, "/v1/upscale/4", {})],
)
def test_answer_has_the_pixels_of_the_services(
    live: Live,
    models: dict[str | int, pastiche.Model],
    image: Source,
    name: str | int,
    path: str,
    options: dict[str, Any],
) -> None:
    answer = np.asarray(models[name](image))
    expected = served(live, path, read_source(image), **options)
    np.testing.assert_array_equal(
        answer[..., :3] if image is IMAGES["alpha"] and expected.shape[2] == 3 else answer, expected
    )


@pytest.mark.parametrize(
    ("name", "path", "options"),
    [
        ("wave", "/v1/stylize/wave", {"strength": 0.6, "preserve_color": True}),
        ("wave", "/v1/stylize/wave", {"size": 20, "output_size": 90, "enlarge": "network"}),
        ("wave", "/v1/stylize/wave", {"size": "native", "output_size": 50}),
        ("wave:0.7,scream:0.3", "/v1/stylize/wave:0.7,scream:0.3", {}),
        ("wave:2,scream", "/v1/stylize/wave:2,scream", {"size": 16, "output_size": 64, "enlarge": "network"}),
        ("whole", "/v1/stylize/whole", {}),
        ("x4", "/v1/upscale/3", {"scale": 3}),
        ("x4", "/v1/upscale/4", {"width": 40, "height": 40, "fit": "cover"}),
        ("x4,x4", "/v1/upscale/16", {}),
        (16, "/v1/upscale/16", {"back_projection": False}),
        (4, "/v1/upscale/4", {"denoise": 0.5}),
    ],
)
def test_options_mean_what_they_mean_to_the_service(
    live: Live, store: Path, name: str | int, path: str, options: dict[str, Any]
) -> None:
    image = photo(1)
    with pastiche.load(name, stores=store) as model:
        answer = model(image, **options)
    sent = {key: value for key, value in options.items() if key != "scale"}
    sent |= {"model": name} if isinstance(name, str) and name.startswith("x4") else {}
    np.testing.assert_array_equal(answer, served(live, path, file(image), **sent))


def test_mask_paints_a_part(live: Live, store: Path) -> None:
    image, mask = photo(1), photo(2)[..., 0]
    with pastiche.load("wave", stores=store) as model:
        answer = model(image, mask=mask, feather=3)
        with pytest.raises(InvalidRequest, match="the mask is 10×10"):
            model(image, mask=mask[:10, :10])
        with pytest.raises(InvalidRequest, match="mask"):
            model(image, feather=3)
    np.testing.assert_array_equal(answer, served(live, "/v1/stylize/wave", file(image), file(mask), feather=3))


def test_sixteen_bits_stay_sixteen_bits(store: Path) -> None:
    deep = photo(1).astype(np.uint16) * 257 + 3
    with pastiche.load("wave", stores=store) as model:
        answer, floats = model(deep), model((deep / 65535).astype(np.float32))
    assert answer.dtype == np.uint16
    assert len(np.unique(answer % 257)) > 1
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(np.rint(floats * 65535).astype(np.uint16), answer)


def test_named_version_is_used(store: Path) -> None:
    image = photo()
    with pastiche.load("wave@1", stores=store) as first, pastiche.load("wave", stores=store) as newest:
        assert (first.versions, newest.versions) == (("wave@1",), ("wave@2",))
        assert (first(image) != newest(image)).any()


def test_list_gives_the_same_answers_in_order(store: Path) -> None:
    images: list[Source] = [photo(seed, 20 + seed, 30) for seed in range(10)]
    with pastiche.load("wave:0.5,scream", stores=store) as model:
        answers = model(images, size=24, output_size=100, enlarge="network")
        for image, answer in zip(images, answers, strict=True):
            np.testing.assert_array_equal(answer, model(image, size=24, output_size=100, enlarge="network"))


def test_threads_and_event_loops_may_call_it(store: Path) -> None:
    images = [photo(seed, 60, 80) for seed in range(8)]
    with pastiche.load("wave", stores=store) as model:

        async def in_a_notebook() -> Array:
            return model(images[0])

        alone = [model(image) for image in images]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(model, images))
        inside = asyncio.run(in_a_notebook())
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(inside, alone[0])


def test_closing_ends_its_threads(store: Path) -> None:
    before = set(threading.enumerate())
    with pastiche.load("wave", stores=store) as model:
        model(photo(1, 150, 220))
        started = set(threading.enumerate()) - before
        assert {"lane-cpu_0", "loading-cpu_0"} <= {thread.name for thread in started}
    for thread in started:
        thread.join(60)  # the service beside it looks at its store in a thread of its own, which ends by itself
    assert not any(thread.is_alive() for thread in started)
    with pytest.raises(RuntimeError, match="closed"):
        model(photo())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_process_is_told_to_load_its_own(models: dict[str | int, pastiche.Model]) -> None:
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # it would wait forever
        os._exit(_refused(models["wave"], photo()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert models["wave"](photo()).shape == photo().shape


def _refused(model: pastiche.Model, image: Array) -> int:
    """An exit status: 0 where the model refuses, and says what to do."""
    try:
        model(image)
    except RuntimeError as error:
        return 0 if "load it in this process" in str(error) else 1
    return 1


def test_answer_of_a_wide_gamut_image_names_its_profile(store: Path) -> None:
    with pastiche.load("wave", stores=store) as model:
        answer = model(in_adobe_rgb(photo()))
        assert "icc_profile" not in model(Image.fromarray(photo())).info
    described = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(answer.info["icc_profile"])))
    assert "Adobe" in described or "1998" in described


def test_opaque_alpha_of_an_array_stays(store: Path) -> None:
    opaque = np.dstack([photo(), np.full(photo().shape[:2], 255, np.uint8)])
    with pastiche.load("wave", stores=store) as model:
        answer = model(opaque)
        assert answer.shape == opaque.shape
        assert (answer[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strenght": 0.5}, "did you mean strength"),
        ({"strength": 2}, "strength is 2"),
        ({"quality": 3}, "no option 'quality'"),
        ({"scale": 2}, "no option 'scale'"),
    ],
)
def test_wrong_option_is_refused_with_what_there_is(store: Path, options: dict[str, Any], message: str) -> None:
    with pastiche.load("wave", stores=store) as model, pytest.raises(InvalidRequest, match=message):
        model(photo(), **options)


def test_what_is_no_image_is_refused(store: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(photo(seed)) for seed in (1, 2)]
    with pastiche.load("x4", stores=store) as model:
        with pytest.raises(ServiceError):
            model(b"no image")
        with pytest.raises(OSError, match="no-such-file"):
            model(tmp_path / "no-such-file.jpg")
        with pytest.raises(InvalidRequest, match="has 2 frames"):
            model(file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
        with pytest.raises(InvalidRequest, match="no mask"):
            model(photo(), mask=photo())
        with pytest.raises(UnknownModel, match="largest scale is 16"):
            model(photo(), scale=17)


def test_image_beyond_the_limits_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_MAX_PIXELS", "100")
    with pastiche.load("wave", stores=store) as model, pytest.raises(ServiceError, match="exceed the 100"):
        model(photo())
