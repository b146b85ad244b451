"""Photographs as training batches: every batch is a function of the seed and the step alone."""

import hashlib
import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from trainer.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

NARROWEST = 32
"""Pixels of a painting's shorter side, below which the deeper layers of loss networks have nothing to look at."""

Pixels = NDArray[np.uint8]
"""RGB (H, W, 3)."""

Cut = Callable[[Pixels, int, np.random.Generator], Pixels]
"""Makes a square of a photograph; raises DataError where the photograph cannot give one."""

log = logging.getLogger(__name__)


class Photographs:
    """The images of a folder, cut into batches.

    A batch has `size` squares of `side` pixels, or, from step `zoom_from` on, up to `zoom` times larger ones: one
    factor for a batch, whose logarithm is evenly distributed. It depends on `seed` and its number alone, so a resumed
    run sees what an uninterrupted one sees. Files that cannot be used are logged once, listed in `skipped`, and
    replaced by the next.
    """

    def __init__(
        self,
        folder: Path,
        side: int,
        size: int,
        cut: Cut,
        *,
        seed: int,
        cache_mb: int = 1024,
        zoom: float = 1.0,
        zoom_from: int = 0,
    ) -> None:
        self.files = image_files(folder)
        self._folder = folder
        self.skipped: dict[Path, str] = {}
        self.size = size
        self._side, self._cut, self._seed = side, cut, seed
        self._zoom, self._zoom_from = zoom, zoom_from
        self._cache: dict[Path, Pixels] = {}
        self._cache_left = cache_mb * 2**20

    @property
    def digest(self) -> str:
        """Of the names and the order of the files: two folders of one digest give the same batches."""
        names = "\n".join(path.relative_to(self._folder).as_posix() for path in self.files)
        return hashlib.sha256(names.encode()).hexdigest()

    def batch(self, step: int) -> Tensor:
        """The batch of a step: uint8 (N, 3, S, S)."""
        rng = np.random.default_rng((self._seed, step))
        zoomed = self._zoom > 1 and step >= self._zoom_from
        side = round(self._side * self._zoom ** rng.random()) if zoomed else self._side
        crops = [self._crop(step * self.size + i, side, rng) for i in range(self.size)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)

    def batches(self, begin: int, end: int) -> Iterator[Tensor]:
        """The batches of steps `begin` to `end` - 1, each prepared while the one before is used."""
        with ThreadPoolExecutor(1, thread_name_prefix="photographs") as pool:
            following = pool.submit(self.batch, begin)
            for step in range(begin, end):
                current = following.result()
                if step + 1 < end:
                    following = pool.submit(self.batch, step + 1)
                yield current

    def _crop(self, position: int, side: int, rng: np.random.Generator) -> Pixels:
        """The crop at a position of the endless shuffled sequence of files, or of the next usable file."""
        epoch, index = divmod(position, len(self.files))
        order = _permutation(self._seed, epoch, len(self.files))
        for offset in range(len(self.files)):
            path = self.files[order[(index + offset) % len(self.files)]]
            if path not in self.skipped:
                try:
                    return self._cut(self._pixels(path), side, rng)
                except DataError as error:
                    self._skip(path, error)
        raise DataError(f"none of the {len(self.files)} images can be used; the last: {_last(self.skipped)}")

    def _pixels(self, path: Path) -> Pixels:
        pixels = self._cache.get(path)
        if pixels is None:
            pixels = read_rgb(path)
            if pixels.nbytes <= self._cache_left:
                self._cache[path] = pixels
                self._cache_left -= pixels.nbytes
        return pixels

    def _skip(self, path: Path, error: Exception) -> None:
        self.skipped[path] = str(error)
        log.warning("skipped %s (%d so far): %s", path, len(self.skipped), error)


def image_files(folder: Path, option: str = "--content") -> list[Path]:
    """The image files under a folder, sorted; raises DataError, which names the option, where there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; {option} takes a folder of images")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"no images in {folder}; {option} takes a folder of images: {', '.join(SUFFIXES)}")
    return files


def read_rgb(path: Path) -> Pixels:
    """An image file as RGB, upright; raises DataError where it cannot be read."""
    return np.asarray(_to_rgb(read_image(path)))


def read_image(path: Path) -> Image.Image:
    """An image file, decoded and upright; raises DataError with its name where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
            return _upright(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsing stumbles upon
        raise DataError(f"{path} cannot be read: {error}") from error


def read_painting(path: Path, longer_side: int) -> Pixels:
    """A painting as RGB, reduced to `longer_side`; transparency becomes white, grey and CMYK are converted, with a
    warning. Raises DataError where the file is no image, or too narrow to have a style."""
    rgb = _opaque_rgb(read_image(path), path)
    factor = min(1.0, longer_side / max(rgb.size))
    sides = (round(rgb.width * factor), round(rgb.height * factor))
    if min(sides) < NARROWEST:
        size = f"{path} is {sides[0]}×{sides[1]} pixels when its longer side is {max(sides)}"
        raise DataError(f"{size}; --style-image takes a painting whose shorter side is then {NARROWEST} or more")
    return np.asarray(rgb if factor == 1 else rgb.resize(sides, Image.Resampling.LANCZOS))


def scaled_crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """A random square of the photograph at a random scale: its shorter side is 1 to 1.5 times the crop's.

    Photographs are enlarged only where their shorter side is less than `size`.
    """
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    target = round(size * rng.uniform(1.0, max(1.0, min(1.5, shorter / size))))
    sides = (max(size, round(width * target / shorter)), max(size, round(height * target / shorter)))
    left, top = rng.integers(sides[0] - size + 1), rng.integers(sides[1] - size + 1)
    scaled = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR, reducing_gap=2.0))
    crop = scaled[top : top + size, left : left + size]
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def exact_crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """A random square of the photograph's own pixels, in one of its eight orientations."""
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        raise DataError(f"{width}×{height} pixels are fewer than a crop's {size}×{size}")
    left, top = rng.integers(width - size + 1), rng.integers(height - size + 1)
    crop = np.rot90(pixels[top : top + size, left : left + size], int(rng.integers(4)))
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def part(squares: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """One random square of `side` pixels of all (N, C, S, S); themselves where they have no more."""
    top, left = (int(rng.integers(length - side + 1)) for length in squares.shape[-2:])
    return squares[..., top : top + side, left : left + side] if squares.shape[-1] > side else squares


def shifted(squares: Sequence[Tensor], most: int, rng: np.random.Generator) -> list[Tensor]:
    """Images (N, C, S, S) without their first 0 to `most` - 1 rows and columns, as many of all, and S / 16 at most."""
    top, left = (int(rng.integers(max(1, min(most, squares[0].shape[-1] // 16)))) for _ in range(2))
    return [images[..., top:, left:] for images in squares]


def reduced(sharp: Tensor, scale: int, blur: float = 0.0) -> Tensor:
    """The low-resolution images of (N, 3, H, W): an optional Gaussian blur, bicubic reduction, 8-bit rounding.

    The reduction is antialiased, as MATLAB's and Pillow's are; without that, networks learn another problem.
    """
    if blur:
        sharp = gaussian_blur(sharp, 2 * round(3 * blur) + 1, blur)
    return (shortened(sharp, scale).clamp(0, 1) * 255).round() / 255


def shortened(images: Tensor, factor: int) -> Tensor:
    """Images (N, 3, H, W) with so many times shorter sides, rounded down: bicubic, antialiased."""
    if factor == 1:
        return images
    side = [length // factor for length in images.shape[-2:]]
    return F.interpolate(images, size=side, mode="bicubic", antialias=True)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, OSError, struct.error):  # a photograph is not lost for its damaged EXIF block
        return image


def _opaque_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.has_transparency_data:
        log.warning("%s: its transparent parts are taken as white", path)
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif image.mode in ("1", "L", "I", "I;16", "F"):
        log.warning("%s: a grey painting; its style has no colours", path)
    elif image.mode == "CMYK":
        log.warning("%s: CMYK, converted to RGB without its profile; colours may differ", path)
    return _to_rgb(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB; 16-bit grey, which Pillow would clip, is rounded to 8 bits."""
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch, 1)).permutation(count)


def _last(skipped: dict[Path, str]) -> str:
    return list(skipped.values())[-1]
