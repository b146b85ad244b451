"""The model registry: which version of each model is loaded. It follows the stores and swaps whole versions."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from math import prod
from time import monotonic

from model_store import Manifest, ModelStore, StoreError, describe_foreign, model_card
from model_store.allocator import trim_heap
from service.engine.cost_model import CostModel
from service.engine.loaded_model import LoadedModel, LoadedNetwork
from service.engine.model_loader import ModelLoader
from service.engine.tiling import Tiling
from service.errors import DeviceLost, ModelUnavailable, UnknownModel
from service.models.ignored_entries import IgnoredEntries
from service.models.watched_store import Version, WatchedStore
from service.telemetry.metrics import Metrics

LONGEST_RETRY = 300.0
"""The most seconds between attempts to load a version that keeps failing."""

LARGEST_SCALE = 16
"""The most by which the sides of an image can be multiplied."""

ENLARGER_SCALES = (2, 4)
"""Of the networks that enlarge paintings. A larger one would make results of many times the answer's pixels."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of one model, ready to run. A request keeps its reference, whatever is swapped in after it."""

    manifest: Manifest
    loaded: LoadedModel
    source: Version
    has_preview: bool
    """Whether it was published with a picture of what it does."""
    in_fp32: bool = False
    """Whether it runs in fp32, whatever the precision of the settings."""

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
    def upscales(self) -> bool:
        """Whether it is a super-resolution network; else it is a style."""
        return self.manifest.task == "super-resolution"

    @property
    def restores(self) -> bool:
        """Whether it was trained to enlarge damaged photographs: compressed, blurred and noisy ones."""
        return self.upscales and self.manifest.provenance.recipe.get("degradation") == "photo"

    @property
    def imported(self) -> bool:
        """Whether it comes from another project, whose users expect its own output."""
        return self.manifest.origin is not None

    @property
    def network(self) -> LoadedNetwork:
        """The network on the device."""
        return self.loaded.fp32 if self.in_fp32 else self.loaded.default

    @property
    def tiling(self) -> Tiling:
        """How its images are cut into tiles."""
        return self.network.tiling

    @property
    def cost_model(self) -> CostModel:
        """How long its batches take."""
        return self.network.cost_model

    def read_preview(self) -> bytes | None:
        """The PNG file that shows what the model does; None where there is none any more. Raises CorruptModel."""
        path = ModelStore(self.source.root).preview(self.name, self.manifest.version)
        return path.read_bytes() if path else None

    def read_card(self) -> str:
        """The model card, as Markdown; one of the manifest's entries alone where its files are gone."""
        try:
            return ModelStore(self.source.root).card(self.name, self.manifest.version)
        except StoreError:
            return model_card(self.manifest, preview=self.has_preview)

    @cached_property
    def fp32(self) -> "ServedModel":
        """The same in fp32, for images of 16 bits a channel; another object, so that it shares no batch with this."""
        return replace(self, in_fp32=True)


@dataclass(frozen=True)
class LoadFailure:
    """Why a promoted version is not served, and when it is tried again."""

    version: Version
    reason: str
    at: datetime
    attempts: int
    retry_at: float
    """A time of `time.monotonic`."""


class ModelRegistry:
    """The models of several stores. A model of a later store hides one of the same name in an earlier one."""

    def __init__(
        self, stores: Sequence[ModelStore], loader: ModelLoader, metrics: Metrics, poll_seconds: float
    ) -> None:
        self._stores = [WatchedStore(store) for store in stores]
        self._ignored = {store.root: IgnoredEntries(store) for store in stores}
        self._loader = loader
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._served: dict[str, ServedModel] = {}
        self._failures: dict[str, LoadFailure] = {}
        self._trouble: str | None = "the models are being loaded"
        self._refreshing = asyncio.Lock()

    @property
    def trouble(self) -> str | None:
        """Why it is not known yet which models the stores have; None once they were read."""
        return self._trouble

    def warnings(self) -> list[str]:
        """What an operator should mend, though everything that was loaded is still served."""
        missing = [
            f"the store {store.root} is missing; its models stay loaded" for store in self._stores if store.missing
        ]
        ignored = {root: entries.names for root, entries in self._ignored.items() if entries.names}
        return missing + [f"in the store {root} {describe_foreign(names)}" for root, names in ignored.items()]

    def all(self) -> list[ServedModel]:
        """Every served model, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def failures(self) -> list[LoadFailure]:
        """The promoted versions that could not be loaded, by name."""
        return [self._failures[name] for name in sorted(self._failures)]

    def failure(self, name: str) -> LoadFailure | None:
        """Why the promoted version of a model is not served; None where it is."""
        return self._failures.get(name)

    def find(self, name: str) -> ServedModel:
        """The model of that name. Raises UnknownModel, or ModelUnavailable where none of its versions was loaded."""
        return self._find(name, self.all(), "model")

    def style(self, name: str) -> ServedModel:
        """The style of that name. Raises UnknownModel or ModelUnavailable."""
        return self._find(name, [model for model in self.all() if model.manifest.task == "style"], "style")

    def upscalers(self, scale: float, names: str | None = None) -> tuple[ServedModel, ...]:
        """A chain of super-resolution networks for a scale: the fewest, of the most even scales, the largest first.

        Where no chain has the scale, it is that of the next larger scale. `names`, separated by commas, are the first
        ones of the chain. Of several networks of one scale it takes the one named `x4` (for 4), else the newest that is
        not for damaged photographs.
        Raises UnknownModel or ModelUnavailable.
        """
        every = [model for model in self.all() if model.upscales]
        listed = [name.strip() for name in names.split(",")] if names is not None else []
        rest = self._chain_scale(scale, every, listed)
        chosen: list[ServedModel] = []
        for name in listed:
            suitable = [model for model in every if rest % model.scale == 0]
            chosen.append(self._find(name, suitable, f"model that enlarges ×{rest}, or by a divisor of that,"))
            rest //= chosen[-1].scale
        factors = factorize(rest, {model.scale for model in every})
        if factors is None:
            raise self._no_scale(rest, every)
        return tuple(chosen) + tuple(_preferred(every, factor) for factor in factors)

    def restorer(self, scale: int) -> ServedModel | None:
        """The network for damaged photographs of a scale: the one named `x4-photo` (for 4), else the newest."""
        suitable = [model for model in self.all() if model.restores and model.scale == scale]
        named = f"x{scale}-photo"
        return max(suitable, key=lambda model: (model.name == named, model.manifest.created), default=None)

    def enlargers(self) -> tuple[ServedModel, ...]:
        """The networks that enlarge paintings: for each of ENLARGER_SCALES the preferred one that can be tiled.

        None for a scale for which there is none.
        """
        every = [model for model in self.all() if model.upscales and model.manifest.tileable]
        served = {model.scale for model in every}
        return tuple(_preferred(every, scale) for scale in ENLARGER_SCALES if scale in served)

    def _chain_scale(self, scale: float, upscalers: Sequence[ServedModel], names: Collection[str]) -> int:
        """The least scale of a chain that is not below `scale`; where none is equal, of a chain with these networks."""
        scales = [chain for chain in chain_scales({model.scale for model in upscalers}) if chain >= scale]
        if not scales:
            raise self._no_scale(scale, upscalers)
        if scales[0] == scale:
            return scales[0]
        named = prod(model.scale for model in upscalers if model.name in names)
        return next((chain for chain in scales if chain % named == 0), scales[0])

    async def follow(self) -> None:
        """Serve what the stores promote, until cancelled. Ends by itself only with DeviceLost."""
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

    async def refresh(self, *, retry: bool = False) -> None:
        """Read the stores once: load what is newly promoted, drop what is gone.

        `retry`: try again at once what could not be loaded.
        """
        async with self._refreshing:
            if retry:
                self._failures = {name: replace(each, retry_at=0.0) for name, each in self._failures.items()}
            await self._refresh()

    async def _refresh(self) -> None:
        promoted = await asyncio.to_thread(self._read_stores)
        for name in self._served.keys() - promoted.keys():
            self._swap(name, None)
        self._failures = {name: failure for name, failure in self._failures.items() if name in promoted}
        due = [version for version in promoted.values() if self._is_due(version)]
        if due:
            await self._load_all(due)
            await asyncio.to_thread(trim_heap)  # warming up takes more memory than serving
        self._trouble = None

    async def _load_all(self, versions: Sequence[Version]) -> None:
        began = monotonic()
        for position, version in enumerate(versions, 1):
            logger.info("loading %s, %d of %d", version.label, position, len(versions))
            await self._load(version)
        loaded = sum(version.name not in self._failures for version in versions)
        logger.info("%d of %d models were loaded in %.1f s", loaded, len(versions), monotonic() - began)

    def _find(self, name: str, models: Sequence[ServedModel], what: str) -> ServedModel:
        found = next((model for model in models if model.name == name), None)
        if found is not None:
            return found
        if name in self._failures and name not in self._served:
            raise ModelUnavailable(f"{name} could not be loaded: {self._failures[name].reason}")
        self._require_known()
        names = [model.name for model in models]
        raise UnknownModel(f"no {what} is named {name!r}; there are: {', '.join(names) or 'none'}", available=names)

    def _no_scale(self, scale: float, upscalers: Sequence[ServedModel]) -> UnknownModel:
        self._require_known()
        available = chain_scales({model.scale for model in upscalers})
        most = f"the largest scale is {available[-1]}" if available else "there is none that enlarges"
        detail = f"no model enlarges ×{scale}, nor do several in turn; {most}"
        return UnknownModel(detail, available=available)

    def _require_known(self) -> None:
        if self._trouble is not None:
            detail = f"{self._trouble}; /readyz says when that is over"
            raise ModelUnavailable(detail, retry_after=1)

    def _read_stores(self) -> dict[str, Version]:
        promoted: dict[str, Version] = {}
        for store in self._stores:
            promoted |= store.promoted()
            self._metrics.store_available.labels(str(store.root)).set(not store.missing)
        for root, entries in self._ignored.items():
            entries.read()
            self._metrics.store_ignored_entries.labels(str(root)).set(len(entries.names))
        return promoted

    def _is_due(self, version: Version) -> bool:
        served, failure = self._served.get(version.name), self._failures.get(version.name)
        if failure is not None and failure.version == version:
            return monotonic() >= failure.retry_at
        if served is not None and served.source == version:
            self._failures.pop(version.name, None)  # rolled back to, after a newer one failed
            return False
        return True

    async def _load(self, version: Version) -> None:
        began = monotonic()
        try:
            model = await self._load_version(version)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 # of whatever kind, the old version goes on
            self._record_failure(version, error)
            return
        self._failures.pop(version.name, None)
        self._swap(version.name, model)
        self._metrics.model_loads.labels(version.name, "ok").inc()
        seconds = monotonic() - began
        self._metrics.model_load_duration.labels(version.name).observe(seconds)
        logger.info("serving %s (%s) after %.1f s", model.label, model.manifest.digest, seconds)

    async def _load_version(self, version: Version) -> ServedModel:
        """Read the files in a thread; verify and warm up beside the batches."""
        store = ModelStore(version.root)
        stored = await asyncio.to_thread(store.load, version.name, version.number)
        loaded = await asyncio.wrap_future(self._loader.submit(stored))
        preview = await asyncio.to_thread(store.preview, version.name, version.number)
        return ServedModel(stored.manifest, loaded, version, has_preview=preview is not None)

    def _record_failure(self, version: Version, error: Exception) -> None:
        earlier = self._failures.get(version.name)
        attempts = earlier.attempts + 1 if earlier and earlier.version == version else 1
        reason = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}; the log has the details"
        wait = min(self._poll_seconds * 2**attempts, LONGEST_RETRY)
        self._failures[version.name] = LoadFailure(version, reason, datetime.now(UTC), attempts, monotonic() + wait)
        self._metrics.model_loads.labels(version.name, "failed").inc()
        logger.error("cannot serve %s from %s", version.label, version.root, exc_info=error)

    def _swap(self, name: str, model: ServedModel | None) -> None:
        old = self._served.pop(name, None)
        if old is not None:
            self._metrics.model.remove(*_model_labels(old))
        if model is not None:
            self._served[name] = model
            self._metrics.model.labels(*_model_labels(model)).set(1)


def _model_labels(model: ServedModel) -> tuple[str, ...]:
    manifest = model.manifest
    return model.name, str(manifest.version), manifest.digest, manifest.task, str(model.scale)


def chain_scales(scales: Collection[int]) -> list[int]:
    """The scales of all chains of networks of these scales, in order, up to LARGEST_SCALE."""
    return [product for product in range(2, LARGEST_SCALE + 1) if factorize(product, scales) is not None]


def factorize(scale: int, scales: Collection[int]) -> tuple[int, ...] | None:
    """The fewest scales whose product is `scale`, the most even ones, the largest first; None where there are none.

    Even ones, since a network of a larger scale guesses more, and enlarging its result again costs more.
    """
    if scale == 1:
        return ()
    chains = [
        tuple(sorted((factor, *rest), reverse=True))
        for factor in scales
        if factor > 1 and scale % factor == 0 and (rest := factorize(scale // factor, scales)) is not None
    ]
    return min(chains, key=lambda chain: (len(chain), chain), default=None)


def _preferred(upscalers: Sequence[ServedModel], scale: int) -> ServedModel:
    suitable = [model for model in upscalers if model.scale == scale]
    return max(suitable, key=lambda model: (model.name == f"x{scale}", not model.restores, model.manifest.created))
