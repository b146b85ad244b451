"""What a client asks for, as data: what a request says in its path, query and headers, apart from the image.

A brief can be stored, compared and hashed; the `Desk` makes an `Order` of it whenever that is needed: at once for a
request, later for a job, after a restart for one that was interrupted. A new option is a field of the parameters, and
reaches all of them.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from service.enlargement import EnlargementOptions
from service.form import MASK
from service.jobs import Priority
from service.painting import PaintingOptions
from service.representation import Representation


class Parameters(Representation):
    """The query of every request for an image."""

    priority: Priority = Field(
        Priority.INTERACTIVE, description="bulk: nobody waits for it; interactive work goes first. Jobs are bulk"
    )


class StylizeParameters(PaintingOptions, Parameters):
    """The query of `POST /v1/stylize/{style}`."""

    @property
    def painting(self) -> PaintingOptions:
        """What is to be done, apart from how it is answered."""
        return PaintingOptions.model_validate(self.model_dump(include=set(PaintingOptions.model_fields)))


class UpscaleParameters(EnlargementOptions, Parameters):
    """The query of `POST /v1/upscale/{scale}`."""

    @property
    def enlargement(self) -> EnlargementOptions:
        """What is to be done, apart from how it is answered."""
        return EnlargementOptions.model_validate(self.model_dump(include=set(EnlargementOptions.model_fields)))


class _Brief(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    accept: str | None = None
    """The Accept header."""
    within: float | None = None
    """Seconds within which the answer is wanted; None where the client does not say."""
    parameters: Parameters = Parameters()

    def unhurried(self) -> Self:
        """The same for a client who does not wait on the line: bulk work, unless the client says otherwise."""
        if "priority" in self.parameters.model_fields_set:
            return self
        return self.model_copy(update={"parameters": self.parameters.model_copy(update={"priority": Priority.BULK})})


class StylizeBrief(_Brief):
    """An image is to be painted."""

    parts: ClassVar[tuple[str, ...]] = (MASK,)
    """What a form may have beside the image."""
    task: Literal["stylize"] = "stylize"
    style: str
    parameters: StylizeParameters = StylizeParameters()


class UpscaleBrief(_Brief):
    """An image is to be enlarged."""

    parts: ClassVar[tuple[str, ...]] = ()
    """What a form may have beside the image."""
    task: Literal["upscale"] = "upscale"
    scale: int
    parameters: UpscaleParameters = UpscaleParameters()


Brief = Annotated[StylizeBrief | UpscaleBrief, Field(discriminator="task")]

BRIEF: TypeAdapter[StylizeBrief | UpscaleBrief] = TypeAdapter(Brief)
"""Reads a brief that was stored as JSON."""
