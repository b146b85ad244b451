"""Single images: loaded from a file at a size, and joined into one picture with labels."""

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

GAP = 6
"""Pixels between the pictures of a row, and between rows."""

LABEL_HEIGHT = 20
"""Pixels of the line of text above a row."""

LabelledPicture = tuple[str, Tensor]
"""A label and a picture, float RGB (3, H, W) in [0, 1]."""


def load_photograph(path: Path, longer_side: int, hardware: Hardware) -> Tensor:
    """A photograph, reduced (never enlarged) to `longer_side` pixels: RGB (1, 3, H, W) in [0, 1] on the device."""
    pixels = read_rgb(path)
    return _to_tensor(_scale(pixels, min(1.0, longer_side / max(pixels.shape[:2]))), hardware)


def load_scaled(path: Path, longer_side: int, hardware: Hardware) -> Tensor:
    """A photograph, reduced or enlarged to `longer_side` pixels: RGB (1, 3, H, W) in [0, 1] on the device."""
    pixels = read_rgb(path)
    return _to_tensor(_scale(pixels, longer_side / max(pixels.shape[:2])), hardware)


def load_square(path: Path, side: int, hardware: Hardware) -> Tensor:
    """The middle square of a photograph, reduced or enlarged: RGB (1, 3, side, side) in [0, 1] on the device."""
    pixels = read_rgb(path)
    shorter = min(pixels.shape[:2])
    top, left = ((length - shorter) // 2 for length in pixels.shape[:2])
    return _to_tensor(_resize(pixels[top : top + shorter, left : left + shorter], side, side), hardware)


def load_painting(path: Path, longer_side: int, hardware: Hardware) -> Tensor:
    """A painting, RGB (1, 3, H, W) in [0, 1] on the device; sizes and errors are those of `read_painting`."""
    return _to_tensor(read_painting(path, longer_side), hardware)


def labelled_row(pictures: Sequence[LabelledPicture], height: int = 0) -> Tensor:
    """Pictures side by side under their labels, float RGB (3, H, W); each scaled to `height` pixels, 0: not scaled."""
    images = [_fit_height(_to_image(picture), height) for _, picture in pictures]
    row = Image.new(
        "RGB", (sum(image.width + GAP for image in images) - GAP, LABEL_HEIGHT + max(i.height for i in images)), "white"
    )
    draw, left = ImageDraw.Draw(row), 0
    for (label, _), image in zip(pictures, images, strict=True):
        draw.text((left + 2, 2), label, "black", ImageFont.load_default(13))
        row.paste(image, (left, LABEL_HEIGHT))
        left += image.width + GAP
    return torch.from_numpy(np.array(row)).permute(2, 0, 1).float() / 255


def stack_rows(rows: Sequence[Tensor]) -> Tensor:
    """Rows of pictures one below the other, float RGB (3, H, W); shorter rows are padded with white on the right."""
    width = max(row.shape[-1] for row in rows)
    filled = [torch.nn.functional.pad(row, (0, width - row.shape[-1], 0, GAP), value=1.0) for row in rows]
    return torch.cat(filled, dim=1)


def file_digest(path: Path, wanted: str = "an image file", option: str = "") -> str:
    """`sha256:` and the file's SHA-256 in hexadecimal. Raises DataError where it cannot be read, as often as wanted.

    The error says what kind of file is wanted, and for which option.
    """
    named = f"{option} {path}".lstrip()
    if path.exists() and not path.is_file():
        raise DataError(f"{named} is no file; {wanted} is wanted, no folder and no pipe")
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise DataError(f"{named} cannot be read: {error.strerror}; {wanted} is wanted") from error


def _to_tensor(pixels: Pixels, hardware: Hardware) -> Tensor:
    return hardware.images(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])


def _scale(pixels: Pixels, factor: float) -> Pixels:
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return _resize(pixels, width, height)


def _resize(pixels: Pixels, width: int, height: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _to_image(picture: Tensor) -> Image.Image:
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _fit_height(image: Image.Image, height: int) -> Image.Image:
    if height in (0, image.height):
        return image
    return image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)
