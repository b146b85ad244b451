"""The model registry: which version of each model is served, and which are not, with the reason."""

import asyncio

from service.errors import ModelUnavailable
from service.models.load_failures import LoadFailures
from service.models.selection import ModelSelection
from service.models.served_model import ServedModel
from service.telemetry.metrics import Metrics


class ModelRegistry(ModelSelection):
    """The served models. `StoreWatcher` keeps them at what the stores promote."""

    def __init__(self, failures: LoadFailures, metrics: Metrics) -> None:
        self.failures = failures
        """The promoted versions that could not be loaded."""
        self.trouble: str | None = "the models are being loaded"
        """Why not all stores have been read yet; None once they were."""
        self.known = asyncio.Event()
        """Set when each store was read or did not answer, and what they promote was loaded, for the first time; without
        waiting for a store that hangs, where others have models."""
        self._metrics = metrics
        self._served: dict[str, ServedModel] = {}

    @property
    def problem(self) -> str | None:
        """Why no requests should be sent here; a store that does not answer is none, where others have models."""
        return None if self.known.is_set() and self._served else self.trouble

    def note_known(self, trouble: str | None = None) -> None:
        """What the stores promote was loaded, of all stores that have answered. `trouble`: why others have not."""
        self.trouble = trouble
        self.known.set()

    def note_silence(self, trouble: str) -> None:
        """A store has neither answered nor refused yet, which is waited for only where no other has models."""
        self.trouble = trouble
        if self._served:
            self.known.set()

    def serve(self, model: ServedModel) -> None:
        """Serve a version from now on, in place of the one before."""
        self.withdraw(model.name)
        self.failures.forget(model.name)
        self._served[model.name] = model
        self._metrics.model.labels(*_model_labels(model)).set(1)

    def withdraw(self, name: str) -> None:
        """Serve a model no longer, if it was served."""
        old = self._served.pop(name, None)
        if old is not None:
            self._metrics.model.remove(*_model_labels(old))

    def all(self) -> list[ServedModel]:
        """Every served model, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def served(self, name: str) -> ServedModel | None:
        """The served version of a model; None where there is none."""
        return self._served.get(name)

    def explain_absence(self, name: str | None = None) -> None:
        """Raise ModelUnavailable where that model could not be loaded, or none was looked for yet."""
        failure = None if name is None else self.failures.find(name)
        if failure is not None and name not in self._served:
            raise ModelUnavailable(f"{name} could not be loaded: {failure.reason}")
        if self.trouble is not None:
            detail = f"{self.trouble}; /readyz says when that is over"
            raise ModelUnavailable(detail, retry_after=1)


def _model_labels(model: ServedModel) -> tuple[str, ...]:
    manifest = model.manifest
    return model.name, str(manifest.version), manifest.digest, manifest.task, str(model.scale)
