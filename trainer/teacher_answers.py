"""A teacher's answers to damaged photographs: computed once, kept in a folder, and learned from in any number of runs.

A small network learns what a large one makes of a damaged image by a pixel loss, without the blur of averages, since
the answer is a function of that image. An answer costs many times a step of training, hence the folder: an answer a
file, by its number, and manifest.json, which says what they are the answers to.
"""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from model_store.durable import replace_file
from model_store.error_messages import reason_of
from trainer.config import AnswersConfig
from trainer.data import Photographs, downscaled, random_exact_crop
from trainer.errors import RunError
from trainer.hardware import Hardware
from trainer.outputs import require_folder
from trainer.pairs import DegradedPhotographs, pack, unpack
from trainer.prefetch import ONE_AHEAD, Prefetch
from trainer.teacher import Teacher, load_restored_teacher

MARGIN = 4
"""Pixels of a small image next to its borders that are not learned from: the teacher pads them."""


class AnswersManifest(BaseModel):
    """What the answers of a folder are the answers to. Equal manifests mean equal answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: str = Field(description="its file, without the folder")
    digest: str = Field(description="sha256:… of its file")
    architecture: str
    restorer: str = Field("", description="of the teacher, its file without the folder; empty without one")
    restorer_digest: str = Field("", description="sha256:… of its file")
    license: str = Field(description="SPDX expression of the licences of both")
    photographs: str = Field(description="digest of the names of the photographs")
    degradation: str
    scale: int
    side: int = Field(description="of the small images, in pixels")
    seed: int
    precision: Literal["", "fp32", "bf16"] = Field("", description="of the teacher; empty where nothing says it")


class AnswersFolder:
    """A folder of pairs, each a degraded patch and what a teacher makes of it, with what they were made by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest_file = folder / "manifest.json"

    def begin(self, manifest: AnswersManifest) -> None:
        """Create the folder for such answers, or go on with it. Raises RunError where it holds other ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._manifest_file.exists():
            replace_file(self._manifest_file, manifest.model_dump_json(indent=2).encode())
        found = self.manifest()
        if not found.precision:  # begun before that was noted
            manifest = manifest.model_copy(update={"precision": ""})
        differing = [name for name in type(found).model_fields if getattr(found, name) != getattr(manifest, name)]
        if differing:
            raise RunError(f"{self.folder} holds answers with another {', '.join(differing)}; use another --answers")

    def manifest(self) -> AnswersManifest:
        """Raises RunError where there is none that can be read."""
        try:
            return AnswersManifest.model_validate_json(self._manifest_file.read_bytes())
        except (OSError, ValidationError) as error:
            raise RunError(f"{self.folder} holds no answers; --answers takes a folder for a teacher's") from error

    def missing(self, count: int) -> list[int]:
        """The numbers below `count` that have no answer yet."""
        return [number for number in range(count) if not self._file(number).exists()]

    def write(self, number: int, low: Tensor, answer: Tensor) -> None:
        """Keep a small image, uint8 (3, h, w), and the answer to it, uint8 (3, scale · h, scale · w)."""
        tensors = {"low": low.contiguous(), "answer": answer.contiguous()}
        replace_file(self._file(number), save(tensors))

    def read(self, number: int) -> tuple[Tensor, Tensor]:
        """The small image and the answer of a number. Raises RunError where they cannot be read."""
        try:
            with safe_open(self._file(number), "pt") as file:
                return file.get_tensor("low"), file.get_tensor("answer")
        except (SafetensorError, OSError) as error:
            again = "remove it, and `pastiche-train answers` computes it again"
            raise RunError(f"{self._file(number)} cannot be read: {reason_of(error)}; {again}") from error

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"


def compute_answers(config: AnswersConfig, hardware: Hardware) -> int:
    """Compute the answers that are missing among the first `answer_count`; returns how many those were.

    Answer n is that to pair n of the photographs. It may be interrupted at any time, and goes on where it stopped.
    Raises TrainerError for a teacher that cannot be used, RunError for a folder with other answers, DataError where no
    photograph can be used; then nothing is written.
    """
    require_folder("--answers", config.answers)
    teacher = load_restored_teacher(config.teacher, config.teacher_restorer, config.scale, hardware)
    pairs = DegradedPhotographs(
        config.content, config.answer_side * config.scale, 1, random_exact_crop, scale=config.scale, seed=config.seed
    )
    answers = AnswersFolder(config.answers)
    missing = answers.missing(config.answer_count)
    if missing:
        pairs.batch(missing[0])  # raises before anything is written
    answers.begin(_manifest(config, teacher, pairs, hardware))
    for number in tqdm(missing, unit="answer"):
        low, _ = unpack(pairs.batch(number), config.scale)
        with hardware.autocast():
            answer = teacher.answer(hardware.images(low))
        answers.write(number, low[0], to_bytes(answer[0] * 255).cpu())
    return len(missing)


def _manifest(config: AnswersConfig, teacher: Teacher, pairs: Photographs, hardware: Hardware) -> AnswersManifest:
    return AnswersManifest(
        teacher=config.teacher.name,
        digest=teacher.digest,
        architecture=teacher.architecture,
        restorer=config.teacher_restorer.name if config.teacher_restorer else "",
        restorer_digest=teacher.restorer.digest if teacher.restorer else "",
        license=config.teacher_license,
        photographs=pairs.names_digest,
        degradation="photo",
        scale=config.scale,
        side=config.answer_side,
        seed=config.seed,
        precision="bf16" if hardware.precision == torch.bfloat16 else "fp32",
    )


class AnsweredPhotographs(Photographs):
    """As Photographs, whose batches are pairs: a damaged and reduced photograph, and the teacher's answer to it.

    Each is a random square of a kept answer, in one of eight orientations. Every answer is used once an epoch. Answers
    of a multiple of the scale are reduced: a teacher that enlarges ×4 also teaches a network that enlarges ×2.
    """

    def __init__(
        self,
        answers: AnswersFolder,
        count: int,
        folder: Path,
        side: int,
        size: int,
        *,
        scale: int,
        seed: int,
        prefetch: Prefetch = ONE_AHEAD,
    ) -> None:
        """`count`: how many of the answers; `folder`: of the photographs; `side`: of the squares of the answers.

        Raises RunError where there are fewer answers, or too small ones, or those of a scale that is no multiple.
        """
        super().__init__(folder, side, size, random_exact_crop, seed=seed, prefetch=prefetch)
        self.manifest = answers.manifest()
        self._answers, self._count, self._answers_seed = answers, count, seed
        self._low_side = side // scale
        self._check(scale)
        self._reduction = self.manifest.scale // scale

    def _check(self, scale: int) -> None:
        manifest, missing = self.manifest, self._answers.missing(self._count)
        if manifest.scale % scale:
            raise RunError(f"{self._answers.folder} has answers ×{manifest.scale}, not ×{scale} or a multiple of that")
        if self._low_side > manifest.side - 2 * MARGIN:
            most = scale * (manifest.side - 2 * MARGIN)
            raise RunError(f"{self._answers.folder} has answers for --image-size up to {most}")
        if missing:
            there = self._count - len(missing)
            raise RunError(
                f"{self._answers.folder} has {there} of {self._count} answers; --teacher computes the others"
            )

    @property
    def description(self) -> str:
        """As `Photographs.description`; those of the folder may be others than the answers are about."""
        same = self.names_digest == self.manifest.photographs
        source = super().description if same else "other photographs than those of --content"
        return f"{self._count} answers of a teacher to damaged squares of {source}"

    @property
    def digest(self) -> str:
        """SHA-256 of what the answers are the answers to, and of their number; their contents are not read."""
        absent = set() if self.manifest.restorer_digest else {"restorer", "restorer_digest"}  # as before there were any
        return hashlib.sha256(f"{self.manifest.model_dump_json(exclude=absent)} {self._count}".encode()).hexdigest()

    def batch(self, step: int, places: range | None = None) -> Tensor:
        """The pairs of a step, or those at `places`; each depends only on `seed`, step, place and the answers."""
        pairs = [
            self._pair(step * self.size + place, np.random.default_rng((self._answers_seed, step, 4, place)))
            for place in places or range(self.size)
        ]
        return torch.cat(pairs)

    def _pair(self, position: int, rng: np.random.Generator) -> Tensor:
        epoch, index = divmod(position, self._count)
        order = np.random.default_rng((self._answers_seed, epoch, 1)).permutation(self._count)
        low, answer = self._answers.read(int(order[index]))
        wanted = to_bytes(downscaled(answer[None].float(), self._reduction))
        return random_square(pack(low[None], wanted), self._low_side, rng)


def to_bytes(images: Tensor) -> Tensor:
    """Values of 0 to 255 as uint8, rounded and limited."""
    return images.round().clamp(0, 255).to(torch.uint8)


def random_square(pairs: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A random square of pairs (N, C, h, w), MARGIN pixels or more from the borders, in one of eight orientations."""
    scale = round(((pairs.shape[1] - 3) / 3) ** 0.5)
    top, left = (int(rng.integers(MARGIN, length - MARGIN - side + 1)) for length in pairs.shape[-2:])
    low, wanted = unpack(pairs[..., top : top + side, left : left + side], scale)
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    turned = [torch.rot90(images, turns, (-2, -1)) for images in (low, wanted)]
    return pack(*(images.flip(-1) if mirrored else images for images in turned))
