import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from spandrel import ModelLoader
from spandrel.architectures.FDAT import FDAT
from spandrel.architectures.SAFMN import SAFMN

from tests.trainer.samples import teacher_file
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.teacher import load_teacher_file

CPU = Hardware.of("cpu", "fp32")


def test_a_teacher_enlarges_by_its_scale(tmp_path: Path) -> None:
    teacher = load_teacher_file(teacher_file(tmp_path / "teacher.safetensors"), 2, CPU)
    answer = teacher.answer(torch.rand(1, 3, 9, 7))
    assert answer.shape == (1, 3, 18, 14)
    assert answer.dtype == torch.float32
    assert 0 <= answer.min() <= answer.max() <= 1
    assert teacher.digest.startswith("sha256:")
    assert "Compact" in teacher.architecture


@pytest.mark.parametrize("side", [64, 60, 57])
def test_answers_of_a_teacher_are_those_of_its_package_at_any_size(tmp_path: Path, side: int) -> None:
    weights = SAFMN(dim=8, n_blocks=1, upscaling_factor=2).state_dict()  # which takes multiples of eight
    save_file(weights, tmp_path / "teacher.safetensors")
    image = torch.rand(1, 3, side, side)
    expected = ModelLoader(device="cpu").load_from_state_dict(weights)(image)
    found = load_teacher_file(tmp_path / "teacher.safetensors", 2, CPU).answer(image)
    assert torch.allclose(found, expected, atol=1e-5)


def test_whole_numbers_of_a_teacher_stay_such(tmp_path: Path) -> None:
    sizes = {"embed_dim": 16, "num_groups": 1, "depth_per_group": 1, "num_heads": 2, "window_size": 8}
    weights = {key: tensor.contiguous() for key, tensor in FDAT(scale=2, **sizes).state_dict().items()}
    assert any(not tensor.is_floating_point() for tensor in weights.values())
    save_file(weights, tmp_path / "teacher.safetensors")
    assert load_teacher_file(tmp_path / "teacher.safetensors", 2, CPU).architecture == "FDAT"


def test_a_teacher_that_was_compiled_is_recognised(tmp_path: Path) -> None:
    plain, compiled = teacher_file(tmp_path / "plain.safetensors"), tmp_path / "compiled.safetensors"
    save_file({f"_orig_mod.{key}": tensor for key, tensor in load_file(plain).items()}, compiled)
    image = torch.rand(1, 3, 9, 7)
    assert load_teacher_file(compiled, 2, CPU).answer(image).equal(load_teacher_file(plain, 2, CPU).answer(image))


def test_another_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="×2; a network that enlarges RGB ×4 is wanted"):
        load_teacher_file(teacher_file(tmp_path / "teacher.safetensors"), 4, CPU)


def test_files_that_are_no_teacher_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.ones(2)}, other)
    with pytest.raises(TrainerError, match="no network that spandrel knows"):
        load_teacher_file(other, 2, CPU)
    other.write_bytes(b"not tensors")
    with pytest.raises(TrainerError, match="cannot be read"):
        load_teacher_file(other, 2, CPU)
    with pytest.raises(TrainerError, match="other formats can contain code"):
        load_teacher_file(tmp_path / "teacher.pth", 2, CPU)


def test_without_spandrel_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = teacher_file(tmp_path / "teacher.safetensors")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(TrainerError, match=r"pip install 'pastiche\[teachers\]'"):
        load_teacher_file(file, 2, CPU)
