"""Which of the models that there are a request gets: by their names, or by the scale."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from service.errors import UnknownModel
from service.models.served_model import ServedModel
from service.models.upscaler_chain import chain_scale, chain_scales, enlargers, factorize, preferred, restorer


class ModelSelection(ABC):
    """Models, and the rules by which requests get them."""

    @abstractmethod
    def all(self) -> list[ServedModel]:
        """Every model, by name."""

    @abstractmethod
    def explain_absence(self, name: str | None = None) -> None:
        """Raise ModelUnavailable where a model, of that name or of any, is missing for a while only."""

    def find(self, name: str) -> ServedModel:
        """The model of that name. Raises UnknownModel, or ModelUnavailable where none of its versions was loaded."""
        return self._find(name, self.all(), "model")

    def style(self, name: str) -> ServedModel:
        """The style of that name. Raises UnknownModel or ModelUnavailable."""
        return self._find(name, [model for model in self.all() if model.manifest.task == "style"], "style")

    def upscalers(self, scale: float, names: str | None = None) -> tuple[ServedModel, ...]:
        """A chain of super-resolution networks for a scale: the fewest, of the most even scales, the largest first.

        Where no chain has the scale, it is that of the next larger scale. `names`, separated by commas, are the first
        ones of the chain; networks of scale 1 are in it only by their names. Of several networks of one scale it takes
        the one named `x4` (for 4), else the newest that is not for damaged photographs.
        Raises UnknownModel or ModelUnavailable.
        """
        every = [model for model in self.all() if model.upscales]
        listed = [name.strip() for name in names.split(",")] if names is not None else []
        if scale == 1 and not listed:
            raise self._no_name(every)
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
        self.explain_absence(name)
        names = [model.name for model in models]
        raise UnknownModel(f"no {what} is named {name!r}; there are: {', '.join(names) or 'none'}", available=names)

    def _no_name(self, upscalers: Sequence[ServedModel]) -> UnknownModel:
        self.explain_absence()
        names = [model.name for model in upscalers if model.scale == 1]
        detail = f"×1 takes a network that restores, by the option model; there are: {', '.join(names) or 'none'}"
        return UnknownModel(detail, available=names)

    def _no_scale(self, scale: float, upscalers: Sequence[ServedModel]) -> UnknownModel:
        self.explain_absence()
        available = chain_scales({model.scale for model in upscalers})
        most = f"the largest scale is {available[-1]}" if available else "there is none that enlarges"
        detail = f"no model enlarges ×{scale}, nor do several in turn; {most}"
        return UnknownModel(detail, available=available)
