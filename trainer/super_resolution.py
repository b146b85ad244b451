"""Super-resolution (paper §4.2) as a task: its network, photographs, losses, previews and manifest."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_store import Draft, NetworkSpec, TransformNetwork
from trainer.augmentation import ZOOMS, Window, random_shift, random_zoom, zoomed
from trainer.config import AnswersConfig, SuperResolutionConfig
from trainer.data import Photographs, downscaled, low_resolution, random_exact_crop
from trainer.errors import TrainerError
from trainer.evaluate import bicubic, evaluate, evaluation_images
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import feature_reconstruction, perceptual_distance, texture_loss
from trainer.pairs import DegradedPhotographs, unpack
from trainer.previews import preview_batch, side_by_side
from trainer.provenance import make_draft, make_provenance
from trainer.spectrum import GRID_PERIOD, grid_energy
from trainer.step_inputs import StepInputs
from trainer.task_parts import crops_of, new_network, prefetch_of
from trainer.teacher_answers import AnsweredPhotographs, AnswersFolder, compute_answers

TEXTURE_LAYERS = 3
"""The texture loss takes the first layers of the layout's style layers, as many as this."""

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
        preview = config.preview or config.content
        self.preview_photographs = self._degraded(preview)
        architecture = config.architecture or UPSCALERS.get(config.scale)
        if architecture is None:
            raise TrainerError(f"--scale {config.scale} needs --architecture; defaults are there for {[*UPSCALERS]}")
        spec = NetworkSpec(architecture=architecture, norm=config.norm, form="same", output="linear", skip=config.skip)
        if spec.scale != config.scale:
            raise TrainerError(f"--architecture {architecture} enlarges ×{spec.scale}, not ×{config.scale}")
        self.network = new_network(config, spec)
        hardware.place(self.network)
        self.loss_network = self._loss_network()
        self._check_loss_network()

    @property
    def fingerprint(self) -> str:
        return f"{self.photographs.digest} {self.loss_network.source if self.loss_network else ''}"

    def inputs(self, batch: Tensor, step: int) -> StepInputs:
        low, sharp = self._pairs(self.hardware.images(batch))
        tensors, constants = {"low": low, "sharp": sharp}, dict[str, float]()
        if self.loss_network:
            rng, fixed_shape = np.random.default_rng((self.config.seed, step, 2)), self.hardware.fixed_shapes
            tensors |= random_shift(sharp.shape[-1], self.config.shift, rng, fixed_shape=fixed_shape)._asdict()
            if self.config.perceptual_weight:
                constants |= random_zoom(rng, fixed_shape=fixed_shape)
        return StepInputs({name: self.hardware.upload(each) for name, each in tensors.items()}, constants)

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        tensors = inputs.tensors
        with self.hardware.autocast():
            enlarged = self.network(tensors["low"])
        terms = {"pixel": self.config.pixel_weight * self._pixel_loss(enlarged, tensors["sharp"])}
        if self.loss_network:
            window = Window(tensors["rows"], tensors["columns"])
            both = [window.of(images) for images in (enlarged, tensors["sharp"])]
            seen = [downscaled(images, self.config.loss_reduction) for images in both]
            terms |= self._feature_terms(self.loss_network, *seen)
            if self.config.perceptual_weight:
                factor, mirrored = inputs.constants["factor"], bool(inputs.constants["mirrored"])
                both = [zoomed(images, factor, mirrored=mirrored) for images in seen]
                terms["perceptual"] = self._perceptual_term(self.loss_network, *both)
        if self.config.grid_weight:
            period = max(GRID_PERIOD, self.config.scale & -self.config.scale)
            terms["grid"] = self.config.grid_weight * grid_energy(enlarged, period)
        return terms

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
            "loss_network": self.loss_network.source if self.loss_network else "",
            "metrics": self._metrics(network),
        }
        provenance = make_provenance(self.config, self.hardware, self.photographs, steps, losses)
        if isinstance(self.photographs, AnsweredPhotographs):
            facts["recipe"] = provenance.recipe | {"teacher": self.photographs.manifest.model_dump()}
        return make_draft(self.config, "super-resolution", provenance.model_copy(update=facts))

    def _photographs(self) -> Photographs:
        """The photographs to learn from: sharp ones, damaged ones, or a teacher's answers to damaged ones.

        With a teacher, answers that are missing are computed first.
        """
        config = self.config
        if not config.answers:
            return self._degraded(config.content)
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

    def _degraded(self, folder: Path) -> Photographs:
        """The photographs of a folder: pairs with --degradation photo, else sharp ones."""
        config = self.config
        if config.degradation == "bicubic":
            return crops_of(config, folder, random_exact_crop, config.image_size, self.hardware)
        return DegradedPhotographs(
            folder,
            config.image_size,
            config.batch,
            random_exact_crop,
            scale=config.scale,
            seed=config.seed,
            cache_mb=config.cache_mb,
            prefetch=prefetch_of(config, self.hardware),
        )

    def _pairs(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The small images and the large ones that are wanted, of a batch in [0, 1]."""
        if self.config.degradation == "bicubic":
            return low_resolution(batch, self.config.scale, self.config.blur), batch
        return unpack(batch, self.config.scale)

    def _metrics(self, network: TransformNetwork) -> dict[str, float]:
        folder = self.config.validation
        if folder is None:
            return {}
        scores = evaluate(network, folder, self.config.scale)
        return {f"{name}_{folder.name.lower()}": round(score, 4) for name, score in scores.items()}

    def _loss_network(self) -> LossNetwork | None:
        if not (self.config.feature_weight or self.config.texture_weight or self.config.perceptual_weight):
            return None
        config = self.config
        network = load_loss_network(config.loss_network, config.loss_layout, config.loss_pooling)
        self.hardware.place(network)
        return network

    def _check_loss_network(self) -> None:
        """Raise TrainerError for crops that are too small for the loss network, and --loss-reduction without one."""
        config = self.config
        if self.loss_network is None:
            if config.loss_reduction > 1:
                raise TrainerError(
                    "--loss-reduction is nothing without --feature-weight, --texture-weight or --perceptual-weight"
                )
            return
        crop = self.hardware.images(torch.zeros(1, 3, config.image_size, config.image_size, dtype=torch.uint8))
        least = downscaled(crop[..., config.image_size // 16 :, config.image_size // 16 :], config.loss_reduction)
        try:
            self._feature_terms(self.loss_network, least, least)
            if config.perceptual_weight:
                least = zoomed(least, ZOOMS[0])
                self._perceptual_term(self.loss_network, least, least)
        except RuntimeError as error:
            size = f"--image-size {config.image_size} with --loss-reduction {config.loss_reduction}"
            raise TrainerError(f"{size} leaves the loss network {least.shape[-1]} pixels a side, too few") from error

    def _pixel_loss(self, enlarged: Tensor, sharp: Tensor) -> Tensor:
        if self.config.pixel_loss == "l1":
            return (enlarged - sharp).abs().mean()
        return feature_reconstruction(enlarged, sharp)

    def _feature_terms(self, loss_network: LossNetwork, enlarged: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        """The weighted terms `feature` and `texture`, each where it has a weight."""
        config = self.config
        textures = [*loss_network.layout.style_layers][:TEXTURE_LAYERS] if config.texture_weight else []
        feature = [config.feature_layer] if config.feature_weight else []
        pairs = self._features(loss_network, enlarged, sharp, [*feature, *textures])
        terms = {}
        if feature:
            terms["feature"] = config.feature_weight * feature_reconstruction(*pairs[config.feature_layer])
        if textures:
            shares = [texture_loss(*pairs[layer]) for layer in textures]
            terms["texture"] = config.texture_weight * torch.stack(shares).mean()
        return terms

    def _perceptual_term(self, loss_network: LossNetwork, enlarged: Tensor, sharp: Tensor) -> Tensor:
        """The weighted perceptual distance at all style layers."""
        pairs = self._features(loss_network, enlarged, sharp, loss_network.layout.style_layers)
        return self.config.perceptual_weight * perceptual_distance([*pairs.values()])

    def _features(
        self, loss_network: LossNetwork, enlarged: Tensor, sharp: Tensor, layers: Collection[str]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """At each layer the features of both images; only those of `enlarged` have a gradient."""
        if not layers:
            return {}
        with self.hardware.autocast():
            features = loss_network(enlarged, layers)
            with torch.no_grad():
                targets = loss_network(sharp, layers)
        return {layer: (features[layer], targets[layer]) for layer in layers}
