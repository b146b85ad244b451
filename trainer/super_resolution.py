"""Super-resolution as a task."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model_store import Draft, NetworkSpec, TransformNetwork
from trainer.config import SuperResolutionConfig
from trainer.data import exact_crop, reduced, shifted, shortened
from trainer.errors import TrainerError
from trainer.evaluate import bicubic, evaluate, judged_images
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import feature_reconstruction, texture
from trainer.spectrum import grid_energy
from trainer.task import STRIDE, cropped, drafted, new_network, previewed, provenance_of, row

TEXTURE_LAYERS = 3
"""So many of the layers of style, the shallowest, have the textures that an enlargement lacks."""

UPSCALERS = {2: "c3s1-64,R64*4,c3s1-12,p2", 4: "c3s1-64,R64*4,c3s1-48,p4", 8: "c3s1-64,R64*4,c3s1-192,p8"}
"""Default networks for super-resolution: no enlargement before the last layer, where the paper's spend their time."""


class SuperResolutionTask:
    """Enlarge photographs (paper §4.2)."""

    def __init__(self, config: SuperResolutionConfig, hardware: Hardware) -> None:
        self.config, self.hardware = config, hardware
        if config.validation:
            judged_images(config.validation, config.scale, "--validation")
        if config.image_size % config.scale:
            raise TrainerError(f"--image-size {config.image_size} is no multiple of the scale, {config.scale}")
        self.photographs = cropped(config, config.content, exact_crop, config.image_size)
        self.shown = cropped(config, config.preview or config.content, exact_crop, config.image_size)
        architecture = config.architecture or UPSCALERS.get(config.scale)
        if architecture is None:
            raise TrainerError(f"--scale {config.scale} needs --architecture; defaults are there for {[*UPSCALERS]}")
        spec = NetworkSpec(architecture=architecture, norm=config.norm, form="same", output="linear", skip=config.skip)
        if spec.scale != config.scale:
            raise TrainerError(f"--architecture {architecture} enlarges ×{spec.scale}, not ×{config.scale}")
        self.network = new_network(config, spec)
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
        sharp = previewed(network, self.hardware, self.shown)
        low = reduced(sharp, self.config.scale, self.config.blur)
        with torch.inference_mode(), self.hardware.autocast():
            enlarged = network(low)
        return torch.cat([row(bicubic(self.config.scale)(low)), row(enlarged), row(sharp)], dim=1)

    def draft(self, network: TransformNetwork, steps: int, losses: Mapping[str, float]) -> Draft:
        facts = {
            "loss_network": self.loss_network.source if self.loss_network else "",
            "metrics": self._metrics(network),
        }
        provenance = provenance_of(self.config, self.hardware, self.photographs, steps, losses)
        return drafted(self.config, "super-resolution", provenance.model_copy(update=facts))

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
