import pytest
from PIL import Image

from service.photographs.exif import read_exif


@pytest.mark.parametrize("damage", [b"Exif\0\0MM\0", b"Exif\0\0junk that is no TIFF"])
def test_damaged_block_is_empty(damage: bytes) -> None:
    image = Image.new("RGB", (1, 1))
    image.info["exif"] = damage
    assert len(read_exif(image)) == 0
