"""How a request says what its answer is: which file, and whether as itself or in JSON (RFC 9110, section 12.5.1)."""

import re

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from service.photographs import DEFAULT_QUALITY, JSON, ImageFormat, Output, Policy, Subsampling, output_formats

WEIGHT = re.compile(r"(0(\.\d{0,3})?|1(\.0{0,3})?)")


class Representation(BaseModel):
    """What every request for an image can ask for in its query."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: str | SkipJsonSchema[None] = Field(
        None,
        description="of the answer; by default by Accept, else that of the input",
        examples=["webp"],
        # Another one is 406 with this list.
        json_schema_extra={"enum": [*(kind for kind in ImageFormat if kind.written), "jpg", "tif"]},
    )
    quality: int = Field(DEFAULT_QUALITY, ge=1, le=100, description="of a JPEG, AVIF or lossy WebP")
    lossless: bool = Field(False, description="keep every value: PNG and TIFF do always, WebP on demand")
    progressive: bool = Field(False, description="a JPEG that appears coarse at first")
    subsampling: Subsampling = Field(
        Subsampling.FULL, description="of a JPEG or AVIF: 444 keeps the colour of every pixel, 420 of two by two"
    )
    metadata: Policy = Field(
        Policy.STRIP,
        description="of the photograph in the answer: strip (nothing), copyright (creator and rights), keep (all EXIF "
        "and XMP, the place included); the answer always says how it was made (IPTC's DigitalSourceType)",
    )

    def output(self, accept: str | None) -> Output:
        """The output that a request with that Accept header asks for; raises NotAcceptable where there is none."""
        formats = output_formats(self.format, image_ranges(accept))
        return Output(formats, self.quality, self.lossless, self.progressive, self.subsampling, self.metadata)


def wants_json(accept: str | None) -> bool:
    """Whether the client names JSON, or what is of its kind, and likes it better than any image."""
    weights = _weights(accept)
    images = (weight for range_, weight in weights.items() if _is_image(range_))
    return weights.get(JSON, weights.get("application/*", 0.0)) > max(images, default=0.0)


def image_ranges(accept: str | None) -> str | None:
    """What Accept says of images: of the one in the JSON where that is what the client wants; None: nothing."""
    if accept is None or not wants_json(accept):
        return accept
    return ",".join(element for element in accept.split(",") if _is_image(_range(element))) or None


def _weights(accept: str | None) -> dict[str, float]:
    return {_range(element): _weight(element) for element in (accept or "").split(",")}


def _range(element: str) -> str:
    return element.partition(";")[0].strip().lower()


def _weight(element: str) -> float:
    parameters = (part.strip().lower() for part in element.split(";")[1:])
    text = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
    return float(text) if WEIGHT.fullmatch(text) else 0.0


def _is_image(range_: str) -> bool:
    return range_ == "*/*" or range_.startswith("image/")
