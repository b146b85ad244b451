"""What a client asks for, as data: everything that a request says except its files.

Such a request can be stored, compared and hashed. `resolve` looks up its models whenever it is carried out: at once, or
for a job later, perhaps after a restart. A new option is one field of the parameters.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.engine.priority import Priority
from service.imaging.codecs import WRITTEN_FORMATS, ImageFormat
from service.imaging.masks import MaskMeaning
from service.pipeline.output_options import OutputOptions
from service.pipeline.stylize import StylizeOptions
from service.pipeline.upscale import Scale, UpscaleOptions


@dataclass(frozen=True)
class InputFiles:
    """The files of a request, undecoded."""

    image: bytes
    mask: bytes | None = None


class CommonParameters(OutputOptions):
    """The query parameters of every request for an image."""

    priority: Priority = Field(
        Priority.INTERACTIVE, description="bulk: nobody waits for it; interactive work goes first. Jobs are bulk"
    )


class StylizeParameters(StylizeOptions, CommonParameters):
    """The query of `POST /v1/stylize/{style}`."""

    @property
    def stylize_options(self) -> StylizeOptions:
        """The parameters that decide on the pixels."""
        return StylizeOptions.model_validate(self.model_dump(include=set(StylizeOptions.model_fields)))


class UpscaleParameters(UpscaleOptions, CommonParameters):
    """The query of `POST /v1/upscale/{scale}`."""

    @property
    def upscale_options(self) -> UpscaleOptions:
        """The parameters that decide on the pixels."""
        return UpscaleOptions.model_validate(self.model_dump(include=set(UpscaleOptions.model_fields)))


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    accepts_mask: ClassVar[bool] = False
    """Whether a mask may come with the image."""
    mask_meaning: MaskMeaning = MaskMeaning.WHITE
    """What of the mask is painted."""
    formats: tuple[ImageFormat, ...] = WRITTEN_FORMATS
    """Formats that the client likes equally; one of them is chosen when the image is known."""
    timeout: float | None = None
    """Seconds within which the answer is wanted; None where the client does not say."""
    parameters: CommonParameters = CommonParameters()

    def as_bulk(self) -> Self:
        """The same with bulk priority, unless the client has named a priority."""
        if "priority" in self.parameters.model_fields_set:
            return self
        return self.model_copy(update={"parameters": self.parameters.model_copy(update={"priority": Priority.BULK})})


class StylizeRequest(_Request):
    """Stylize an image."""

    accepts_mask: ClassVar[bool] = True
    task: Literal["stylize"] = "stylize"
    style: str
    """A style, or several with weights: great-wave:0.7,the-scream:0.3."""
    parameters: StylizeParameters = StylizeParameters()


class UpscaleRequest(_Request):
    """Enlarge an image."""

    task: Literal["upscale"] = "upscale"
    scale: Scale
    parameters: UpscaleParameters = UpscaleParameters()


ImageRequest = StylizeRequest | UpscaleRequest

StoredImageRequest = Annotated[ImageRequest, Field(discriminator="task")]
"""The type of a field that is read from JSON."""
