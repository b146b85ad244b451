import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage, InvalidRequest, MalformedBody, UnsupportedImage
from service.imaging.blending import blend
from service.imaging.codecs import Picture
from service.imaging.masks import Mask, MaskMeaning, inspect_mask
from service.imaging.sizes import Size
from tests.service.imaging.images import file, photo


def half(height: int = 40, width: int = 60, kind: type[np.integer] = np.uint8) -> Mask:
    """A mask whose right half is white."""
    plane = np.zeros((height, width, 1), kind)
    plane[:, width // 2 :] = np.iinfo(kind).max
    return Mask(plane)


def whole(mask: Mask, height: int, width: int, feather: float = 0.0, strength: float = 1.0) -> np.ndarray:
    opacity = mask.opacity(height, width, feather, strength)(0, height)
    assert isinstance(opacity, np.ndarray)
    return opacity[..., 0]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(40, 60), (400, 600), (10, 15)])
def test_black_keeps_the_photo_and_white_the_stylized_picture(kind: type[np.integer], size: tuple[int, int]) -> None:
    below, above = np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8)
    result = blend(below, above, half(kind=kind).opacity(*size, 0, 1.0))
    third = size[1] // 3
    assert (result[:, :third] == 0).all()
    assert (result[:, -third:] == 255).all()


def test_strength_and_mask_multiply() -> None:
    opacity = whole(half(), 40, 60, strength=0.5)
    assert opacity.min() == 0
    assert opacity.max() == pytest.approx(0.5)
    assert whole(half(), 40, 60, strength=0.0).max() == 0


@pytest.mark.parametrize("feather", [1.0, 8.0, 30.0, 120.0])
def test_feather_is_a_gaussian_of_half_its_width(feather: float) -> None:
    """The step response is 16 % at one standard deviation from the edge, whatever the mask's own size."""
    for mask in (half(300, 800), half(150, 400), half(600, 1600)):
        row = whole(mask, 300, 800, feather)[150]
        assert (np.diff(row) >= -1e-3).all()
        away = np.interp(400 - feather / 2, np.arange(800) + 0.5, row)
        assert away == pytest.approx(0.159, abs=0.1 if feather == 1 else 0.03)


def test_feather_wider_than_the_picture_is_a_mean() -> None:
    opacity = whole(half(), 20, 30, feather=1000)
    assert np.ptp(opacity) < 0.3
    assert opacity.mean() == pytest.approx(0.5, abs=0.05)


def test_bands_change_nothing() -> None:
    expected = whole(half(90, 60), 45, 30, feather=6)
    opacity = half(90, 60).opacity(45, 30, 6, 1.0, band_values=1)
    banded = np.concatenate([np.asarray(opacity(begin, min(begin + 7, 45)))[..., 0] for begin in range(0, 45, 7)])
    assert np.abs(banded - expected).max() < 1e-3


def test_mask_is_the_luma_and_black_where_transparent() -> None:
    pixels = np.zeros((1, 4, 3), np.uint8)
    pixels[0, 1:3] = 255
    pixels[0, 3, 1] = 255
    alpha = np.array([[255, 255, 0, 255]], np.uint8)
    assert Mask.from_picture(Picture(pixels, alpha)).plane[0, :, 0].tolist() == [0, 255, 0, 182]


def test_file_is_decoded_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(half().plane[..., 0]).transpose(Image.Transpose.ROTATE_90)
    data = file(stored, exif=exif)
    assert inspect_mask(data, Size(80, 120)).transposed
    assert np.array_equal(Mask.decode(data).plane, half().plane)


@pytest.mark.parametrize("size", [(40, 60), (4000, 6000), (41, 61), (3, 4), (133, 200)])
def test_mask_of_the_aspect_is_accepted(size: tuple[int, int]) -> None:
    inspect_mask(file(half().plane[..., 0]), Size(*size))


@pytest.mark.parametrize("size", [(60, 40), (40, 40), (400, 650)])
def test_mask_of_another_aspect_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest, match=f"60×40, and the image, upright, {size[1]}×{size[0]}; send a mask"):
        inspect_mask(file(half().plane[..., 0]), Size(*size))


def test_errors_begin_with_the_mask() -> None:
    good = file(photo(height=200, width=200))
    with pytest.raises(UnsupportedImage, match=r"^the mask: "):
        inspect_mask(b"no image", Size(1, 1))
    with pytest.raises(MalformedBody, match=r"^the mask: "):
        inspect_mask(b"", Size(1, 1))
    with pytest.raises(CorruptImage, match=r"^the mask: "):
        Mask.decode(good[: len(good) // 2])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_mask_may_mean_what_is_transparent(kind: type[np.unsignedinteger]) -> None:
    full = np.iinfo(kind).max
    alpha = np.array([[0, full, 100]], kind)
    assert Mask.from_holes(Picture(np.zeros((1, 3, 3), kind), alpha)).plane[0, :, 0].tolist() == [full, 0, full - 100]
    assert not Mask.from_holes(Picture(np.full((1, 3, 3), full, kind))).plane.any()
    content = file(np.dstack([photo(), np.full((24, 32), 7, np.uint8)]))
    assert Mask.decode(content, MaskMeaning.TRANSPARENT).plane.min() == 248


def test_mask_of_what_is_transparent_has_alpha_and_the_size_of_the_image() -> None:
    content = file(np.dstack([photo(), photo(1)[..., :1]]))
    assert inspect_mask(content, Size(24, 32), MaskMeaning.TRANSPARENT).has_alpha
    with pytest.raises(InvalidRequest, match="32×24, and the image, upright, 64×48"):
        inspect_mask(content, Size(48, 64), MaskMeaning.TRANSPARENT)
    with pytest.raises(InvalidRequest, match="no alpha channel"):
        inspect_mask(file(photo()), Size(24, 32), MaskMeaning.TRANSPARENT)
