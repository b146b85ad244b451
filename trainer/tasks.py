"""What is trained: a network, its images, its losses. The training loop knows no more of a task than `Task` says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from model_store import Draft, NetworkSpec, Provenance, TransformNetwork, area_reduced
from trainer.config import FREE, PLACES, STORY, StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.data import Cut, Photographs, exact_crop, part, reduced, scaled_crop, shifted, shortened
from trainer.errors import TrainerError
from trainer.evaluate import bicubic, evaluate, judged_images
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import feature_reconstruction, texture
from trainer.models import style_teacher
from trainer.objective import style_objective
from trainer.pictures import digest, painting
from trainer.spectrum import grid_energy

PREVIEW_IMAGES = 4

STRIDE = 4
"""Pixels after which a network that halves the side twice repeats itself: the period of its grids."""

TEXTURE_LAYERS = 3
"""So many of the layers of style, the shallowest, have the textures that an enlargement lacks."""

UPSCALERS = {2: "c3s1-64,R64*4,c3s1-12,p2", 4: "c3s1-64,R64*4,c3s1-48,p4", 8: "c3s1-64,R64*4,c3s1-192,p8"}
"""Default networks for super-resolution: no enlargement before the last layer, where the paper's spend their time."""


class Task(Protocol):
    """One of the two problems of the paper."""

    network: TransformNetwork
    photographs: Photographs

    @property
    def fingerprint(self) -> str:
        """Of the images, the loss network and the teacher: equal where a run can be resumed."""

    def losses(self, batch: Tensor, step: int, /) -> dict[str, Tensor]:
        """The weighted terms of the loss of a step for uint8 photographs (N, 3, S, S); their sum is minimised."""

    def preview(self, network: TransformNetwork) -> Tensor:
        """A picture of what `network` does, float RGB (3, H, W)."""

    def draft(self, network: TransformNetwork, /, steps: int, losses: Mapping[str, float]) -> Draft:
        """What the manifest says of the trained network."""


class StyleTask:
    """Paint photographs in the style of one painting (paper §4.1)."""

    def __init__(self, config: StyleConfig, hardware: Hardware) -> None:
        self.config, self.hardware = config, hardware
        zoom_from = round(config.zoom_from * config.steps)
        self.photographs = _photographs(config, config.content, scaled_crop, config.image_size, config.zoom, zoom_from)
        self.shown = _photographs(config, config.preview or config.content, scaled_crop, config.image_size)
        spec = NetworkSpec(
            architecture=config.architecture,
            norm=config.norm,
            form="same",
            output=config.output,
            skip=config.skip,
            thumbnail=config.thumbnail,
        )
        self.network = _network(config, spec)
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
        photographs = _shown(network, self.hardware, self.shown)
        with torch.inference_mode(), self.hardware.autocast():
            painted = network(photographs)
        return torch.cat([_row(photographs), _row(painted)], dim=1)

    def draft(self, _: TransformNetwork, steps: int, losses: Mapping[str, float]) -> Draft:
        facts: dict[str, Any] = {
            "style_image": self.config.style_title or self.config.style_image.name,
            "style_digest": digest(self.config.style_image),
            "loss_network": self.loss_network.source,
        }
        provenance = _provenance(self.config, self.hardware, self.photographs, steps, losses)
        if self.teacher:
            facts["recipe"] = provenance.recipe | {"teacher": self.teacher.manifest.label}
        return _draft(self.config, "style", provenance.model_copy(update=facts))


class SuperResolutionTask:
    """Enlarge photographs (paper §4.2)."""

    def __init__(self, config: SuperResolutionConfig, hardware: Hardware) -> None:
        self.config, self.hardware = config, hardware
        if config.validation:
            judged_images(config.validation, config.scale, "--validation")
        if config.image_size % config.scale:
            raise TrainerError(f"--image-size {config.image_size} is no multiple of the scale, {config.scale}")
        self.photographs = _photographs(config, config.content, exact_crop, config.image_size)
        self.shown = _photographs(config, config.preview or config.content, exact_crop, config.image_size)
        architecture = config.architecture or UPSCALERS.get(config.scale)
        if architecture is None:
            raise TrainerError(f"--scale {config.scale} needs --architecture; defaults are there for {[*UPSCALERS]}")
        spec = NetworkSpec(architecture=architecture, norm=config.norm, form="same", output="linear", skip=config.skip)
        if spec.scale != config.scale:
            raise TrainerError(f"--architecture {architecture} enlarges ×{spec.scale}, not ×{config.scale}")
        self.network = _network(config, spec)
        hardware.place(self.network)
        self.loss_network = self._loss_network()
        self._check_seen()

    @property
    def fingerprint(self) -> str:
        return f"{self.photographs.digest} {self.loss_network.source if self.loss_network else ''}"

    def losses(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        sharp = self.hardware.images(batch)
        low = reduced(sharp, self.config.scale, self.config.blur)
        with self.hardware.autocast():
            enlarged = self.network(low)
        terms = {"pixel": self.config.pixel_weight * self._pixel_loss(enlarged, sharp)}
        if self.loss_network:
            rng = np.random.default_rng((self.config.seed, step, 2))
            both = shifted([enlarged, sharp], self.config.shift, rng)
            terms |= self._seen(self.loss_network, *(shortened(images, self.config.loss_reduction) for images in both))
        if self.config.grid_weight:
            period = max(STRIDE, self.config.scale & -self.config.scale)
            terms["grid"] = self.config.grid_weight * grid_energy(enlarged, period)
        return terms

    def preview(self, network: TransformNetwork) -> Tensor:
        """Bicubic above, enlarged in the middle, the photographs below."""
        sharp = _shown(network, self.hardware, self.shown)
        low = reduced(sharp, self.config.scale, self.config.blur)
        with torch.inference_mode(), self.hardware.autocast():
            enlarged = network(low)
        return torch.cat([_row(bicubic(self.config.scale)(low)), _row(enlarged), _row(sharp)], dim=1)

    def draft(self, network: TransformNetwork, steps: int, losses: Mapping[str, float]) -> Draft:
        facts = {
            "loss_network": self.loss_network.source if self.loss_network else "",
            "metrics": self._metrics(network),
        }
        provenance = _provenance(self.config, self.hardware, self.photographs, steps, losses)
        return _draft(self.config, "super-resolution", provenance.model_copy(update=facts))

    def _metrics(self, network: TransformNetwork) -> dict[str, float]:
        folder = self.config.validation
        if folder is None:
            return {}
        scores = evaluate(network, folder, self.config.scale)
        return {f"{name}_{folder.name.lower()}": round(score, 4) for name, score in scores.items()}

    def _loss_network(self) -> LossNetwork | None:
        if not (self.config.feature_weight or self.config.texture_weight):
            return None
        config = self.config
        network = load_loss_network(config.loss_network, config.loss_layout, config.loss_pooling)
        self.hardware.place(network)
        return network

    def _check_seen(self) -> None:
        """Raise TrainerError where the loss network would see too little of a crop, or nothing at all."""
        config = self.config
        if self.loss_network is None:
            if config.loss_reduction > 1:
                raise TrainerError("--loss-reduction is nothing without --feature-weight or --texture-weight")
            return
        crop = self.hardware.images(torch.zeros(1, 3, config.image_size, config.image_size, dtype=torch.uint8))
        least = shortened(crop[..., config.image_size // 16 :, config.image_size // 16 :], config.loss_reduction)
        try:
            self._seen(self.loss_network, least, least)
        except RuntimeError as error:
            size = f"--image-size {config.image_size} with --loss-reduction {config.loss_reduction}"
            raise TrainerError(f"{size} leaves the loss network {least.shape[-1]} pixels a side, too few") from error

    def _pixel_loss(self, enlarged: Tensor, sharp: Tensor) -> Tensor:
        if self.config.pixel_loss == "l1":
            return (enlarged - sharp).abs().mean()
        return feature_reconstruction(enlarged, sharp)

    def _seen(self, loss_network: LossNetwork, enlarged: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        """The terms that a loss network sees."""
        config, textures = self.config, [*loss_network.layout.style_layers][:TEXTURE_LAYERS]
        layers = {config.feature_layer, *(textures if config.texture_weight else ())}
        with self.hardware.autocast():
            features = loss_network(enlarged, layers)
            with torch.no_grad():
                targets = loss_network(sharp, layers)
        layer = config.feature_layer
        terms = {"feature": config.feature_weight * feature_reconstruction(features[layer], targets[layer])}
        if config.texture_weight:
            shares = [texture(features[layer], targets[layer]) for layer in textures]
            terms["texture"] = config.texture_weight * torch.stack(shares).mean()
        return terms


def build(config: TrainConfig, hardware: Hardware) -> Task:
    """The task that a configuration describes."""
    if isinstance(config, StyleConfig):
        return StyleTask(config, hardware)
    if isinstance(config, SuperResolutionConfig):
        return SuperResolutionTask(config, hardware)
    raise TrainerError(f"no task for a {type(config).__name__}")


def _network(config: TrainConfig, spec: NetworkSpec) -> TransformNetwork:
    torch.manual_seed(config.seed)
    return TransformNetwork(spec)


def _draft(config: TrainConfig, task: str, provenance: Provenance) -> Draft:
    return Draft.model_validate(
        {
            "name": config.name,
            "task": task,
            "title": config.title,
            "description": config.description,
            "license": config.license,
            "provenance": provenance,
        }
    )


def _provenance(
    config: TrainConfig, hardware: Hardware, photographs: Photographs, steps: int, losses: Mapping[str, float]
) -> Provenance:
    recipe = config.model_dump(mode="json", exclude={*PLACES, *STORY, *FREE})
    return Provenance(
        data=config.data or f"{len(photographs.files)} photographs",
        recipe=recipe | {"steps": config.steps, "precision": str(hardware.precision).removeprefix("torch.")},
        losses=dict(losses),
        steps=steps,
        software={"torch": torch.__version__, "device": hardware.device.type},
    )


def _photographs(
    config: TrainConfig, folder: Path, cut: Cut, side: int, zoom: float = 1.0, zoom_from: int = 0
) -> Photographs:
    return Photographs(
        folder,
        side,
        config.batch,
        cut,
        seed=config.seed,
        cache_mb=config.cache_mb,
        zoom=zoom,
        zoom_from=zoom_from,
    )


def _shown(network: TransformNetwork, hardware: Hardware, photographs: Photographs) -> Tensor:
    """The same few crops for every preview of a run, where the network is."""
    crops = torch.cat([photographs.batch(step) for step in range(-(-PREVIEW_IMAGES // photographs.size))])
    return hardware.images(crops[:PREVIEW_IMAGES]).to(next(network.parameters()).device)


def _row(images: Tensor) -> Tensor:
    """(N, 3, H, W) side by side: (3, H, N · W)."""
    return images.clamp(0, 1).permute(1, 2, 0, 3).flatten(2)
