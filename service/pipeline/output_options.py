"""How a request wants its answer: the query parameters that decide on the file, not on its pixels."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from service.imaging.codecs import (
    DEFAULT_QUALITY,
    EXTENSIONS,
    WRITTEN_FORMATS,
    ImageFormat,
    MetadataPolicy,
    OutputSpec,
    Subsampling,
)


class OutputOptions(BaseModel):
    """The query parameters of the output file, common to all requests for an image."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: str | SkipJsonSchema[None] = Field(
        None,
        description="of the answer, or the extension of its file; by default by Accept, else that of the input",
        examples=["webp"],
        # Not an enumeration for pydantic: other values are 406 with the list of formats, not 422.
        json_schema_extra={"enum": [*WRITTEN_FORMATS, *EXTENSIONS]},
    )
    quality: int = Field(DEFAULT_QUALITY, ge=1, le=100, description="of a JPEG, AVIF or lossy WebP")
    lossless: bool = Field(False, description="keep every value: PNG and TIFF do always, WebP on demand")
    progressive: bool = Field(False, description="a JPEG that appears coarse at first")
    subsampling: Subsampling = Field(
        Subsampling.FULL, description="of a JPEG or AVIF: 444 keeps the colour of every pixel, 420 of two by two"
    )
    metadata: MetadataPolicy = Field(
        MetadataPolicy.STRIP,
        description="of the photograph in the answer: strip (nothing), copyright (creator and rights), keep (all EXIF "
        "and XMP, the place included); the answer always says how it was made (IPTC's DigitalSourceType)",
    )

    def output_spec(self, formats: Sequence[ImageFormat]) -> OutputSpec:
        """The output in one of these formats, which the client likes equally."""
        return OutputSpec(formats, self.quality, self.lossless, self.progressive, self.subsampling, self.metadata)
