"""The objective of super-resolution: losses of pixels, of the loss network's features, and of an adversary."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from trainer.adversary import Discriminator, adversary_loss, discriminator_loss
from trainer.augmentation import ZOOMS, Window, random_shift, random_zoom, zoomed
from trainer.config import SuperResolutionConfig
from trainer.data import downscaled
from trainer.errors import LossNetworkError, TrainerError
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import feature_reconstruction, perceptual_distance, repeated_error, texture_loss
from trainer.spectrum import GRID_PERIOD, grid_energy
from trainer.step_inputs import StepInputs

FINE_LAYERS = 3
"""The texture loss and the adversary take the first layers of the layout's style layers, as many as this."""

EXAMPLES = 8
"""Wanted images, at most, by which the discriminator learns how large features are."""

REPETITION = 2
"""The period of errors that must not repeat, in pixels of the small image: where only those of one pixel are held down,
a network alternates between neighbouring ones."""

LOSS_NETWORK_WEIGHTS = ("feature_weight", "texture_weight", "perceptual_weight", "adversary_weight")
"""The options whose terms need a loss network."""

Pairs = Mapping[str, tuple[Tensor, Tensor]]
"""By layer the features of the enlarged images and those of the wanted ones."""


class EnlargementObjective:
    """The weighted terms of the loss of enlarged images, and the loss network that some of them need.

    The constructor raises TrainerError for options that contradict each other, and where the loss network would get too
    few pixels.
    """

    def __init__(
        self, config: SuperResolutionConfig, hardware: Hardware, examples: Callable[[int], Tensor] | None = None
    ) -> None:
        """`examples` returns wanted images, as many as it is told or fewer; it is called for an adversary alone."""
        self._config, self._hardware = config, hardware
        self.loss_network = self._load_loss_network()
        """None where no term needs it."""
        self.discriminator: Discriminator | None = None
        """Learns beside the network; None without --adversary-weight."""
        self._check()
        if self.loss_network and config.adversary_weight and examples:
            self.discriminator = self._new_discriminator(self.loss_network, examples(EXAMPLES))

    def inputs(self, side: int, step: int, rng: np.random.Generator) -> StepInputs:
        """What the terms of a step need beside the images, which have `side` pixels a side."""
        tensors, constants = self._drawn(side, rng) if self.loss_network else ({}, {})
        if self.discriminator:
            tensors["adversary_weight"] = torch.tensor(self._adversary_weight(step))
        return StepInputs(tensors, constants)

    def __call__(self, enlarged: Tensor, wanted: Tensor, inputs: StepInputs) -> dict[str, Tensor]:
        """The terms, whose sum is minimised."""
        config = self._config
        terms = {"pixel": config.pixel_weight * self._pixel_loss(enlarged, wanted)}
        if self.loss_network:
            terms |= self._loss_network_terms(self.loss_network, enlarged, wanted, inputs)
        if config.grid_weight:
            period = max(GRID_PERIOD, config.scale & -config.scale)
            terms["grid"] = config.grid_weight * grid_energy(enlarged, period)
        if config.repetition_weight:
            period = REPETITION * config.scale
            terms["repetition"] = config.repetition_weight * repeated_error(enlarged, wanted, period)
        return terms

    def _drawn(self, side: int, rng: np.random.Generator) -> tuple[dict[str, Tensor], Mapping[str, float]]:
        """What is drawn for the loss network: which part of the images it sees, and their zoom."""
        fixed_shape = self._hardware.fixed_shapes
        window = random_shift(side, self._config.shift, rng, fixed_shape=fixed_shape)._asdict()
        return window, random_zoom(rng, fixed_shape=fixed_shape) if self._config.perceptual_weight else {}

    def _adversary_weight(self, step: int) -> float:
        """In a step, counted from 0; the discriminator learns from the first on."""
        config = self._config
        return config.adversary_weight * min(1.0, step / (config.adversary_ramp * config.steps + 1))

    def _load_loss_network(self) -> LossNetwork | None:
        config = self._config
        if not any(getattr(config, option) for option in LOSS_NETWORK_WEIGHTS):
            return None
        network = load_loss_network(config.loss_network, config.loss_layout, config.loss_pooling)
        self._hardware.place(network)
        return network

    def _new_discriminator(self, loss_network: LossNetwork, examples: Tensor) -> Discriminator:
        seen = downscaled(examples, self._config.loss_reduction)
        with self._hardware.autocast():
            features = loss_network(seen, self._judged(loss_network))
        torch.manual_seed(self._config.seed)
        discriminator = Discriminator(features)
        self._hardware.place(discriminator)
        return discriminator

    def _layers(self, loss_network: LossNetwork) -> set[str]:
        """Whose features the terms need, apart from the perceptual distance."""
        feature = [self._config.feature_layer] if self._config.feature_weight else []
        return {*feature, *self._textures(loss_network), *self._judged(loss_network)}

    def _textures(self, loss_network: LossNetwork) -> list[str]:
        return _fine_layers(loss_network) if self._config.texture_weight else []

    def _judged(self, loss_network: LossNetwork) -> list[str]:
        """The layers that the discriminator sees."""
        return _fine_layers(loss_network) if self._config.adversary_weight else []

    def _check(self) -> None:
        """Raise TrainerError for crops that are too small for the loss network, for a layer that it does not have, and
        for --loss-reduction without one.
        """
        config = self._config
        if self.loss_network is None:
            if config.loss_reduction > 1:
                *options, last = (f"--{name.replace('_', '-')}" for name in LOSS_NETWORK_WEIGHTS)
                raise TrainerError(f"--loss-reduction is nothing without {', '.join(options)} or {last}")
            return
        if config.feature_weight:
            self.loss_network.position(config.feature_layer)
        crop = self._hardware.images(torch.zeros(1, 3, config.image_size, config.image_size, dtype=torch.uint8))
        least = downscaled(crop[..., config.image_size // 16 :, config.image_size // 16 :], config.loss_reduction)
        try:
            pairs = self._features(self.loss_network, least, least, self._layers(self.loss_network))
            self._feature_terms(self.loss_network, pairs)
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

    def _loss_network_terms(
        self, loss_network: LossNetwork, enlarged: Tensor, wanted: Tensor, inputs: StepInputs
    ) -> dict[str, Tensor]:
        """The weighted terms of features: of the part of the images that was drawn, and of that zoomed."""
        window = Window(inputs.tensors["rows"], inputs.tensors["columns"])
        found, expected = (downscaled(window.of(each), self._config.loss_reduction) for each in (enlarged, wanted))
        pairs = self._features(loss_network, found, expected, self._layers(loss_network))
        terms = self._feature_terms(loss_network, pairs)
        if self.discriminator:
            terms |= self._adversary_terms(self.discriminator, pairs, inputs.tensors["adversary_weight"])
        if self._config.perceptual_weight:
            factor, mirrored = inputs.constants["factor"], bool(inputs.constants["mirrored"])
            both = [zoomed(images, factor, mirrored=mirrored) for images in (found, expected)]
            terms["perceptual"] = self._perceptual_term(loss_network, *both)
        return terms

    def _feature_terms(self, loss_network: LossNetwork, pairs: Pairs) -> dict[str, Tensor]:
        """The weighted terms `feature` and `texture`, each where it has a weight."""
        config, terms = self._config, {}
        if config.feature_weight:
            terms["feature"] = config.feature_weight * feature_reconstruction(*pairs[config.feature_layer])
        if config.texture_weight:
            shares = [texture_loss(*pairs[layer]) for layer in self._textures(loss_network)]
            terms["texture"] = config.texture_weight * torch.stack(shares).mean()
        return terms

    def _adversary_terms(self, discriminator: Discriminator, pairs: Pairs, weight: Tensor) -> dict[str, Tensor]:
        """The network's weighted term and the discriminator's own; each has gradients for its weights alone."""
        enlarged, wanted = ({layer: pairs[layer][side] for layer in discriminator.judges} for side in (0, 1))
        with self._hardware.autocast():
            adversary = weight * adversary_loss(discriminator, enlarged, wanted)
        with self._hardware.autocast():  # one of its own: what the first has cast without gradients is kept to its end
            return {"adversary": adversary, "discriminator": discriminator_loss(discriminator, enlarged, wanted)}

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


def _fine_layers(loss_network: LossNetwork) -> list[str]:
    return [*loss_network.layout.style_layers][:FINE_LAYERS]
