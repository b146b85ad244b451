"""Which version of each network is served. Follows the stores; swaps whole versions, never parts of them."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from math import prod
from pathlib import Path
from time import monotonic

from model_store import Manifest, ModelStore, StoreError
from model_store.allocator import give_back
from service.cost import Cost
from service.errors import DeviceLost, ModelUnavailable, UnknownModel
from service.metrics import Metrics
from service.runner import LoadedNetwork, Runner
from service.tiling import Tiling

LONGEST_RETRY = 300.0
"""Seconds between attempts to load a version that keeps failing."""

LARGEST_SCALE = 16
"""To which the sides of a picture can be multiplied."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of one network, ready to run. A request keeps its reference, whatever is served after it."""

    manifest: Manifest
    network: LoadedNetwork
    source: "Version"
    preview: Path | None

    @property
    def name(self) -> str:
        """The model's name, as in paths and metrics."""
        return self.manifest.name

    @property
    def scale(self) -> int:
        """Output side over input side."""
        return self.manifest.scale

    @property
    def label(self) -> str:
        """name@version."""
        return self.manifest.label

    @property
    def tiling(self) -> Tiling:
        """How its images are cut."""
        return self.network.tiling

    @property
    def cost(self) -> Cost:
        """How long its passes take."""
        return self.network.cost

    @property
    def enlarges(self) -> bool:
        """Whether it enlarges; else it paints."""
        return self.manifest.task == "super-resolution"

    @cached_property
    def exact(self) -> "ServedModel":
        """The same in fp32, for pictures of 16 bits, which share no batch with others."""
        return replace(self, network=self.network.exact)


@dataclass(frozen=True)
class Version:
    """A version as the stores name it: what is promoted at the moment, and where it lies."""

    root: Path
    name: str
    number: int | None
    """None where the store cannot say which one is promoted; loading it then fails with the reason."""

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.number or '?'}"


@dataclass(frozen=True)
class Failure:
    """Why a promoted version is not served, and when it is tried again."""

    version: Version
    reason: str
    at: datetime
    attempts: int
    retry_at: float


class ServedModels:
    """The models of several stores; in one of the same name, a later store hides the earlier ones."""

    def __init__(self, stores: Sequence[ModelStore], runner: Runner, metrics: Metrics, poll_seconds: float) -> None:
        self._stores = stores
        self._runner = runner
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._served: dict[str, ServedModel] = {}
        self._failures: dict[str, Failure] = {}
        self._trouble: str | None = "the models are being loaded"

    @property
    def trouble(self) -> str | None:
        """Why it is not known yet what the stores promote; None once they were read."""
        return self._trouble

    def all(self) -> list[ServedModel]:
        """Everything served, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def failures(self) -> list[Failure]:
        """The promoted versions that could not be loaded, by name."""
        return [self._failures[name] for name in sorted(self._failures)]

    def failure(self, name: str) -> Failure | None:
        """Why the promoted version of a model is not served; None where it is."""
        return self._failures.get(name)

    def find(self, name: str) -> ServedModel:
        """The model of that name; raises UnknownModel, or ModelUnavailable where none of its versions was loaded."""
        return self._find(name, self.all(), "model")

    def style(self, name: str) -> ServedModel:
        """The style network of that name; raises UnknownModel or ModelUnavailable."""
        return self._find(name, [model for model in self.all() if model.manifest.task == "style"], "style")

    def upscalers(self, scale: int, names: str | None = None) -> tuple[ServedModel, ...]:
        """Super-resolution networks that enlarge by `scale` together: the fewest, of even scales, the largest first.

        `names`, separated by commas, come before them. Of several for one scale it is `x4` (for 4), else the newest.
        Raises UnknownModel, or ModelUnavailable.
        """
        every = [model for model in self.all() if model.enlarges]
        chosen: list[ServedModel] = []
        for name in names.split(",") if names is not None else []:
            rest = scale // prod(model.scale for model in chosen)
            suitable = [model for model in every if rest % model.scale == 0]
            chosen.append(self._find(name.strip(), suitable, f"model that enlarges ×{rest}, or by a divisor of that,"))
        rest = scale // prod(model.scale for model in chosen)
        factors = factorised(rest, {model.scale for model in every})
        if factors is None:
            raise self._no_scale(rest, every)
        return tuple(chosen) + tuple(_preferred(every, factor) for factor in factors)

    async def follow(self) -> None:
        """Serve what the stores promote, until cancelled. No failure ends this, but DeviceLost."""
        while True:
            try:
                await self.refresh()
            except DeviceLost:
                raise
            except Exception as error:
                if self._trouble is not None:
                    self._trouble = f"the model stores cannot be read: {type(error).__name__}; the log has the details"
                logger.exception("the model stores cannot be read; what was served goes on")
            await asyncio.sleep(self._poll_seconds)

    async def refresh(self) -> None:
        """Look through the stores once: load what is new, forget what is gone."""
        promoted = await asyncio.to_thread(self._promoted)
        for name in self._served.keys() - promoted.keys():
            self._swap(name, None)
        self._failures = {name: failure for name, failure in self._failures.items() if name in promoted}
        due = [version for version in promoted.values() if self._is_due(version)]
        for version in due:
            await self._load(version)
        if due:  # warming up took more memory than waiting does
            await asyncio.to_thread(give_back)
        self._trouble = None

    def _find(self, name: str, models: Sequence[ServedModel], what: str) -> ServedModel:
        found = next((model for model in models if model.name == name), None)
        if found is not None:
            return found
        if name in self._failures and name not in self._served:
            raise ModelUnavailable(f"{name} could not be loaded: {self._failures[name].reason}")
        self._refuse_while_unknown()
        names = [model.name for model in models]
        raise UnknownModel(f"no {what} is named {name!r}; there are: {', '.join(names) or 'none'}", available=names)

    def _no_scale(self, scale: int, upscalers: Sequence[ServedModel]) -> UnknownModel:
        self._refuse_while_unknown()
        scales = {model.scale for model in upscalers}
        available = [product for product in range(2, LARGEST_SCALE + 1) if factorised(product, scales) is not None]
        detail = f"no model enlarges ×{scale}, nor do several in turn; scales there are: {available}"
        return UnknownModel(detail, available=available)

    def _refuse_while_unknown(self) -> None:
        if self._trouble is not None:
            detail = f"{self._trouble}; /readyz says when that is over"
            raise ModelUnavailable(detail, headers={"Retry-After": "1"})

    def _promoted(self) -> dict[str, Version]:
        promoted = {}
        for store in self._stores:
            for name in store.names():
                promoted[name] = Version(store.root, name, _current(store, name))
        return promoted

    def _is_due(self, version: Version) -> bool:
        served, failure = self._served.get(version.name), self._failures.get(version.name)
        if failure is not None and failure.version == version:
            return monotonic() >= failure.retry_at
        if served is not None and served.source == version:
            self._failures.pop(version.name, None)  # promoted again instead of the one that failed
            return False
        return True

    async def _load(self, version: Version) -> None:
        began = monotonic()
        try:
            model = await self._loaded(version)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 # whatever is wrong with a file, the old version goes on
            self._failed(version, error)
            return
        self._failures.pop(version.name, None)
        self._swap(version.name, model)
        self._metrics.model_loads.labels(version.name, "ok").inc()
        self._metrics.model_load_duration.labels(version.name).observe(monotonic() - began)
        logger.info("serving %s (%s)", model.label, model.manifest.digest)

    async def _loaded(self, version: Version) -> ServedModel:
        """Read and verify off the event loop; prove and warm up beside the batches."""
        store = ModelStore(version.root)
        stored = await asyncio.to_thread(store.load, version.name, version.number)
        network = await asyncio.wrap_future(self._runner.loading(stored))
        preview = await asyncio.to_thread(store.preview, version.name, version.number)
        return ServedModel(stored.manifest, network, version, preview)

    def _failed(self, version: Version, error: Exception) -> None:
        earlier = self._failures.get(version.name)
        attempts = earlier.attempts + 1 if earlier and earlier.version == version else 1
        reason = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}; the log has the details"
        wait = min(self._poll_seconds * 2**attempts, LONGEST_RETRY)
        self._failures[version.name] = Failure(version, reason, datetime.now(UTC), attempts, monotonic() + wait)
        self._metrics.model_loads.labels(version.name, "failed").inc()
        logger.error("cannot serve %s from %s", version.label, version.root, exc_info=error)

    def _swap(self, name: str, model: ServedModel | None) -> None:
        old = self._served.pop(name, None)
        if old is not None:
            self._metrics.model.remove(*_model_labels(old))
        if model is not None:
            self._served[name] = model
            self._metrics.model.labels(*_model_labels(model)).set(1)


def _current(store: ModelStore, name: str) -> int | None:
    try:
        return store.current(name)
    except (StoreError, OSError):
        return None


def _model_labels(model: ServedModel) -> tuple[str, ...]:
    manifest = model.manifest
    return model.name, str(manifest.version), manifest.digest, manifest.task, str(model.scale)


def factorised(scale: int, scales: Collection[int]) -> tuple[int, ...] | None:
    """The fewest of the scales whose product is `scale`, the most even of these, the largest first; None for none.

    Even ones, for a network of a large scale guesses more, and what it made is dearer to enlarge again.
    """
    if scale == 1:
        return ()
    chains = [
        tuple(sorted((factor, *rest), reverse=True))
        for factor in scales
        if factor > 1 and scale % factor == 0 and (rest := factorised(scale // factor, scales)) is not None
    ]
    return min(chains, key=lambda chain: (len(chain), chain), default=None)


def _preferred(upscalers: Sequence[ServedModel], scale: int) -> ServedModel:
    suitable = [model for model in upscalers if model.scale == scale]
    return max(suitable, key=lambda model: (model.name == f"x{scale}", model.manifest.created))
