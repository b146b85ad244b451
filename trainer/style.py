"""Style transfer (paper §4.1) as a task: its network, photographs, losses, previews and manifest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_store import Draft, NetworkSpec, TransformNetwork, area_reduced
from model_store.networks.reduction import is_own_thumbnail, to_measure
from trainer.adversary import Discriminator
from trainer.augmentation import Window, random_part, random_shift
from trainer.blotches import blotch_energy
from trainer.config import StyleConfig
from trainer.data import random_scaled_crop
from trainer.hardware import Hardware
from trainer.loss_network import load_loss_network
from trainer.losses import feature_reconstruction
from trainer.objective import nearest_features, style_objective
from trainer.pictures import file_digest, load_painting
from trainer.previews import preview_batch, require_usable, side_by_side
from trainer.provenance import make_draft, make_provenance
from trainer.spectrum import GRID_PERIOD, grid_energy, texture_energy
from trainer.stability_loss import Disturbed, disturbed, stability_loss
from trainer.step_inputs import StepInputs
from trainer.stored_models import load_teacher
from trainer.style_levels import StyleLevel
from trainer.task_parts import crops_of, new_network, preview_folder
from trainer.tones import lost_tones


class StyleTask:
    """Trains a network to paint photographs in the style of one painting."""

    discriminator: Discriminator | None = None

    def __init__(self, config: StyleConfig, hardware: Hardware) -> None:
        self.config, self.hardware = config, hardware
        zoom_from = round(config.zoom_from * config.steps)
        self.photographs = crops_of(
            config,
            config.content,
            random_scaled_crop,
            config.image_size,
            hardware,
            zoom=config.zoom,
            zoom_from=zoom_from,
        )
        preview, option = preview_folder(config)
        self.preview_photographs = crops_of(
            config, preview, random_scaled_crop, config.image_size, hardware, option=option
        )
        require_usable(self.preview_photographs)
        spec = NetworkSpec(
            architecture=config.architecture,
            norm=config.norm,
            form="same",
            output=config.output,
            skip=config.skip,
            thumbnail=config.thumbnail,
        )
        self.network = new_network(config, spec)
        hardware.place(self.network)
        self._style_digest = file_digest(config.style_image)
        """Of the painting as it was read: its file may be replaced during a training."""
        self.painting = load_painting(config.style_image, config.style_size, hardware)
        self.teacher = load_teacher(config.store, config.teacher) if config.teacher else None
        if self.teacher:
            hardware.place(self.teacher.network)
        # last: it may be downloaded, which is in vain where anything else is missing
        self.loss_network = load_loss_network(config.loss_network, config.loss_layout, config.loss_pooling)
        hardware.place(self.loss_network)
        with hardware.autocast():
            self.objective = style_objective(config, self.loss_network, self.painting)
            self.nearest = nearest_features(self.objective, self.loss_network, self.painting)
            self.levels = [
                StyleLevel(2**level, config, self.loss_network, self.painting)
                for level in range(1, config.style_levels)
            ]

    @property
    def fingerprint(self) -> str:
        seen = f"{self.photographs.digest} {self._style_digest} {self.loss_network.source}"
        return f"{seen} {self.teacher.manifest.digest}" if self.teacher else seen

    def inputs(self, batch: Tensor, step: int) -> StepInputs:
        """As `Task.inputs`. Of photographs larger than --image-size, one random square of that side is painted, and
        thumbnail normalisation gets the statistics of the whole photograph."""
        rng = np.random.default_rng((self.config.seed, step, 2))
        whole = self.hardware.images(batch)
        tensors = self._parts(whole, rng)
        tensors |= self._drawn(tensors["photographs"], rng)
        share = self._style_share(step)
        tensors["style_weights"] = torch.tensor(self.objective.style_weights(share))
        tensors["neighbour_weight"] = torch.tensor(share * self.config.neighbour_weight)
        reduced = not self._are_thumbnails(whole)
        if self.network.needs_statistics and (reduced or self.config.stability_weight):
            tensors["thumbnails"] = to_measure(area_reduced(whole, self.config.thumbnail))
        constants = {"zoomed": whole.shape[-1] > self.config.image_size, "reduced": reduced}
        return StepInputs({name: self.hardware.upload(each) for name, each in tensors.items()}, constants)

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        tensors, zoomed = inputs.tensors, bool(inputs.constants["zoomed"])
        photographs, window = tensors["photographs"], Window(tensors["rows"], tensors["columns"])
        with self.hardware.autocast():
            painted = self.network(photographs, self._statistics(inputs) if inputs.constants["reduced"] else None)
            seen = window.of(painted)
            features = self.loss_network(seen, self.objective.layers)
            with torch.no_grad():
                content = self.loss_network(window.of(photographs), [self.objective.content_layer])
        target = content[self.objective.content_layer]
        terms = self.objective(painted, features, target, tensors["style_weights"], pooled=zoomed)
        if self.config.grid_weight:
            terms["grid"] = self.config.grid_weight * grid_energy(painted, GRID_PERIOD)
        if self.config.flat_texture_weight:
            terms["flat_texture"] = self.config.flat_texture_weight * texture_energy(painted, photographs)
        if self.config.blotch_weight:
            terms["blotches"] = self.config.blotch_weight * blotch_energy(painted, photographs)
        if self.config.tone_weight:
            terms["tones"] = self.config.tone_weight * lost_tones(painted, photographs)
        if self.config.neighbour_weight:
            terms["neighbours"] = tensors["neighbour_weight"] * self.nearest.distance(features)
        terms |= self._terms_of_levels(inputs, seen)
        if self.config.stability_weight:
            terms["stability"] = self.config.stability_weight * self._stability(inputs, painted)
        if "wanted" in tensors:
            terms["teacher"] = self.config.teacher_weight * feature_reconstruction(painted, tensors["wanted"])
        return terms

    def _parts(self, whole: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
        """A random square of the photographs, and of what a teacher makes of them."""
        photographs, *wanted = random_part(self._with_teacher(whole), self.config.image_size, rng).split(3, dim=1)
        parts = {"photographs": photographs.contiguous(memory_format=torch.channels_last)}
        return parts | {"wanted": wanted[0]} if wanted else parts

    def _drawn(self, photographs: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
        """Which part of the paintings the loss network sees, and the moved photographs of the stability loss."""
        side, fixed_shape = photographs.shape[-1], self.hardware.fixed_shapes
        drawn = random_shift(side, self.config.shift, rng, fixed_shape=fixed_shape)._asdict()
        if self.config.stability_weight:
            images, window = disturbed(photographs, rng)
            drawn |= {"moved": images, "moved_rows": window.rows, "moved_columns": window.columns}
        return drawn

    def _style_share(self, step: int) -> float:
        """Of the style weight, at each level in a step."""
        return min(1.0, (step + 1) / (self.config.style_ramp * self.config.steps + 1)) / self.config.style_levels

    def _terms_of_levels(self, inputs: StepInputs, painted: Tensor) -> dict[str, Tensor]:
        """Those of the paintings at smaller sizes."""
        weights, zoomed = inputs.tensors["style_weights"], bool(inputs.constants["zoomed"])
        near = inputs.tensors["neighbour_weight"] if self.config.neighbour_weight else None
        with self.hardware.autocast():
            each = [level.terms(painted, weights, near, pooled=zoomed) for level in self.levels]
            return {name: term for terms in each for name, term in terms}

    def _stability(self, inputs: StepInputs, painted: Tensor) -> Tensor:
        """Of the paintings of parts of the photographs, all with the statistics of the whole ones."""
        tensors = inputs.tensors
        moved = Disturbed(tensors["moved"], Window(tensors["moved_rows"], tensors["moved_columns"]))
        statistics = self._statistics(inputs)
        with self.hardware.autocast():
            return stability_loss(lambda images: self.network(images, statistics), painted, moved)

    def _with_teacher(self, whole: Tensor) -> Tensor:
        """Photographs (N, 3, S, S); with a teacher (N, 6, S, S), the last three channels are what it makes of them."""
        if self.teacher is None:
            return whole
        with torch.no_grad(), self.hardware.autocast():
            return torch.cat([whole, self.teacher.network(whole)], dim=1)

    def _are_thumbnails(self, whole: Tensor) -> bool:
        """Whether the photographs are painted whole, and are their own thumbnails: the layers measure them anyway."""
        height, width = whole.shape[-2:]
        return width <= self.config.image_size and is_own_thumbnail(height, width, self.config.thumbnail)

    def _statistics(self, inputs: StepInputs) -> Tensor | None:
        """The network's statistics of the photographs' thumbnails; None without thumbnail normalisation."""
        if not self.network.needs_statistics:
            return None
        return self.network.measure(inputs.tensors["thumbnails"])

    def preview(self, network: TransformNetwork) -> Tensor:
        """As `Task.preview`: photographs above, painted below."""
        photographs = preview_batch(network, self.hardware, self.preview_photographs)
        with torch.inference_mode(), self.hardware.autocast():
            painted = network(photographs)
        return torch.cat([side_by_side(photographs), side_by_side(painted)], dim=1)

    def draft(self, _: TransformNetwork, steps: int, losses: Mapping[str, float]) -> Draft:
        facts: dict[str, Any] = {
            "style_image": self.config.style_title or self.config.style_image.name,
            "style_digest": self._style_digest,
            "loss_network": self.loss_network.source,
        }
        provenance = make_provenance(self.config, self.hardware, self.photographs, steps, losses)
        if self.teacher:
            facts["recipe"] = provenance.recipe | {"teacher": self.teacher.manifest.label}
        draft = make_draft(self.config, "style", provenance.model_copy(update=facts))
        return draft.model_copy(update={"working_size": self.config.working_size})
