"""What the two training loops are given."""

from pathlib import Path

from benchmarks.train import CONVOLUTIONS, LOOPS, PHOTOS, _configs, _PhotoCrops, loss_network_file
from trainer.loss_network import load_loss_network


def test_loss_network_of_random_weights_can_be_loaded(tmp_path: Path) -> None:
    network = load_loss_network(str(loss_network_file(tmp_path / "loss.safetensors")))
    planes = [weight for weight in network.state_dict().values() if weight.ndim == 4]
    assert len(planes) == sum(CONVOLUTIONS) + 1


def test_both_tasks_have_the_same_photographs(tmp_path: Path) -> None:
    configs = dict(_configs(tmp_path, steps=3))
    assert [config.steps for config in configs.values()] == [3, 3]
    assert [len(list(config.content.iterdir())) for config in configs.values()] == [PHOTOS, PHOTOS]
    for config in configs.values():
        files = _PhotoCrops(config)
        assert len(files) == 3 * config.batch
        assert files[PHOTOS + 1].shape == (3, config.image_size, config.image_size)  # type: ignore[attr-defined]


def test_trainer_is_measured_with_and_without_its_allocator_settings() -> None:
    assert [(loop.name, loop.allocator_settings) for loop in LOOPS[:2]] == [
        ("the trainer", True),
        ("the trainer", False),
    ]
