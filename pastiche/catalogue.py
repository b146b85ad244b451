"""The models of some stores, each of which is loaded when it is first used."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from model_store import Manifest, ModelStore, StoreError
from service.engine.loaded_model import LoadedModel, LoadedNetwork
from service.engine.pool_loader import PoolLoader
from service.errors import ModelUnavailable, UnknownVersion
from service.models.selection import ModelSelection
from service.models.served_model import ServedModel
from service.models.watched_store import Version


class LoadedOnUse:
    """A model that is put on the device when one of its networks is first asked for. See `OnDevice`.

    Raises ModelUnavailable where that fails.
    """

    def __init__(self, label: str, load: Callable[[], LoadedModel]) -> None:
        self._label = label
        self._load = load
        self._lock = Lock()
        self._loaded: LoadedModel | None = None

    @property
    def default(self) -> LoadedNetwork:
        """See `LoadedModel`."""
        return self._model().default

    @property
    def fp32(self) -> LoadedNetwork:
        """See `LoadedModel`."""
        return self._model().fp32

    def _model(self) -> LoadedModel:
        with self._lock:
            if self._loaded is None:
                try:
                    self._loaded = self._load()
                except StoreError as error:
                    raise ModelUnavailable(f"{self._label} could not be loaded: {error}") from error
            return self._loaded


class Catalogue(ModelSelection):
    """The models that the stores promote when it is made; a later store hides models of the same name."""

    def __init__(self, stores: Sequence[ModelStore], loader: PoolLoader, pinned: Mapping[str, int]) -> None:
        """`pinned`: versions of models that are used instead of the promoted ones. Raises UnknownVersion."""
        self._loader = loader
        self._models: dict[str, ServedModel] = {}
        self._failures: dict[str, str] = {}
        for store in stores:
            for name in store.names():
                self._read(store, name, None)
        for name, number in pinned.items():
            self._read(_store_of(stores, name, number), name, number)

    def all(self) -> list[ServedModel]:
        """Every model, by name."""
        return [self._models[name] for name in sorted(self._models)]

    def explain_absence(self, name: str | None = None) -> None:
        """Raise ModelUnavailable where the model of that name cannot be read."""
        if name in self._failures:
            raise ModelUnavailable(f"{name} could not be loaded: {self._failures[name]}")

    def _read(self, store: ModelStore, name: str, number: int | None) -> None:
        """One broken model is no reason not to use the others."""
        self._models.pop(name, None)
        self._failures.pop(name, None)
        try:
            manifest = store.manifest(name, number)
            self._models[name] = self._model(store, manifest)
        except StoreError as error:
            self._failures[name] = str(error)

    def _model(self, store: ModelStore, manifest: Manifest) -> ServedModel:
        name, number = manifest.name, manifest.version
        loaded = LoadedOnUse(manifest.label, lambda: self._loader.submit(store.load(name, number)).result())
        has_preview = store.has_preview(name, number)
        return ServedModel(manifest, loaded, Version(store.root, name, number), has_preview)


def _store_of(stores: Sequence[ModelStore], name: str, number: int) -> ModelStore:
    """The last store that has that version."""
    there = sorted({version for store in stores for version in store.versions(name)})
    for store in reversed(stores):
        if number in store.versions(name):
            return store
    raise UnknownVersion(f"{name} has no version {number}; there are: {', '.join(map(str, there)) or 'none'}")
