"""What type checkers tell users of the client: read by mypy, which reports an `ignore` that is not needed."""

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import pastiche

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    with pastiche.Client("http://127.0.0.1:9") as client:
        picture = client.stylize("photo.jpg", "wave", strength=0.5)
        assert_type(picture.image(), Image.Image)
        client.upscale(np.zeros((2, 2, 3), np.uint8), 4, fit="cover")
        client.stylize(Image.new("RGB", (2, 2)), {"wave": 1}, strenght=0.5)  # type: ignore[call-arg]
        client.upscale("photo.jpg", 4, fit="covers")  # type: ignore[arg-type]
        client.stylize(3, "wave")  # type: ignore[arg-type]
        _ = pastiche.Clint  # type: ignore[attr-defined]


def test_package_is_typed_for_its_users() -> None:
    """PEP 561: without the marker, checkers of other projects see no types at all."""
    assert (Path(pastiche.__file__).parent / "py.typed").exists()
