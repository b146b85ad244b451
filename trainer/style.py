"""Style transfer as a task."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_store import Draft, NetworkSpec, TransformNetwork, area_reduced
from trainer.config import StyleConfig
from trainer.data import part, scaled_crop, shifted
from trainer.hardware import Hardware
from trainer.loss_network import load_loss_network
from trainer.losses import feature_reconstruction
from trainer.models import style_teacher
from trainer.objective import style_objective
from trainer.pictures import digest, painting
from trainer.spectrum import grid_energy
from trainer.task import STRIDE, cropped, drafted, new_network, previewed, provenance_of, row


class StyleTask:
    """Paint photographs in the style of one painting (paper §4.1)."""

    def __init__(self, config: StyleConfig, hardware: Hardware) -> None:
        self.config, self.hardware = config, hardware
        zoom_from = round(config.zoom_from * config.steps)
        self.photographs = cropped(config, config.content, scaled_crop, config.image_size, config.zoom, zoom_from)
        self.shown = cropped(config, config.preview or config.content, scaled_crop, config.image_size)
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
        self.loss_network = load_loss_network(config.loss_network, config.loss_layout, config.loss_pooling)
        hardware.place(self.loss_network)
        self.painting = painting(config.style_image, config.style_size, hardware)
        with hardware.autocast():
            self.objective = style_objective(config, self.loss_network, self.painting)
        self.teacher = style_teacher(config.store, config.teacher) if config.teacher else None
        if self.teacher:
            hardware.place(self.teacher.network)

    @property
    def fingerprint(self) -> str:
        seen = f"{self.photographs.digest} {digest(self.config.style_image)} {self.loss_network.source}"
        return f"{seen} {self.teacher.manifest.digest}" if self.teacher else seen

    def losses(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        """As `Task`; of photographs larger than --image-size, for one random part, given the thumbnail of the whole."""
        rng = np.random.default_rng((self.config.seed, step, 2))
        whole = self.hardware.images(batch)
        zoomed = whole.shape[-1] > self.config.image_size
        photographs, *wanted = part(self._beside_taught(whole), self.config.image_size, rng).split(3, dim=1)
        with self.hardware.autocast():
            painted = self.network(photographs, self._statistics(whole) if zoomed else None)
            seen, original = shifted([painted, photographs], self.config.shift, rng)
            features = self.loss_network(seen, self.objective.layers)
            with torch.no_grad():
                content = self.loss_network(original, [self.objective.content_layer])
        style = min(1.0, (step + 1) / (self.config.style_ramp * self.config.steps + 1))
        target = content[self.objective.content_layer]
        terms = self.objective(painted, features, target, style, pooled=zoomed)
        if self.config.grid_weight:
            terms["grid"] = self.config.grid_weight * grid_energy(painted, STRIDE)
        if wanted:
            terms["teacher"] = self.config.teacher_weight * feature_reconstruction(painted, wanted[0])
        return terms

    def _beside_taught(self, whole: Tensor) -> Tensor:
        """Photographs (N, 3, S, S), and where there is a teacher its paintings of them as three more channels."""
        if self.teacher is None:
            return whole
        with torch.no_grad(), self.hardware.autocast():
            return torch.cat([whole, self.teacher.network(whole)], dim=1)

    def _statistics(self, whole: Tensor) -> Tensor | None:
        """Those of the thumbnails of whole photographs, None where the network needs none."""
        if not self.network.needs_statistics:
            return None
        return self.network.statistics(area_reduced(whole, self.config.thumbnail))

    def preview(self, network: TransformNetwork) -> Tensor:
        """Photographs above, painted below."""
        photographs = previewed(network, self.hardware, self.shown)
        with torch.inference_mode(), self.hardware.autocast():
            painted = network(photographs)
        return torch.cat([row(photographs), row(painted)], dim=1)

    def draft(self, _: TransformNetwork, steps: int, losses: Mapping[str, float]) -> Draft:
        facts: dict[str, Any] = {
            "style_image": self.config.style_title or self.config.style_image.name,
            "style_digest": digest(self.config.style_image),
            "loss_network": self.loss_network.source,
        }
        provenance = provenance_of(self.config, self.hardware, self.photographs, steps, losses)
        if self.teacher:
            facts["recipe"] = provenance.recipe | {"teacher": self.teacher.manifest.label}
        return drafted(self.config, "style", provenance.model_copy(update=facts))
