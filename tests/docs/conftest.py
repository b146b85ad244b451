"""A service with the models that the documents name, as small as they can be, and the files of their examples."""

import io
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from model_store import Draft, ModelStore
from tests.foreign import esrgan
from tests.networks import network
from tests.originals import Lengstrom
from tests.pastiche.video.clips import write_clip
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import photo
from tests.service.live import Live, publish, serving_clients
from tests.tensorflow import first_version, second_version

STYLES = ("great-wave", "starry-night", "the-scream", "udnie", "scream")
UPSCALERS = {
    "x2": "c3s1-4,c3s1-12,p2",
    "x4": "c3s1-48,p4",
    "x4-perceptual": "c3s1-48,p4",
    "x4plus": "c3s1-48,p4",
    "x8": "c3s1-4,c3s1-192,p8",
}
NARROW_STYLE = "c3s1-3,c3s1-3"
TILE_VALUES = 2**23
"""Small tiles, so that networks are warmed up quickly."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("examples") / "models"
    for seed, name in enumerate((*STYLES, "great-wave")):  # two versions of one, for promote and rollback
        publish(root, name, network(NARROW_STYLE, norm="none", seed=seed))
    for name, architecture in UPSCALERS.items():
        publish(root, name, network(architecture, norm="none"))
    ModelStore(root).publish(network("c3s1-3", norm="none"), Draft(name="scunet", task="restoration"))
    return root


@pytest.fixture(scope="session")
def live(store: Path) -> Iterator[Live]:
    """Everybody may use it, and nobody administers it."""
    with serving_clients(store, tile_values=TILE_VALUES) as service:
        yield service


@pytest.fixture(scope="session")
def live_with_keys(store: Path) -> Iterator[Live]:
    """Everybody may use it; its client has the key of an operator."""
    path = store.parent / "keys.toml"
    sent = write_keys(path, operator='rights = ["admin", "metrics", "use"]')["operator"]
    with serving_clients(store, tile_values=TILE_VALUES, keys_file=path, keys_required=False) as service:
        service.client.headers["X-API-Key"] = sent["Authorization"].removeprefix("Bearer ")
        yield service


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples send, in one folder."""
    folder = tmp_path_factory.mktemp("files")
    large, small = Image.fromarray(photo(1, 270, 480)), Image.fromarray(photo(2, 75, 100))
    large.save(folder / "photo.jpg")
    small.save(folder / "photo.png")
    small.save(folder / "thumbnail.jpg")
    small.save(folder / "poster.png")
    large.convert("L").save(folder / "sky.png")
    frames = [Image.fromarray(photo(seed)) for seed in (3, 4)]
    frames[0].save(folder / "cat.gif", save_all=True, append_images=frames[1:], duration=100, loop=0)
    tifffile.imwrite(folder / "scan.tif", photo(5).astype(np.uint16) * 257, photometric="rgb")
    if find_spec("pillow_heif"):
        (folder / "IMG_1234.HEIC").write_bytes(_heic(small))
    torch.save({"params_ema": esrgan(blocks=1)}, folder / "RealESRGAN_x4plus.pth")
    _write_tensorflow(folder)
    write_clip(folder / "clip.mp4", frames=2)
    (folder / "notes.txt").write_text("buy milk\n")
    (folder / "holiday").mkdir()
    for seed in (6, 7):
        Image.fromarray(photo(seed)).save(folder / "holiday" / f"{seed}.jpg")
    return folder


@pytest.fixture
def workplace(files: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own copy of the files, and of the store as ./models, as the current folder."""
    folder = tmp_path / "workplace"
    shutil.copytree(files, folder)
    shutil.copytree(store, folder / "models")
    monkeypatch.chdir(folder)
    return folder


def _write_tensorflow(folder: Path) -> None:
    arrays = {f"Variable_{number}": each.numpy() for number, each in enumerate(Lengstrom().arrays)}
    index, data = second_version(arrays)
    contents = {"la_muse.ckpt": first_version(arrays), "fns.ckpt.index": index, "fns.ckpt.data-00000-of-00001": data}
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _heic(image: Image.Image) -> bytes:
    import pillow_heif  # noqa: PLC0415 # an extra

    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=90)
    return stream.getvalue()
