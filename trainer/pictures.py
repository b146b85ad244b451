"""Single pictures: read at a size, and put side by side with labels."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from trainer.data import Pixels, read_painting, read_rgb
from trainer.errors import DataError
from trainer.hardware import Hardware

GAP, LINE = 6, 20
"""Pixels between pictures of a row, and of the line of text above them."""

Labelled = tuple[str, Tensor]
"""A label and a picture, float RGB (3, H, W) in [0, 1]."""


def photograph(path: Path, longer_side: int, hardware: Hardware) -> Tensor:
    """A photograph, reduced to `longer_side`: RGB (1, 3, H, W) in [0, 1] where the networks are."""
    pixels = read_rgb(path)
    return _tensor(_scaled(pixels, min(1.0, longer_side / max(pixels.shape[:2]))), hardware)


def resized(path: Path, longer_side: int, hardware: Hardware) -> Tensor:
    """As `photograph`, and enlarged where it is smaller."""
    pixels = read_rgb(path)
    return _tensor(_scaled(pixels, longer_side / max(pixels.shape[:2])), hardware)


def square(path: Path, side: int, hardware: Hardware) -> Tensor:
    """The middle square of a photograph at `side` pixels, enlarged where it has fewer: RGB (1, 3, side, side)."""
    pixels = read_rgb(path)
    shorter = min(pixels.shape[:2])
    top, left = ((length - shorter) // 2 for length in pixels.shape[:2])
    return _tensor(_resized(pixels[top : top + shorter, left : left + shorter], side, side), hardware)


def painting(path: Path, longer_side: int, hardware: Hardware) -> Tensor:
    """A painting, as `read_painting` reads it: RGB (1, 3, H, W) in [0, 1] where the networks are."""
    return _tensor(read_painting(path, longer_side), hardware)


def labelled_row(pictures: Sequence[Labelled], height: int = 0) -> Tensor:
    """Pictures side by side under their labels, float RGB (3, H, W); each at `height`, or else as it is."""
    images = [_at_height(_image(picture), height) for _, picture in pictures]
    row = Image.new(
        "RGB", (sum(image.width + GAP for image in images) - GAP, LINE + max(i.height for i in images)), "white"
    )
    draw, left = ImageDraw.Draw(row), 0
    for (label, _), image in zip(pictures, images, strict=True):
        draw.text((left + 2, 2), label, "black", ImageFont.load_default(13))
        row.paste(image, (left, LINE))
        left += image.width + GAP
    return torch.from_numpy(np.array(row)).permute(2, 0, 1).float() / 255


def stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows of pictures below one another, float RGB (3, H, W), the shorter ones filled up with white."""
    width = max(row.shape[-1] for row in rows)
    filled = [torch.nn.functional.pad(row, (0, width - row.shape[-1], 0, GAP), value=1.0) for row in rows]
    return torch.cat(filled, dim=1)


def digest(path: Path) -> str:
    """Of a file; raises DataError where it cannot be read."""
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; an image file is wanted") from error


def _tensor(pixels: Pixels, hardware: Hardware) -> Tensor:
    return hardware.images(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])


def _scaled(pixels: Pixels, factor: float) -> Pixels:
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return _resized(pixels, width, height)


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _image(picture: Tensor) -> Image.Image:
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _at_height(image: Image.Image, height: int) -> Image.Image:
    if height in (0, image.height):
        return image
    return image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)
