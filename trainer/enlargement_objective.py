"""The objective of super-resolution: losses of pixels and of the loss network's features."""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from trainer.augmentation import ZOOMS, Window, random_shift, random_zoom, zoomed
from trainer.config import SuperResolutionConfig
from trainer.data import downscaled
from trainer.errors import LossNetworkError, TrainerError
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import feature_reconstruction, perceptual_distance, repeated_error, texture_loss
from trainer.spectrum import GRID_PERIOD, grid_energy
from trainer.step_inputs import StepInputs

TEXTURE_LAYERS = 3
"""The texture loss takes the first layers of the layout's style layers, as many as this."""

REPETITION = 2
"""The period of errors that must not repeat, in pixels of the small image: where only those of one pixel are held down,
a network alternates between neighbouring ones."""

Pairs = Mapping[str, tuple[Tensor, Tensor]]
"""By layer the features of the enlarged images and those of the wanted ones."""


class EnlargementObjective:
    """The weighted terms of the loss of enlarged images, and the loss network that some of them need.

    The constructor raises TrainerError for options that contradict each other, and where the loss network would get too
    few pixels.
    """

    def __init__(self, config: SuperResolutionConfig, hardware: Hardware) -> None:
        self._config, self._hardware = config, hardware
        self.loss_network = self._load_loss_network()
        """None where no term needs it."""
        self._check()

    def inputs(self, side: int, rng: np.random.Generator) -> StepInputs:
        """What the terms of a step need beside the images, which have `side` pixels a side."""
        if not self.loss_network:
            return StepInputs({})
        fixed_shape = self._hardware.fixed_shapes
        window = random_shift(side, self._config.shift, rng, fixed_shape=fixed_shape)._asdict()
        return StepInputs(window, random_zoom(rng, fixed_shape=fixed_shape) if self._config.perceptual_weight else {})

    def __call__(self, enlarged: Tensor, wanted: Tensor, inputs: StepInputs) -> dict[str, Tensor]:
        """The terms, whose sum is minimised."""
        config = self._config
        terms = {"pixel": config.pixel_weight * self._pixel_loss(enlarged, wanted)}
        if self.loss_network:
            window = Window(inputs.tensors["rows"], inputs.tensors["columns"])
            both = [window.of(images) for images in (enlarged, wanted)]
            seen = [downscaled(images, config.loss_reduction) for images in both]
            terms |= self._feature_terms(self.loss_network, *seen)
            if config.perceptual_weight:
                factor, mirrored = inputs.constants["factor"], bool(inputs.constants["mirrored"])
                both = [zoomed(images, factor, mirrored=mirrored) for images in seen]
                terms["perceptual"] = self._perceptual_term(self.loss_network, *both)
        if config.grid_weight:
            period = max(GRID_PERIOD, config.scale & -config.scale)
            terms["grid"] = config.grid_weight * grid_energy(enlarged, period)
        if config.repetition_weight:
            period = REPETITION * config.scale
            terms["repetition"] = config.repetition_weight * repeated_error(enlarged, wanted, period)
        return terms

    def _load_loss_network(self) -> LossNetwork | None:
        config = self._config
        if not (config.feature_weight or config.texture_weight or config.perceptual_weight):
            return None
        network = load_loss_network(config.loss_network, config.loss_layout, config.loss_pooling)
        self._hardware.place(network)
        return network

    def _check(self) -> None:
        """Raise TrainerError for crops that are too small for the loss network, and --loss-reduction without one."""
        config = self._config
        if self.loss_network is None:
            if config.loss_reduction > 1:
                raise TrainerError(
                    "--loss-reduction is nothing without --feature-weight, --texture-weight or --perceptual-weight"
                )
            return
        crop = self._hardware.images(torch.zeros(1, 3, config.image_size, config.image_size, dtype=torch.uint8))
        least = downscaled(crop[..., config.image_size // 16 :, config.image_size // 16 :], config.loss_reduction)
        try:
            self._feature_terms(self.loss_network, least, least)
            if config.perceptual_weight:
                least = zoomed(least, ZOOMS[0])
                self._perceptual_term(self.loss_network, least, least)
        except (LossNetworkError, RuntimeError) as error:
            size = f"--image-size {config.image_size} with --loss-reduction {config.loss_reduction}"
            raise TrainerError(f"{size} leaves the loss network {least.shape[-1]} pixels a side, too few") from error

    def _pixel_loss(self, enlarged: Tensor, wanted: Tensor) -> Tensor:
        if self._config.pixel_loss == "l1":
            return (enlarged - wanted).abs().mean()
        return feature_reconstruction(enlarged, wanted)

    def _feature_terms(self, loss_network: LossNetwork, enlarged: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """The weighted terms `feature` and `texture`, each where it has a weight."""
        config = self._config
        textures = [*loss_network.layout.style_layers][:TEXTURE_LAYERS] if config.texture_weight else []
        feature = [config.feature_layer] if config.feature_weight else []
        pairs = self._features(loss_network, enlarged, wanted, [*feature, *textures])
        terms = {}
        if feature:
            terms["feature"] = config.feature_weight * feature_reconstruction(*pairs[config.feature_layer])
        if textures:
            shares = [texture_loss(*pairs[layer]) for layer in textures]
            terms["texture"] = config.texture_weight * torch.stack(shares).mean()
        return terms

    def _perceptual_term(self, loss_network: LossNetwork, enlarged: Tensor, wanted: Tensor) -> Tensor:
        """The weighted perceptual distance at all style layers."""
        pairs = self._features(loss_network, enlarged, wanted, loss_network.layout.style_layers)
        return self._config.perceptual_weight * perceptual_distance([*pairs.values()])

    def _features(self, loss_network: LossNetwork, enlarged: Tensor, wanted: Tensor, layers: Collection[str]) -> Pairs:
        """At each layer the features of both images; only those of `enlarged` have a gradient."""
        if not layers:
            return {}
        with self._hardware.autocast():
            features = loss_network(enlarged, layers)
            with torch.no_grad():
                targets = loss_network(wanted, layers)
        return {layer: (features[layer], targets[layer]) for layer in layers}
