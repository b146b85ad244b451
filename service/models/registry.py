"""The model registry: which version of each model is served, and which are not, with the reason."""

import asyncio
from collections.abc import Sequence

from service.errors import ModelUnavailable, UnknownModel
from service.models.load_failures import LoadFailures
from service.models.served_model import ServedModel
from service.models.upscaler_chain import chain_scale, chain_scales, enlargers, factorize, preferred, restorer
from service.telemetry.metrics import Metrics


class ModelRegistry:
    """The served models. `StoreWatcher` keeps them at what the stores promote."""

    def __init__(self, failures: LoadFailures, metrics: Metrics) -> None:
        self.failures = failures
        """The promoted versions that could not be loaded."""
        self.trouble: str | None = "the models are being loaded"
        """Why the stores have not been read yet; None once they were."""
        self.known = asyncio.Event()
        """Set when the stores were read, and what they promote was loaded, for the first time."""
        self._metrics = metrics
        self._served: dict[str, ServedModel] = {}

    def note_known(self) -> None:
        """The stores were read, and what they promote was loaded."""
        self.trouble = None
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
        rest = chain_scale(scale, every, listed)
        if rest is None:
            raise self._no_scale(scale, every)
        chosen: list[ServedModel] = []
        for name in listed:
            suitable = [model for model in every if rest % model.scale == 0]
            chosen.append(self._find(name, suitable, f"model that enlarges ×{rest}, or by a divisor of that,"))
            rest //= chosen[-1].scale
        factors = factorize(rest, {model.scale for model in every})
        if factors is None:
            raise self._no_scale(rest, every)
        return tuple(chosen) + tuple(preferred(every, factor) for factor in factors)

    def restorer(self, scale: int) -> ServedModel | None:
        """The network for damaged photographs of a scale: the one named `x4-photo` (for 4), else the newest."""
        return restorer(self.all(), scale)

    def enlargers(self) -> tuple[ServedModel, ...]:
        """The networks that enlarge paintings, by scale: those of ENLARGER_SCALES that can be tiled."""
        return enlargers(self.all())

    def _find(self, name: str, models: Sequence[ServedModel], what: str) -> ServedModel:
        found = next((model for model in models if model.name == name), None)
        if found is not None:
            return found
        failure = self.failures.find(name)
        if failure is not None and name not in self._served:
            raise ModelUnavailable(f"{name} could not be loaded: {failure.reason}")
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
        if self.trouble is not None:
            detail = f"{self.trouble}; /readyz says when that is over"
            raise ModelUnavailable(detail, retry_after=1)


def _model_labels(model: ServedModel) -> tuple[str, ...]:
    manifest = model.manifest
    return model.name, str(manifest.version), manifest.digest, manifest.task, str(model.scale)
