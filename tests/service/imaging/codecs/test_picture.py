import numpy as np

from service.imaging.codecs import Picture
from tests.service.imaging.images import photo


def test_alpha_grows_with_the_pixels() -> None:
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:, 4:] = 255
    larger = Picture(photo(height=6, width=8), alpha).with_pixels(photo(height=24, width=32))
    assert larger.alpha is not None
    assert larger.alpha.shape == (24, 32)
    assert larger.alpha[:, 0].max() == 0
    assert larger.alpha[:, -1].min() == 255


def test_original_picture_is_not_changed() -> None:
    original = Picture(photo(1))
    assert np.array_equal(original.with_pixels(photo(2)).pixels, photo(2))
    assert np.array_equal(original.pixels, photo(1))


def test_frame_keeps_its_duration() -> None:
    assert Picture(photo(), milliseconds=70).with_pixels(photo(1)).milliseconds == 70
