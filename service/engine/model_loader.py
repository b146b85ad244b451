"""Loads models onto the device: verifies their golden outputs there, warms them up, and times them."""

from concurrent.futures import Future
from functools import partial

import numpy as np
import torch

from model_store import Network, StoredModel, for_inference
from service.engine.calibration import SampleType, calibrate
from service.engine.cost_model import CostModel
from service.engine.loaded_model import LoadedModel, LoadedNetwork
from service.engine.runner import Runner
from service.engine.tiling import TileSizes, Tiling


class ModelLoader:
    """Loads models for a runner, in the precision in which it is to run them. Belongs to one thread at a time."""

    def __init__(self, runner: Runner, precision: torch.dtype, tile_sizes: TileSizes, *, timed: bool = True) -> None:
        """`timed`: whether networks are warmed up and timed, without which their cost models say 0."""
        self._runner = runner
        self._timed = timed
        self._precision = precision
        self._tile_sizes = tile_sizes
        self._cost_models: dict[tuple[str, SampleType], CostModel] = {}

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
        untimed = LoadedNetwork(network, fp32, tiling, CostModel(0.0, 0.0))
        if not self._timed:
            return untimed
        if key not in self._cost_models:
            self._cost_models[key] = calibrate(partial(self._runner.run, untimed), tiling, sample)
        return LoadedNetwork(network, fp32, tiling, self._cost_models[key].copy())
