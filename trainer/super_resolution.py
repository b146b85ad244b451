"""Super-resolution (paper §4.2) as a task: its network, photographs, losses, previews and manifest."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from model_store import Draft, NetworkSpec, TransformNetwork
from model_store.networks.noise import NOISE_LIMIT
from trainer.config import AnswersConfig, SuperResolutionConfig
from trainer.data import Photographs, low_resolution, random_exact_crop
from trainer.enlargement_objective import EnlargementObjective
from trainer.errors import TrainerError
from trainer.evaluate import bicubic, evaluate, evaluation_images
from trainer.hardware import Hardware
from trainer.pairs import DegradedPhotographs, unpack
from trainer.previews import preview_batch, require_usable, side_by_side
from trainer.provenance import make_draft, make_provenance
from trainer.step_inputs import StepInputs
from trainer.task_parts import crops_of, new_network, prefetch_of, preview_folder
from trainer.teacher_answers import AnsweredPhotographs, AnswersFolder, compute_answers

UPSCALERS = {2: "c3s1-64,R64*4,c3s1-12,p2", 4: "c3s1-64,R64*4,c3s1-48,p4", 8: "c3s1-64,R64*4,c3s1-192,p8"}
"""Default architectures by scale. Unlike the paper's they enlarge in the last layer only, which makes them faster."""


class SuperResolutionTask:
    """Trains a network to enlarge photographs.

    The constructor raises TrainerError for options that contradict each other, and where the loss network would get too
    few pixels.
    """

    def __init__(self, config: SuperResolutionConfig, hardware: Hardware) -> None:
        self.config, self.hardware = config, hardware
        if config.validation:
            evaluation_images(config.validation, config.scale, "--validation")
        if config.image_size % config.scale:
            raise TrainerError(f"--image-size {config.image_size} is no multiple of the scale, {config.scale}")
        self.photographs = self._photographs()
        self.preview_photographs = self._degraded(*preview_folder(config))
        require_usable(self.preview_photographs)
        architecture = config.architecture or UPSCALERS.get(config.scale)
        if architecture is None:
            raise TrainerError(f"--scale {config.scale} needs --architecture; defaults are there for {[*UPSCALERS]}")
        spec = self._spec(architecture)
        if spec.scale != config.scale:
            raise TrainerError(f"--architecture {architecture} enlarges ×{spec.scale}, not ×{config.scale}")
        self.network = new_network(config, spec)
        hardware.place(self.network)
        self.objective = EnlargementObjective(config, hardware, self._wanted_examples)
        self.discriminator = self.objective.discriminator

    @property
    def fingerprint(self) -> str:
        return f"{self.photographs.digest} {self._loss_source}"

    def inputs(self, batch: Tensor, step: int) -> StepInputs:
        low, sharp = self._pairs(self.hardware.images(batch))
        drawn = self.objective.inputs(sharp.shape[-1], step, np.random.default_rng((self.config.seed, step, 2)))
        tensors = {"low": low, "sharp": sharp, **drawn.tensors}
        if self.config.noise_channels:
            tensors["noise"] = self._noise(batch, low, step)
        return StepInputs({name: self.hardware.upload(each) for name, each in tensors.items()}, drawn.constants)

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        with self.hardware.autocast():
            enlarged = self.network(inputs.tensors["low"], noise=inputs.tensors.get("noise"))
        return self.objective(enlarged, inputs.tensors["sharp"], inputs)

    def preview(self, network: TransformNetwork) -> Tensor:
        """As `Task.preview`: bicubic above, enlarged in the middle, the photographs below, also with a teacher."""
        low, sharp = self._pairs(preview_batch(network, self.hardware, self.preview_photographs))
        with torch.inference_mode(), self.hardware.autocast():
            enlarged = network(low)
        return torch.cat(
            [side_by_side(bicubic(self.config.scale)(low)), side_by_side(enlarged), side_by_side(sharp)], dim=1
        )

    def draft(self, network: TransformNetwork, steps: int, losses: Mapping[str, float]) -> Draft:
        facts: dict[str, Any] = {
            "loss_network": self._loss_source,
            "metrics": self._metrics(network),
        }
        provenance = make_provenance(self.config, self.hardware, self.photographs, steps, losses)
        if isinstance(self.photographs, AnsweredPhotographs):
            answers = self.photographs.manifest
            facts["recipe"] = provenance.recipe | {"teacher": answers.model_dump(), "answer_side": answers.side}
        return make_draft(self.config, "super-resolution", provenance.model_copy(update=facts))

    @property
    def _loss_source(self) -> str:
        """What the manifest says of the loss network; empty without one."""
        return self.objective.loss_network.source if self.objective.loss_network else ""

    def _spec(self, architecture: str) -> NetworkSpec:
        config = self.config
        channels = config.noise_channels
        try:
            return NetworkSpec(
                architecture=architecture,
                norm=config.norm,
                form="same",
                output="linear",
                skip=config.skip,
                noise_channels=channels,
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise TrainerError(f"--architecture {architecture} with --noise-channels {channels}: {reason}") from error

    def _noise(self, batch: Tensor, low: Tensor, step: int) -> Tensor:
        """Noise for each image, as the network's own is: it depends on the seed, the step and the image alone."""
        shape = (self.config.noise_channels, *low.shape[-2:])
        seeds = ((self.config.seed, step, 4, zlib.crc32(image.numpy().tobytes())) for image in batch)
        drawn = [np.random.default_rng(seed).uniform(-NOISE_LIMIT, NOISE_LIMIT, shape) for seed in seeds]
        return torch.from_numpy(np.stack(drawn).astype(np.float32))

    def _photographs(self) -> Photographs:
        """The photographs to learn from: sharp ones, damaged ones, or a teacher's answers to damaged ones.

        With a teacher, answers that are missing are computed first.
        """
        config = self.config
        if not config.answers:
            return self._degraded(config.content, "--content")
        if config.teacher:
            fields = config.model_dump(include=set(AnswersConfig.model_fields))
            compute_answers(AnswersConfig.model_validate(fields), self.hardware)
        return AnsweredPhotographs(
            AnswersFolder(config.answers),
            config.answer_count,
            config.content,
            config.image_size,
            config.batch,
            scale=config.scale,
            seed=config.seed,
            prefetch=prefetch_of(config, self.hardware),
        )

    def _degraded(self, folder: Path, option: str) -> Photographs:
        """The photographs of a folder, which an option named: pairs with --degradation photo, else sharp ones."""
        config = self.config
        if config.degradation == "bicubic":
            return crops_of(config, folder, random_exact_crop, config.image_size, self.hardware, option=option)
        return DegradedPhotographs(
            folder,
            config.image_size,
            config.batch,
            random_exact_crop,
            scale=config.scale,
            seed=config.seed,
            cache_mb=config.cache_mb,
            prefetch=prefetch_of(config, self.hardware),
            option=option,
        )

    def _pairs(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The small images and the large ones that are wanted, of a batch in [0, 1]."""
        if self.config.degradation == "bicubic":
            return low_resolution(batch, self.config.scale, self.config.blur), batch
        return unpack(batch, self.config.scale)

    def _wanted_examples(self, count: int) -> Tensor:
        """The large images of the first batch, or as many as `count`."""
        batch = self.photographs.batch(0, range(min(count, self.config.batch)))
        _, wanted = self._pairs(self.hardware.images(batch))
        return wanted

    def _metrics(self, network: TransformNetwork) -> dict[str, float]:
        folder = self.config.validation
        if folder is None:
            return {}
        scores = evaluate(network, folder, self.config.scale)
        return {f"{name}_{folder.name.lower()}": round(score, 4) for name, score in scores.items()}
