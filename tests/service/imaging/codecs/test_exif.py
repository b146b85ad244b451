import pytest
from PIL import Image

from service.imaging.codecs.exif import ORIENTATION_TAG, read_exif, read_orientation


@pytest.mark.parametrize("damage", [b"Exif\0\0MM\0", b"Exif\0\0junk that is no TIFF"])
def test_damaged_block_is_empty(damage: bytes) -> None:
    image = Image.new("RGB", (1, 1))
    image.info["exif"] = damage
    assert len(read_exif(image)) == 0


@pytest.mark.parametrize(("value", "orientation"), [(6, 6), ("3", 3), ("upside down", 1), ((1, 2), 1)])
def test_orientation_is_read_or_upright(value: object, orientation: int) -> None:
    exif = Image.Exif()
    assert read_orientation(exif) == 1
    exif[ORIENTATION_TAG] = value
    assert read_orientation(exif) == orientation
