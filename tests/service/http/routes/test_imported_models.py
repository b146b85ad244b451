"""Networks of other projects over HTTP: they answer as they would without any service."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from spandrel import ModelLoader
from torch import Tensor

from model_store import ModelStore
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from service.imaging.codecs import Pixels
from tests.foreign import compact, compact_file
from tests.originals import FastNeuralStyle, randomized
from tests.service.imaging.images import file, photo
from tests.service.live import Live, pixels, publish_upscaler, same, serving

PHOTO = photo(3, 70, 90)
STYLE = randomized(FastNeuralStyle())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    store = ModelStore(folder / "store")
    import_checkpoint(store, compact_file(folder), Labels("tiny"))
    torch.save(compact(scale=1), folder / "denoise.pth")
    import_checkpoint(store, folder / "denoise.pth", Labels("denoise"))
    torch.save(compact(scale=1, channels=1), folder / "deblock.pth")
    import_checkpoint(store, folder / "deblock.pth", Labels("deblock"))
    torch.save(STYLE.state_dict(), folder / "mosaic.pth")
    import_checkpoint(store, folder / "mosaic.pth", Labels("mosaic"))
    publish_upscaler(store.root)
    return store.root


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[Live]:
    with serving(root) as running:
        yield running


@torch.inference_mode()
def original(image: Pixels, tensors: Mapping[str, Tensor] | None = None) -> Pixels:
    """What the network's own package makes of an image, (H, W, C)."""
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    output = ModelLoader(device="cpu").load_from_state_dict(dict(tensors or compact()))(batch)[0].permute(1, 2, 0)
    result: Pixels = (output * 255).round().to(torch.uint8).numpy()
    return result


def enlarged(live: Live, **options: str) -> Pixels:
    answer = live.client.post("/v1/upscale/2", content=file(PHOTO, "PNG"), params={"model": "tiny", **options})
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Model"] == "tiny@1"
    return pixels(answer.content)


def test_answer_is_the_output_of_the_original(live: Live) -> None:
    assert same(enlarged(live, format="png"), original(PHOTO))


def restored(live: Live, image: Pixels, scale: int = 1, model: str = "denoise") -> Pixels:
    query = {"model": model, "format": "png"}
    answer = live.client.post(f"/v1/upscale/{scale}", content=file(image, "PNG"), params=query)
    assert answer.status_code == 200, answer.text
    return pixels(answer.content)


def test_a_network_that_keeps_the_size_answers_at_scale_one(live: Live) -> None:
    assert same(restored(live, PHOTO), original(PHOTO, compact(scale=1)))
    one = live.client.get("/v1/models/denoise").json()
    assert (one["state"], one["task"], one["scale"]) == ("ready", "restoration", 1)


def test_it_restores_before_another_enlarges(live: Live) -> None:
    expected = original(restored(live, PHOTO))
    assert same(restored(live, PHOTO, 2, "denoise,tiny"), expected)


def test_a_grey_network_answers_in_grey(live: Live) -> None:
    answer = restored(live, PHOTO, model="deblock")
    luma = (PHOTO @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    expected = original(luma[..., None], compact(scale=1, channels=1)).astype(int)
    assert np.abs(answer.astype(int) - expected).max() <= 1  # the luma was rounded here


def test_scale_one_without_such_a_network_is_refused(live: Live) -> None:
    for query in ("", "?model=auto"):
        answer = live.client.post(f"/v1/upscale/1{query}", content=file(PHOTO, "PNG"))
        assert answer.status_code == 404
        assert answer.json()["available"] == ["deblock", "denoise"]


def test_tiles_give_what_the_whole_image_gives(live: Live, root: Path) -> None:
    """24 values per pixel: tiles of about 400 pixels, at the borders of the image and inside of it."""
    with serving(root, tile_values=24 * 400) as in_tiles:
        assert np.array_equal(enlarged(in_tiles, format="png"), enlarged(live, format="png"))


def test_it_is_listed_and_measured_like_our_own(live: Live) -> None:
    enlarged(live)
    one = live.client.get("/v1/models/tiny").json()
    assert (one["state"], one["task"], one["scale"], one["tileable"]) == ("ready", "super-resolution", 2, True)
    assert one["manifest"]["origin"]["layout"] == "spandrel Compact"
    assert "compact.pth" in live.client.get("/v1/models/tiny/card").text
    assert live.metric("pastiche_output_pixels_total", model="tiny") > 0


@torch.inference_mode()
def test_a_photograph_is_painted_as_by_the_original(live: Live) -> None:
    answer = live.client.post("/v1/stylize/mosaic?format=png", content=file(PHOTO, "PNG"))
    assert answer.headers["X-Model"] == "mosaic@1"
    output = STYLE(torch.from_numpy(PHOTO).permute(2, 0, 1)[None].float())[0, :, :70, :90].permute(1, 2, 0)
    assert same(pixels(answer.content), output.clamp(0, 255).round().to(torch.uint8).numpy())


def test_an_imported_style_takes_whole_images_up_to_a_size(root: Path) -> None:
    with serving(root, max_whole_pixels=6000) as live:
        answer = live.client.post("/v1/stylize/mosaic", content=file(PHOTO, "PNG"))
        assert (answer.status_code, answer.json()["limit"]) == (422, "max_whole_pixels")
        assert live.client.post("/v1/upscale/2?model=tiny", content=file(PHOTO, "PNG")).status_code == 200


def test_its_colours_are_corrected_on_request_only(live: Live) -> None:
    corrected = enlarged(live, format="png", back_projection="true")
    assert not np.array_equal(corrected, enlarged(live, format="png"))


def test_without_spandrel_it_alone_is_missing_and_says_why(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with serving(root) as live:
        answer = live.client.post("/v1/upscale/2?model=tiny", content=file(PHOTO, "PNG"))
        assert answer.status_code == 503
        assert "pip install 'pastiche[import]'" in answer.json()["detail"]
        assert live.client.post("/v1/upscale/4", content=file(PHOTO, "PNG")).status_code == 200
