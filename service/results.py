"""What is known of a finished image besides its bytes; the same whether it comes at once or is fetched from a job."""

from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from service.orders import Answer
from service.photographs import inspect
from service.served_models import ServedModel


class Painter(BaseModel):
    """The version of a network that worked on an image."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(examples=["great-wave"])
    version: int = Field(examples=[1])
    digest: str = Field(description="sha256 of its weights")

    @classmethod
    def of(cls, model: ServedModel) -> Self:
        """The public part of a served model."""
        return cls(name=model.name, version=model.manifest.version, digest=model.manifest.digest)


class Result(BaseModel):
    """An image that is ready, apart from its bytes."""

    model_config = ConfigDict(frozen=True)

    models: tuple[Painter, ...] = Field(description="the networks that made it")
    format: str = Field(examples=["jpeg"])
    media_type: str = Field(examples=["image/jpeg"])
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    bytes: int = Field(description="length of the file")
    etag: str = Field(description="entity tag of the file: equal exactly where the files are", examples=['"9f86d081"'])
    seconds: dict[str, float] = Field(description="spent in each stage: read, decode, queue, infer, encode")

    @property
    def label(self) -> str:
        """Name and version of all its networks, as in X-Model."""
        return ", ".join(f"{painter.name}@{painter.version}" for painter in self.models)

    @property
    def digest(self) -> str:
        """Of all its networks."""
        return ", ".join(painter.digest for painter in self.models)


@dataclass(frozen=True)
class Painting:
    """A finished image, and what is known of it."""

    content: bytes
    result: Result

    @classmethod
    def of(cls, answer: Answer, etag: str, seconds: dict[str, float]) -> Self:
        """What the studio gave, with the size that its file says it has."""
        header = inspect(answer.content)
        result = Result(
            models=tuple(Painter.of(model) for model in answer.models),
            format=answer.format.value,
            media_type=answer.format.media_type,
            width=header.width,
            height=header.height,
            bytes=len(answer.content),
            etag=etag,
            seconds={stage: round(duration, 6) for stage, duration in seconds.items()},
        )
        return cls(answer.content, result)
