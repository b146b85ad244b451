import pytest
from pydantic import ValidationError

from service.imaging.codecs import ImageFormat, MetadataPolicy, Subsampling
from service.pipeline.output_options import OutputOptions


def test_output_has_the_formats_of_the_request_and_the_options() -> None:
    options = OutputOptions(
        quality=70, lossless=True, progressive=True, subsampling=Subsampling.QUARTER, metadata=MetadataPolicy.KEEP
    )
    spec = options.output_spec((ImageFormat.PNG, ImageFormat.WEBP))
    assert spec.formats == (ImageFormat.PNG, ImageFormat.WEBP)
    assert (spec.quality, spec.lossless, spec.progressive) == (70, True, True)
    assert (spec.subsampling, spec.metadata) == (Subsampling.QUARTER, MetadataPolicy.KEEP)


@pytest.mark.parametrize("wrong", [{"quality": 0}, {"quality": 101}, {"subsampling": "422"}, {"metadata": "all"}])
def test_options_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        OutputOptions.model_validate(wrong)
