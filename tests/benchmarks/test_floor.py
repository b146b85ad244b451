"""The floor, with a narrow network on one thread."""

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import photos
from benchmarks.floor import Loop, Stylizer, floor
from model_store import Draft, ModelStore
from tests.networks import network


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "store")
    made.publish(network(), Draft(name="narrow", task="style"))
    return made


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{seed}.jpg" for seed in range(2)]
    for seed, path in enumerate(paths):
        path.write_bytes(photos.jpeg(photos.photo(64, 48, seed)))
    return paths


def test_stylizer_returns_a_jpeg_of_the_same_size(store: ModelStore, files: list[Path]) -> None:
    answer = Stylizer(store, "narrow", threads=1).stylize(files[0].read_bytes())
    image = Image.open(io.BytesIO(answer))
    assert (image.format, image.size) == ("JPEG", (64, 48))


def test_loops_take_photos_in_turn_until_their_count(store: ModelStore, files: list[Path]) -> None:
    with floor(2, 1, store.root, "narrow", files) as bare:
        found = bare.run(seconds=60, count=5)
        short = bare.run(seconds=0.05)
    assert sorted(answer.request for answer in found.answers) == [0, 0, 0, 1, 1]
    assert len(found.of("ok")) == 5
    assert found.elapsed == max(answer.began + answer.seconds for answer in found.answers)
    assert all(answer.began < 0.05 for answer in short.answers)  # none where the machine is too busy to begin in time


def test_a_process_that_fails_is_an_error(tmp_path: Path) -> None:
    loop = Loop(1, tmp_path, "missing", [])
    with pytest.raises(RuntimeError, match="ended with status 1"):
        loop.wait()
    loop.close()
