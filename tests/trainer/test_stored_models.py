from pathlib import Path

import pytest

from model_store import Draft, NetworkSpec, StoreError, TransformNetwork, open_store
from trainer.errors import TrainerError
from trainer.stored_models import find_model, find_style, find_upscaler, load_teacher


def _store(folder: Path, *names: str) -> Path:
    for name in names:
        network = TransformNetwork(NetworkSpec(architecture="c3s1-4,c3s1-3"))
        open_store(folder).publish(network, Draft(name=name, task="style"))
    return folder


def test_a_network_of_the_own_store_is_found_before_a_shipped_one(tmp_path: Path) -> None:
    store = _store(tmp_path, "great-wave", "great-wave")
    assert find_model(store, "great-wave").network.spec.architecture == "c3s1-4,c3s1-3"
    assert find_model(store, "great-wave@1").manifest.version == 1
    assert find_model(store, "x4").manifest.scale == 4


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("unknown", "no model 'unknown' in .* great-wave, .*wave"),
        ("wave@", "names no model"),
        ("@1", "names no model"),
        ("wave@" + 5000 * "9", "names no model"),
    ],
)
def test_references_to_no_model_are_refused(tmp_path: Path, reference: str, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        find_model(_store(tmp_path, "wave"), reference)


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        find_model(_store(tmp_path, "wave"), "wave@7")


def test_a_teacher_of_styles_learns_nothing_and_enlarges_nothing(tmp_path: Path) -> None:
    teacher = load_teacher(_store(tmp_path, "wave"), "wave").network
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with pytest.raises(TrainerError, match="--teacher x4 enlarges ×4; a style network is wanted"):
        load_teacher(tmp_path, "x4")


def test_a_network_that_enlarges_is_no_style(tmp_path: Path) -> None:
    assert find_style(_store(tmp_path, "wave"), "wave", "--models").manifest.label == "wave@1"
    with pytest.raises(TrainerError, match="--models x2 enlarges ×2; a style network is wanted"):
        find_style(tmp_path, "x2", "--models")


def test_a_style_enlarges_nothing(tmp_path: Path) -> None:
    assert find_upscaler(_store(tmp_path, "wave"), "x2", "--model").manifest.scale == 2
    with pytest.raises(TrainerError, match="--model wave does not enlarge"):
        find_upscaler(tmp_path, "wave", "--model")
