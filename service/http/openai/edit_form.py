"""The form of `POST /v1/images/edits`: its fields, the image and the mask."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.errors import InvalidRequest
from service.http.multipart import MASK
from service.imaging.codecs import DEFAULT_QUALITY, EXTENSIONS
from service.pipeline.requests import InputFiles

IMAGES = ("image", "image[]")
IGNORED = ("prompt", "user", "quality", "input_fidelity", "moderation", "safety_identifier")
"""Fields that other models need, and a network with one style, or one scale, has no use for."""


class Edit(BaseModel):
    """The fields of the form, besides the image, that have a meaning here."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        description="a name of GET /v1/models: a style, or a network that enlarges; or styles, mixed by weight; or a "
        "name that the setting openai_models gives to one of them",
        examples=["great-wave", "great-wave:0.7,the-scream:0.3"],
    )
    n: Literal["1"] = Field("1", description="a network gives one picture of an image")
    response_format: Literal["b64_json"] = Field("b64_json", description="nothing is kept here that a url could name")
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(DEFAULT_QUALITY, ge=0, le=100, description="the quality of a JPEG or WebP")
    size: str = Field(
        "auto",
        pattern=r"^(auto|[1-9]\d{0,8}x[1-9]\d{0,8})$",
        description="the size of the answer is that of the image, upright, or scale times it; auto, or that size",
        examples=["auto", "1024x768"],
    )
    background: Literal["auto"] = Field("auto", description="transparency is kept where the format has it")
    stream: Literal["false"] = "false"
    partial_images: Literal["0"] = "0"

    @field_validator("output_format", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return EXTENSIONS.get(value.lower(), value.lower()) if isinstance(value, str) else value

    @classmethod
    def parse(cls, parts: Sequence[tuple[str, bytes]]) -> Self:
        """Of the parts of a form; clients send an empty one for a field that they leave out. Raises InvalidRequest."""
        fields = [(name, content.decode("utf-8", "replace")) for name, content in parts if name in cls.model_fields]
        texts = [(name, text) for name, text in fields if text.strip()]
        for name, count in Counter(name for name, _ in texts).items():
            if count > 1:
                raise InvalidRequest(f"{name}: given more than once; send it once", param=name)
        try:
            return cls.model_validate(dict(texts))
        except ValidationError as error:
            fault = error.errors()[0]
            name = str(fault["loc"][0])
            meaning = cls.model_fields[name].description
            detail = f"{name}: {fault['msg']}" + (f" ({meaning})" if meaning else "")
            raise InvalidRequest(detail, param=name) from error

    @property
    def query(self) -> dict[str, Any]:
        """The query parameters that mean the same."""
        return {"format": self.output_format, "quality": max(1, self.output_compression)}


def edited_files(parts: Sequence[tuple[str, bytes]]) -> InputFiles:
    """The image, and the mask where there is one. Raises InvalidRequest."""
    images = [content for name, content in parts if name in IMAGES]
    masks = [content for name, content in parts if name == MASK and content]
    if len(images) != 1:
        raise InvalidRequest(f"image: one image is edited at a time; the form has {len(images)}", param="image")
    if len(masks) > 1:
        raise InvalidRequest(f"mask: an image has one mask; the form has {len(masks)}", param="mask")
    return InputFiles(images[0], masks[0] if masks else None)


def form_schema() -> dict[str, Any]:
    """The form for the OpenAPI document."""
    schema = Edit.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "the file; `image[]` is the same"}
    mask = image | {"description": "a PNG of the image's size, transparent where it is to be painted"}
    ignored = {name: {"type": "string", "description": "accepted and ignored"} for name in IGNORED}
    properties = {"image": image, "mask": mask, **schema["properties"], **ignored}
    form = {"type": "object", "properties": properties, "required": ["image", "model"]}
    return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
