"""Loads models onto the device: verifies their golden outputs there, warms them up, and times them."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import torch

from model_store import Network, StoredModel, for_inference
from service.engine.calibration import Calibration, SampleType, calibrate
from service.engine.cost_model import CostModel
from service.engine.loaded_model import LoadedModel, LoadedNetwork
from service.engine.runner import Runner
from service.engine.tiling import ImageTile, TileSizes, Tiling


class ModelLoader:
    """Loads models for a runner, in the precision in which it is to run them. Belongs to one thread at a time."""

    def __init__(self, runner: Runner, precision: torch.dtype, tile_sizes: TileSizes) -> None:
        self._runner = runner
        self._precision = precision
        self._tile_sizes = tile_sizes
        self._calibrations: dict[tuple[str, SampleType], Calibration] = {}

    def submit(self, model: StoredModel) -> Future[LoadedModel]:
        """`load` beside the batches of the runner."""
        return self._runner.submit_beside(partial(self.load, model))

    def load(self, model: StoredModel) -> LoadedModel:
        """Put a network on the device, verify its golden output there, warm it up and time it.

        Raises GoldenMismatch where the device does not reproduce the golden output, in its precision or in fp32, and
        DeviceLost.
        """
        exact = self._verify(model, torch.float32)
        fp32 = self._time(exact, exact, np.uint16)
        if self._precision == torch.float32:
            return LoadedModel(fp32, fp32)
        return LoadedModel(self._time(self._verify(model, self._precision), exact, np.uint8), fp32)

    def _verify(self, model: StoredModel, precision: torch.dtype) -> Network:
        """The network on the device, in a precision in which it reproduces its golden output."""
        runner = self._runner
        with (
            runner.translated_errors(),
            torch.inference_mode(),
            runner.backend.lane(exclusive=False),
            runner.backend.launch_lock(),
        ):
            network = for_inference(model.network, precision).to(runner.device)
            model.check(network(model.golden.batch().to(runner.device)), precision)
        return network

    def _time(self, network: Network, fp32: Network, sample: SampleType) -> LoadedNetwork:
        """Networks of one architecture take the same time: only the first of them is timed."""
        tiling, key = Tiling(network, self._tile_sizes), (network.spec.model_dump_json(), sample)
        if key not in self._calibrations:
            self._calibrations[key] = self._calibrate(network, fp32, tiling, sample)
        measured = self._calibrations[key]
        return LoadedNetwork(network, fp32, tiling.with_batches(measured.fixed_batches), measured.cost_model.copy())

    def _calibrate(self, network: Network, fp32: Network, tiling: Tiling, sample: SampleType) -> Calibration:
        def run(tried: Tiling, tiles: Sequence[ImageTile], exclusive: bool) -> None:
            self._runner.run(LoadedNetwork(network, fp32, tried, CostModel(0.0, 0.0)), tiles, exclusive)

        measured = calibrate(run, tiling, sample)
        for shape, batch in measured.fixed_batches.items():
            self._runner.backend.keep_batch(network, (batch, *shape, 3), np.dtype(sample))
        return measured
