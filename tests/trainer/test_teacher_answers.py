import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.samples import photographs, teacher_file
from trainer.config import AnswersConfig
from trainer.data import random_exact_crop
from trainer.errors import DataError, RunError, TrainerError
from trainer.hardware import Hardware
from trainer.pairs import DegradedPhotographs, pack, unpack
from trainer.teacher import load_teacher_file
from trainer.teacher_answers import MARGIN, AnsweredPhotographs, AnswersFolder, compute_answers, random_square

CPU = Hardware.of("cpu", "fp32")


def answers_config(folder: Path, **options: object) -> AnswersConfig:
    fields = {
        "content": photographs(folder / "photos"),
        "teacher": teacher_file(folder / "teacher.safetensors"),
        "teacher_license": "CC0-1.0",
        "answers": folder / "answers",
        "answer_count": 3,
        "answer_side": 20,
        "scale": 2,
        "seed": 5,
        "device": "cpu",
        "precision": "fp32",
    }
    return AnswersConfig.model_validate(fields | options)


def test_answers_are_what_the_teacher_makes_of_damaged_photographs(tmp_path: Path) -> None:
    config = answers_config(tmp_path)
    assert compute_answers(config, CPU) == 3
    folder = AnswersFolder(config.answers)
    low, answer = folder.read(1)
    photos = DegradedPhotographs(config.content, 40, 1, random_exact_crop, scale=2, seed=5)
    assert torch.equal(low, unpack(photos.batch(1), 2)[0][0])
    expected = load_teacher_file(config.teacher, 2, CPU).answer(low[None] / 255)
    assert (answer / 255 - expected[0]).abs().max() <= 0.5 / 255 + 1e-6
    manifest = folder.manifest()
    assert (manifest.teacher, manifest.license, manifest.seed) == ("teacher.safetensors", "CC0-1.0", 5)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_restorer_shows_the_teacher_its_answers_reduced(tmp_path: Path, scale: int) -> None:
    restorer = teacher_file(tmp_path / "restorer.safetensors", scale)
    config = answers_config(tmp_path, teacher_restorer=restorer)
    compute_answers(config, CPU)
    folder = AnswersFolder(config.answers)
    low, answer = folder.read(2)
    restored = load_teacher_file(restorer, scale, CPU).answer(low[None] / 255)
    seen = restored.unflatten(-1, (20, scale)).unflatten(-3, (20, scale)).mean((-1, -3))
    expected = load_teacher_file(config.teacher, 2, CPU).answer(seen)
    assert (answer / 255 - expected[0]).abs().max() <= 0.5 / 255 + 1e-5
    assert folder.manifest().restorer == "restorer.safetensors"
    with pytest.raises(RunError, match="holds answers with another restorer, restorer_digest"):
        compute_answers(answers_config(tmp_path), CPU)


def test_a_restorer_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "restorer.safetensors").write_bytes(b"no tensors")
    for name in ("restorer.safetensors", "none.safetensors"):
        with pytest.raises(TrainerError, match=rf"--teacher-restorer .*{name} cannot be read: .*; a safetensors"):
            compute_answers(answers_config(tmp_path, teacher_restorer=tmp_path / name), CPU)


def test_answers_without_a_restorer_have_the_digest_that_they_had_before_there_were_any(tmp_path: Path) -> None:
    compute_answers(answers_config(tmp_path), CPU)
    learned = answered(tmp_path)
    before = {name: value for name, value in learned.manifest.model_dump().items() if "restorer" not in name}
    written = json.dumps(before, separators=(",", ":"), ensure_ascii=False)
    assert learned.digest == hashlib.sha256(f"{written} 3".encode()).hexdigest()


def test_computing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    compute_answers(answers_config(tmp_path), CPU)
    (tmp_path / "answers" / "000001.safetensors").unlink()
    assert compute_answers(answers_config(tmp_path, answer_count=4), CPU) == 2
    assert compute_answers(answers_config(tmp_path, answer_count=4), CPU) == 0


def test_photographs_that_are_too_small_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 5 images can be used"):
        compute_answers(answers_config(tmp_path, answer_side=200), CPU)
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_a_damaged_answer_is_named(tmp_path: Path, content: bytes) -> None:
    config = answers_config(tmp_path)
    compute_answers(config, CPU)
    damaged = config.answers / "000001.safetensors"
    damaged.write_bytes(content)
    learned = AnsweredPhotographs(AnswersFolder(config.answers), 3, config.content, 16, 3, scale=2, seed=0)
    with pytest.raises(RunError, match=r"000001\.safetensors cannot be read: .*; remove it, and"):
        learned.batch(0)
    damaged.unlink()
    assert compute_answers(config, CPU) == 1
    assert len(learned.batch(0)) == 3


def test_answers_to_something_else_are_not_mixed_in(tmp_path: Path) -> None:
    compute_answers(answers_config(tmp_path), CPU)
    with pytest.raises(RunError, match="holds answers with another side, seed"):
        compute_answers(answers_config(tmp_path, seed=6, answer_side=22), CPU)


def test_answers_of_another_precision_are_not_mixed_in(tmp_path: Path) -> None:
    half = Hardware.of("cpu", "bf16")
    assert compute_answers(answers_config(tmp_path), half) == 3
    with pytest.raises(RunError, match="holds answers with another precision; use another --answers"):
        compute_answers(answers_config(tmp_path, answer_count=4), CPU)
    assert compute_answers(answers_config(tmp_path, answer_count=4), half) == 1


def test_answers_that_were_begun_before_their_precision_was_noted_are_continued(tmp_path: Path) -> None:
    compute_answers(answers_config(tmp_path), CPU)
    file = tmp_path / "answers" / "manifest.json"
    file.write_text(
        json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != "precision"})
    )
    assert compute_answers(answers_config(tmp_path, answer_count=4), CPU) == 1


def answered(folder: Path, count: int = 3, side: int = 16, scale: int = 2) -> AnsweredPhotographs:
    return AnsweredPhotographs(
        AnswersFolder(folder / "answers"), count, folder / "photos", side, 2, scale=scale, seed=0
    )


def test_batches_depend_on_the_seed_and_the_step_alone(tmp_path: Path) -> None:
    compute_answers(answers_config(tmp_path), CPU)
    one, same = answered(tmp_path), answered(tmp_path)
    assert torch.equal(one.batch(4), same.batch(4))
    assert not torch.equal(one.batch(4), one.batch(5))
    assert torch.equal(one.batch(4, range(1, 2)), one.batch(4)[1:2])
    low, wanted = unpack(one.batch(0), 2)
    assert (low.shape, wanted.shape) == ((2, 3, 8, 8), (2, 3, 16, 16))
    assert one.digest != answered(tmp_path, count=2).digest


def test_answers_that_cannot_be_learned_from_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no answers"):
        answered(photographs(tmp_path / "none" / "photos").parent)
    compute_answers(answers_config(tmp_path), CPU)
    with pytest.raises(RunError, match="has 3 of 5 answers"):
        answered(tmp_path, count=5)
    with pytest.raises(RunError, match="up to 24"):
        answered(tmp_path, side=26)
    with pytest.raises(RunError, match="×2, not ×4 or a multiple of that"):
        answered(tmp_path, scale=4)


def test_answers_of_a_multiple_of_the_scale_are_reduced(tmp_path: Path) -> None:
    config = answers_config(tmp_path)
    kept = AnswersFolder(config.answers)
    compute_answers(config, CPU)
    manifest = kept.manifest().model_copy(update={"scale": 4})
    ramp = torch.linspace(0, 255, 80)[None, None, :].expand(3, 80, 80).round().to(torch.uint8)
    larger = AnswersFolder(tmp_path / "larger")
    larger.begin(manifest)
    for number in range(3):
        larger.write(number, kept.read(number)[0], ramp)
    pairs = AnsweredPhotographs(larger, 3, tmp_path / "photos", 16, 1, scale=2, seed=0)
    low, wanted = unpack(pairs.batch(0), 2)
    assert (low.shape, wanted.shape) == ((1, 3, 8, 8), (1, 3, 16, 16))
    slopes = {abs(wanted.float().diff(dim=axis)).mean().round().item() for axis in (2, 3)}
    assert slopes == {0, 6}  # twice that of the ramp, along one axis
    with pytest.raises(RunError, match="×4, not ×3"):
        AnsweredPhotographs(larger, 3, tmp_path / "photos", 18, 1, scale=3, seed=0)


def test_squares_of_both_images_show_the_same_place_away_from_the_borders() -> None:
    places = torch.arange(20 * 20).view(1, 1, 20, 20).expand(1, 3, 20, 20).contiguous()
    pairs = pack(places, places.repeat_interleave(2, -1).repeat_interleave(2, -2))
    seen = set()
    for seed in range(40):
        low, wanted = unpack(random_square(pairs, 8, np.random.default_rng(seed)), 2)
        assert torch.equal(wanted, low.repeat_interleave(2, -1).repeat_interleave(2, -2))
        rows, columns = low // 20, low % 20
        assert min(rows.min(), columns.min()) >= MARGIN
        assert max(rows.max(), columns.max()) < 20 - MARGIN
        seen.add((int(low[0, 0, 0, 0]) - int(low[0, 0, 0, 1]), int(low[0, 0, 0, 0]) - int(low[0, 0, 1, 0])))
    assert len(seen) == 8
