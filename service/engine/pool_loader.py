"""Loads models onto all devices of a pool: each verifies the golden outputs, the first measures for all."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from model_store import StoredModel
from service.engine.loaded_model import LoadedModel
from service.engine.model_loader import ModelLoader
from service.engine.runner import Runner
from service.engine.runner_pool import RunnerPool


class PoolLoader:
    """Loads models for a pool of runners. Belongs to one thread at a time."""

    def __init__(self, pool: RunnerPool, loaders: Sequence[ModelLoader]) -> None:
        """`loaders`: one for each runner; they share their measurements."""
        self.pool = pool
        """Whose devices the models are loaded onto."""
        self._loaders = {loader.runner: loader for loader in loaders}

    def submit(self, model: StoredModel) -> Future[LoadedModel]:
        """`load` beside the batches, and after whatever is loaded already."""
        return self.pool.submit_beside(partial(self.load, model))

    def load(self, model: StoredModel) -> LoadedModel:
        """See `ModelLoader.load`: a model, with a copy on each further device.

        Raises what that raises, whichever device it is; DeviceLost where none is left.
        """

        def load_on(runner: Runner) -> LoadedModel:
            return self._loaders[runner].load(model)

        first, loaded = self.pool.on_first(load_on)
        copies = self.pool.on_each(load_on, but=first)
        return loaded.with_copies({runner.device: copy for runner, copy in copies.items()}) if copies else loaded
