"""What is asked of the web UI's "extras" tab: an image, or several, enlarged by one network."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from service.errors import InvalidRequest
from service.http.message_validation import invalid_request
from service.imaging.codecs import ImageFormat
from service.imaging.json_contents import EACH
from service.imaging.sizes import LONGEST_SIDE, Fit, Size
from service.pipeline.requests import UpscaleParameters, UpscaleRequest

NONE = "None"
"""What the web UI calls no network."""

IMAGE = ("image",)
IMAGES = ("imageList", EACH, "data")
"""Where the images are in the JSON of a request."""


class Extras(BaseModel):
    """The options; others that the web UI has are ignored, as it ignores what it does not know."""

    model_config = ConfigDict(extra="ignore")

    resize_mode: Literal[0, 1] = Field(
        0, description="0: by the factor upscaling_resize; 1: to upscaling_resize_w × upscaling_resize_h"
    )
    upscaling_resize: float = Field(2, ge=1, allow_inf_nan=False, description="how many times the sides grow")
    upscaling_resize_w: int = Field(512, ge=1, le=LONGEST_SIDE, description="pixels")
    upscaling_resize_h: int = Field(512, ge=1, le=LONGEST_SIDE, description="pixels")
    upscaling_crop: bool = Field(True, description="crop to that size what of another aspect would not fit into it")
    upscaler_1: str = Field(NONE, max_length=300, description="a name of /sdapi/v1/upscalers")
    upscaler_2: str | None = Field(NONE, max_length=300, description="None: results are not mixed")
    extras_upscaler_2_visibility: float = 0
    gfpgan_visibility: float = Field(0, le=0, description="0: faces are not restored")
    codeformer_visibility: float = Field(0, le=0, description="0: faces are not restored")
    entries: SkipJsonSchema[Any] = Field(None, alias="imageList")
    """Of a batch, without their images; a list where there was an image in it."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.upscaler_1 == NONE:
            raise PydanticCustomError("no_upscaler", "upscaler_1 must be a name of /sdapi/v1/upscalers, such as auto")
        if self.upscaler_2 not in (None, "", NONE) and self.extras_upscaler_2_visibility > 0:
            raise PydanticCustomError("mixed", "upscaler_2 must be None: results of two upscalers are not mixed")
        return self

    @classmethod
    def parse(cls, document: bytes) -> Self:
        """Of JSON, without its images. Raises InvalidRequest."""
        try:
            return cls.model_validate_json(document)
        except ValidationError as error:
            raise invalid_request(error) from error

    def check_entries(self, images: int) -> None:
        """Raise InvalidRequest where an entry of a batch has no image, or several: answers are in their order."""
        if len(self.entries) != images:
            found = f"it has {len(self.entries)} entries and {images} images"
            raise InvalidRequest(f"imageList: {found}; each needs one, its `data`")

    def request(self, size: Size, network_scale: float, timeout: float | None) -> UpscaleRequest:
        """What is done with an image of that upright size by a network of that scale, 1 where none is named.

        What a network enlarges by more than is asked for is reduced. Raises InvalidRequest where it would not grow.
        """
        scale = self._scale(size)
        options: dict[str, Any] = {"model": self.upscaler_1}
        if self.resize_mode == 1 and self.upscaling_crop:
            options |= {"width": self.upscaling_resize_w, "height": self.upscaling_resize_h, "fit": Fit.COVER}
        elif scale < network_scale:
            answer = size.times(scale)
            options |= {"width": answer.width, "height": answer.height, "fit": Fit.FILL}
        parameters = UpscaleParameters.model_validate(options)
        largest = max(scale, network_scale)
        return UpscaleRequest(scale=largest, parameters=parameters, formats=(ImageFormat.PNG,), timeout=timeout)

    def _scale(self, size: Size) -> float:
        """By how much the sides grow, before what does not fit is cropped."""
        if self.resize_mode == 0:
            return self.upscaling_resize
        scale = max(self.upscaling_resize_w / size.width, self.upscaling_resize_h / size.height)
        if scale <= 1:
            asked = f"{self.upscaling_resize_w}×{self.upscaling_resize_h}"
            raise InvalidRequest(f"the image is {size}, and {asked} is no larger; ask for more, images only grow here")
        return scale
