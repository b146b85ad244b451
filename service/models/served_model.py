"""A served model: one version of one model on the device."""

from dataclasses import dataclass, replace
from functools import cached_property

from model_store import Manifest, ModelStore, StoreError, model_card
from service.engine.cost_model import CostModel
from service.engine.loaded_model import LoadedNetwork, OnDevice
from service.engine.tiling import Tiling
from service.models.watched_store import Version


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of one model, ready to run. A request keeps its reference, whatever is swapped in after it."""

    manifest: Manifest
    loaded: OnDevice
    source: Version
    has_preview: bool
    """Whether it was published with a picture of what it does."""
    lease: object = None
    """Keeps its files where they are read, as long as it is served or a request has it."""
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
        """Whether it enlarges, or restores at the same size, as a chain of scale 1; else it is a style."""
        return self.manifest.task != "style"

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
