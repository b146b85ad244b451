"""With the sizes that follow from a request it is tested in pipeline/test_upscale.py."""

import numpy as np
import pytest

from service.imaging.codecs import ColourSpace, Picture
from service.imaging.frame_transform import Frame
from service.imaging.resampling import resize
from service.imaging.sizes import Framing, Size
from service.imaging.upscale_transform import UpscaleTransform
from tests.service.imaging.images import photo

DOUBLE = Size(48, 64)


def test_networks_get_the_pixels_as_they_are() -> None:
    picture = Picture(photo())
    transform = UpscaleTransform(DOUBLE, Framing(DOUBLE, DOUBLE))
    assert transform.preprocess(Frame(picture, ColourSpace())) is picture.pixels


@pytest.mark.parametrize("back_projection", [True, False])
def test_answer_is_resized_then_cropped(back_projection: bool) -> None:
    transform = UpscaleTransform(DOUBLE, Framing(Size(24, 32), Size(24, 20)), back_projection)
    frame = Frame(Picture(photo(), photo(1)[..., 0]), ColourSpace())
    answer = transform.postprocess(frame, [resize(photo(), *DOUBLE)])
    assert answer.alpha is not None
    assert answer.pixels.shape[:2] == answer.alpha.shape == (24, 20)
    assert np.abs(answer.pixels.astype(int) - photo()[:, 6:26]).mean() < 12
    assert transform.needs_photo(frame) is back_projection
