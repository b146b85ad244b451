"""The result of a request: the encoded image, and what clients are told about it, at once or by a job."""

from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from service.imaging.codecs import ImageFormat
from service.imaging.sizes import Size
from service.models.served_model import ServedModel


@dataclass(frozen=True)
class EncodedImage:
    """An image file, and what it was made by."""

    content: bytes
    format: ImageFormat
    size: Size
    models: tuple[ServedModel, ...]
    verdict: str = ""
    """What was found in the photograph, where that decided on the models."""


class ModelVersion(BaseModel):
    """The version of a model that took part."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(examples=["great-wave"])
    version: int = Field(examples=[1])
    digest: str = Field(description="sha256 of its weights")

    @classmethod
    def of(cls, model: ServedModel) -> Self:
        """The public part of a served model."""
        return cls(name=model.name, version=model.manifest.version, digest=model.manifest.digest)


class Result(BaseModel):
    """What is known of a finished image, apart from its bytes."""

    model_config = ConfigDict(frozen=True)

    models: tuple[ModelVersion, ...] = Field(description="the networks that made it")
    verdict: str = Field(
        "",
        description="what was found in the photograph, where that decided on the networks (model=auto)",
        examples=["clean", "compressed (JPEG quality 57)"],
    )
    format: str = Field(examples=["jpeg"])
    media_type: str = Field(examples=["image/jpeg"])
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    bytes: int = Field(description="length of the file")
    etag: str = Field(
        description="entity tag of the file: two answers with the same tag have the same bytes", examples=['"9f86d081"']
    )
    seconds: dict[str, float] = Field(
        description="spent in each stage: read, assess, decode, queue, infer, encode; shared: waiting for an identical "
        "request"
    )

    @property
    def label(self) -> str:
        """name@version of all its models, as in X-Model."""
        return ", ".join(f"{model.name}@{model.version}" for model in self.models)

    @property
    def digest(self) -> str:
        """The digests of all its models, as in X-Model-Digest."""
        return ", ".join(model.digest for model in self.models)


@dataclass(frozen=True)
class FinishedImage:
    """A finished image with its result."""

    content: bytes
    result: Result

    @classmethod
    def of(cls, image: EncodedImage, fingerprint: str, seconds: dict[str, float]) -> Self:
        """`fingerprint` is the request's, `seconds` the time that each stage has taken."""
        result = Result(
            models=tuple(ModelVersion.of(model) for model in image.models),
            verdict=image.verdict,
            format=image.format.value,
            media_type=image.format.media_type,
            width=image.size.width,
            height=image.size.height,
            bytes=len(image.content),
            etag=f'"{fingerprint}"',
            seconds={stage: round(duration, 6) for stage, duration in seconds.items()},
        )
        return cls(image.content, result)
