"""Loads models onto the device: verifies their golden outputs there, warms them up, and times them."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from model_store import GoldenMismatch, LayerForm, Network, StoredModel, for_inference
from service.engine.calibration import Calibration, RunTiles, SampleType, calibrate, warm_up
from service.engine.cost_model import CostModel
from service.engine.layer_forms import LayerSeconds, choose_forms
from service.engine.loaded_model import LoadedModel, LoadedNetwork, engine_of
from service.engine.measurements import Measurements
from service.engine.openvino_network import OpenVinoCompiler
from service.engine.runner import Runner
from service.engine.tiling import ImageTile, TileSizes, Tiling
from service.errors import OutOfDeviceMemory

FASTER = 0.9
"""Share of the usual time that another engine or precision may take where it is chosen: less would be chance."""

WarmKey = tuple[str, torch.dtype, SampleType, str]
"""The specification of a network, as JSON, its precision, the type of its images, and what computes it."""

logger = logging.getLogger(__name__)


class ModelLoader:
    """Loads models for a runner, in the precision in which it is to run them. Belongs to one thread at a time."""

    def __init__(
        self,
        runner: Runner,
        precisions: Sequence[torch.dtype],
        tile_sizes: TileSizes,
        compiler: OpenVinoCompiler | None = None,
        *,
        only_if_faster: bool = False,
        timed: bool = True,
        layer_seconds: LayerSeconds | None = None,
        measurements: Measurements | None = None,
        faithful: bool = False,
    ) -> None:
        """`precisions`: one or more. Of several the first is chosen, unless another one is clearly faster.

        With a `compiler`, OpenVINO computes images of 8 bits; `only_if_faster` compares it with torch first.

        `timed`: whether networks are warmed up, timed and compared; otherwise their cost models say 0.
        `layer_seconds` measures the forms of thin layers, of which the fastest is chosen; by default the usual one is.
        `measurements`: what is known already, and takes what is measured; loaders of equal devices share them.
        `faithful`: imported networks run in fp32, too, where their answers in other precisions differ by more than two
        levels of 255.
        """
        self.runner = runner
        """Whose device the models are loaded onto."""
        self._timed = timed
        self._precisions = tuple(precisions)
        self._tile_sizes = tile_sizes
        self._compiler = compiler
        self._only_if_faster = only_if_faster
        self._layer_seconds = layer_seconds if timed else None
        self._measured = measurements or Measurements()
        self._faithful = faithful
        self._warm: set[WarmKey] = set()
        """Whose batches have run on this device."""

    def submit(self, model: StoredModel) -> Future[LoadedModel]:
        """`load` beside the batches of the runner."""
        return self.runner.submit_beside(partial(self.load, model))

    def load(self, model: StoredModel) -> LoadedModel:
        """Put a network on the device, verify its golden output there, warm it up and time it.

        Raises GoldenMismatch where the device does not reproduce the golden output in fp32, and DeviceLost. A network
        that does not in a lower precision runs in fp32.
        """
        exact = self._verify(model, torch.float32)
        fp32 = self._time(exact, exact, np.uint16)
        return LoadedModel(self._chosen(model, self._reduced(model, exact) or fp32), fp32)

    def _reduced(self, model: StoredModel, exact: Network) -> LoadedNetwork | None:
        """The network in the fastest precision of the settings; None where that is fp32 or none suffices."""
        precisions = self._precisions
        if self._timed and len(precisions) > 1:
            fastest = self._measured.precision(model.network, partial(self._fastest_precision, model, exact))
            precisions = (fastest, *(precision for precision in precisions if precision != fastest))
        found = (self._in_precision(model, exact, precision) for precision in precisions)
        return next((loaded for loaded in found if loaded is not None), None)

    def _fastest_precision(self, model: StoredModel, exact: Network) -> torch.dtype:
        """The first precision that suffices, unless another one is clearly faster."""
        found = {precision: self._in_precision(model, exact, precision) for precision in self._precisions}
        seconds = {precision: _seconds(loaded) for precision, loaded in found.items() if loaded is not None}
        if not seconds:
            return self._precisions[0]
        usual, best = next(iter(seconds)), min(seconds, key=seconds.__getitem__)
        chosen = best if seconds[best] < FASTER * seconds[usual] else usual
        for loaded in (loaded for precision, loaded in found.items() if loaded is not None and precision != chosen):
            self._forget(loaded.network)
        times = ", ".join(f"{1000 * time:.2f} ms in {precision}" for precision, time in seconds.items())
        logger.info("%s runs in %s: %s", model.network.spec.architecture, chosen, times)
        return chosen

    def _in_precision(self, model: StoredModel, exact: Network, precision: torch.dtype) -> LoadedNetwork | None:
        """The network in a precision, timed; None where that is fp32 or does not suffice."""
        reduced = self._verify_reduced(model, precision)
        return None if reduced is None else self._time(reduced, exact, np.uint8)

    def _forget(self, network: Network) -> None:
        """Free what is kept for batches of a network of this architecture and precision."""
        self.runner.backend.forget(network)
        self._warm.discard(_warm_key(network, np.uint8))

    def _chosen(self, model: StoredModel, by_torch: LoadedNetwork) -> LoadedNetwork:
        """The network by OpenVINO, where it takes and reproduces it and, if that is asked for, is faster than torch."""
        compiled = self._compiler.compile(model.network, model.manifest.label) if self._compiler else None
        if compiled is None:
            return by_torch
        try:
            self._check(model, compiled, self._precisions[0])
        except GoldenMismatch as error:
            logger.warning("%s; torch computes it, and not OpenVINO", error)
            return by_torch
        found = self._time(compiled, by_torch.fp32, np.uint8)
        if not self._timed:
            return found
        pixels = found.tiling.max_tile_pixels
        ratio = found.cost_model.seconds(pixels) / by_torch.cost_model.seconds(pixels)
        chosen = by_torch if self._only_if_faster and ratio > FASTER else found
        name = "torch" if chosen is by_torch else "OpenVINO"
        logger.info("%s is computed by %s: OpenVINO takes %.2f of the time", model.manifest.label, name, ratio)
        return chosen

    def _verify(self, model: StoredModel, precision: torch.dtype) -> Network:
        """The network on the device, in a precision in which it reproduces its golden output."""
        forms = self._chosen_forms(model.network, precision)
        return self._check(model, for_inference(model.network, precision, forms), precision)

    def _verify_reduced(self, model: StoredModel, precision: torch.dtype) -> Network | None:
        """The network in a precision, None where that is fp32 or does not suffice."""
        if precision == torch.float32:
            return None
        try:
            return self._verify(model, precision)
        except GoldenMismatch as error:
            instead = "another precision" if precision != self._precisions[-1] else "fp32"
            logger.warning("%s in %s; it runs in %s", error, precision, instead)
            return None

    def _measured_forms(
        self, network: Network, precision: torch.dtype, layer_seconds: LayerSeconds
    ) -> dict[int, LayerForm]:
        """The usual ones where memory does not suffice to compare them. Batches run between two measurements."""
        runner = self.runner

        def seconds(layer: nn.Module, features: Tensor) -> float:
            with runner.translated_errors(), runner.backend.lane(exclusive=False), runner.backend.launch_lock():
                return layer_seconds(layer, features)

        try:
            return choose_forms(network, precision, seconds)
        except OutOfDeviceMemory as error:
            logger.warning("the forms of thin layers are not compared: %s", error)
            return {}

    def _chosen_forms(self, network: Network, precision: torch.dtype) -> dict[int, LayerForm]:
        """Of thin layers. Networks of one architecture have the same, so that they share graphs and calibrations."""
        layer_seconds = self._layer_seconds
        if layer_seconds is None:
            return {}

        def measure() -> dict[int, LayerForm]:
            forms = self._measured_forms(network, precision, layer_seconds)
            chosen = {position: str(form) for position, form in forms.items()}
            logger.info("%s in %s: thin layers as usual but for %s", network.spec.architecture, precision, chosen)
            return forms

        return self._measured.forms(network, precision, measure)

    def _check(self, model: StoredModel, network: Network, precision: torch.dtype) -> Network:
        """A network, moved to the device. Raises GoldenMismatch where it does not reproduce the golden output there."""
        runner = self.runner
        with (
            runner.translated_errors(),
            torch.inference_mode(),
            runner.backend.lane(exclusive=False),
            runner.backend.launch_lock(),
        ):
            network.to(runner.device)
            output = network(model.golden.batch().to(runner.device))
            model.check(output, precision, faithful=self._faithful and model.manifest.origin is not None)
        return network

    def _time(self, network: Network, fp32: Network, sample: SampleType) -> LoadedNetwork:
        """Networks of one architecture take the same time: only the first of them is timed, on one device for all."""
        tiling, key = Tiling(network, self._tile_sizes), _warm_key(network, sample)
        if not self._timed:
            return LoadedNetwork(network, fp32, tiling, CostModel(0.0, 0.0))
        measured = self._measured.calibration(
            network, sample, engine_of(network), partial(self._calibrate, network, fp32, tiling, sample)
        )
        loaded = LoadedNetwork(network, fp32, tiling.with_batches(measured.fixed_batches), measured.cost_model())
        if key not in self._warm:
            warm_up(self._running(network, fp32), loaded.tiling, sample)
            self._warm.add(key)
        return loaded

    def _calibrate(self, network: Network, fp32: Network, tiling: Tiling, sample: SampleType) -> Calibration:
        measured = calibrate(self._running(network, fp32), tiling, sample)
        for shape, batch in measured.fixed_batches.items():
            self.runner.backend.keep_batch(network, (batch, *shape, 3), np.dtype(sample))
        self._warm.add(_warm_key(network, sample))
        return measured

    def _running(self, network: Network, fp32: Network) -> RunTiles:
        def run(tiling: Tiling, tiles: Sequence[ImageTile], exclusive: bool) -> None:
            run_tiles = self.runner.run if len(tiles) == 1 else self.runner.run_whole
            run_tiles(LoadedNetwork(network, fp32, tiling, CostModel(0.0, 0.0)), tiles, exclusive)

        return run


def _warm_key(network: Network, sample: SampleType) -> WarmKey:
    return network.spec.model_dump_json(), next(network.parameters()).dtype, sample, engine_of(network)


def _seconds(loaded: LoadedNetwork) -> float:
    """Of the largest tile."""
    return loaded.cost_model.seconds(loaded.tiling.max_tile_pixels)
