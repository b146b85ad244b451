"""Image files as tensors: training batches of photographs, paintings, and low-resolution images."""

import hashlib
import io
import logging
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from model_store.error_messages import reason_of
from trainer.errors import DataError
from trainer.prefetch import ONE_AHEAD, Prefetch

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

SRGB_MODES = {"RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}
"""Modes that are converted to sRGB by a profile, and what they become."""

MIN_PAINTING_SIDE = 32
"""Shortest side of a painting in pixels; in smaller ones the deep layers of loss networks have no positions left."""

STRIP = 16
"""Longer over shorter side of what is enlarged for a crop; a line of pixels would become as many squares."""

Pixels = NDArray[np.uint8]
"""RGB (H, W, 3)."""

Crop = Callable[[Pixels, int, np.random.Generator], Pixels]
"""Photograph, side, random generator → a square of that side; raises DataError where the photograph is too small."""

log = logging.getLogger(__name__)


class Photographs:
    """The images of a folder as batches of square crops.

    A batch has `size` crops of `side` × `side` pixels, or those at some of its places. From step `zoom_from` on, the
    side of each batch is multiplied by a random factor from 1 to `zoom` (log-uniform). A crop depends only on `seed`,
    its step, its place in the batch and the files, so a resumed run gets the batches of an uninterrupted one, and
    several processes together those of one, whatever the number of threads. A file that cannot be used is logged once,
    listed in `skipped`, and replaced by the next. Every file is used once an epoch.
    """

    def __init__(
        self,
        folder: Path,
        side: int,
        size: int,
        crop: Crop,
        *,
        seed: int,
        cache_mb: int = 1024,
        zoom: float = 1.0,
        zoom_from: int = 0,
        zoom_multiple: int = 1,
        prefetch: Prefetch = ONE_AHEAD,
        option: str = "--content",
    ) -> None:
        """`zoom_multiple`: larger sides are rounded to a multiple of it. `option`: which named the folder.

        Raises DataError where there are no images.
        """
        self.files = image_files(folder, option)
        self._lengths = [_length(path) for path in self.files]
        self._folder = folder
        self.skipped: dict[Path, str] = {}
        self.size = size
        self._prefetch = prefetch
        self._side, self._crop_from, self._seed = side, crop, seed
        self._zoom, self._zoom_from, self._zoom_multiple = zoom, zoom_from, zoom_multiple
        self._lock = Lock()
        """Of `skipped` and the cache."""
        self._cache: dict[Path, Pixels] = {}
        self._cache_left = cache_mb * 2**20

    @property
    def description(self) -> str:
        """What they are, in words, for the manifest."""
        return f"{len(self.files)} photographs"

    @property
    def names_digest(self) -> str:
        """SHA-256 of the files' relative paths in order."""
        names = "\n".join(path.relative_to(self._folder).as_posix() for path in self.files)
        return hashlib.sha256(os.fsencode(names)).hexdigest()

    @property
    def digest(self) -> str:
        """`names_digest`, +, and the SHA-256 of how long the files were at first; their contents are not read."""
        return f"{self.names_digest}+{hashlib.sha256(repr(self._lengths).encode()).hexdigest()}"

    def batch(self, step: int, places: range | None = None) -> Tensor:
        """The batch of a step, or its crops at `places`, uint8 (N, 3, S, S).

        Raises DataError where no file can be used.
        """
        rng = np.random.default_rng((self._seed, step))
        zoomed = self._zoom > 1 and step >= self._zoom_from
        side = self._larger_side(self._zoom ** rng.random()) if zoomed else self._side
        crops = [
            self._crop(step * self.size + place, side, np.random.default_rng((self._seed, step, 4, place)))
            for place in places or range(self.size)
        ]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)

    def batches(self, begin: int, end: int, places: range | None = None) -> Iterator[Tensor]:
        """What `batch` returns for steps `begin` to `end` - 1, prepared ahead."""
        return self._prefetch.batches(lambda step: self.batch(step, places), range(begin, end))

    def _larger_side(self, factor: float) -> int:
        return max(self._side, round(self._side * factor / self._zoom_multiple) * self._zoom_multiple)

    def _crop(self, position: int, side: int, rng: np.random.Generator) -> Pixels:
        """A crop of the file at `position` in the sequence of shuffled epochs, or of the next file that can be used."""
        epoch, index = divmod(position, len(self.files))
        order = _permutation(self._seed, epoch, len(self.files))
        for offset in range(len(self.files)):
            path = self.files[order[(index + offset) % len(self.files)]]
            if path not in self.skipped:
                try:
                    return self._crop_from(self._pixels(path), side, rng)
                except DataError as error:
                    self._skip(path, error)
        raise DataError(f"none of the {len(self.files)} images can be used; the last: {_last(self.skipped)}")

    def _pixels(self, path: Path) -> Pixels:
        pixels = self._cache.get(path)
        if pixels is None:
            pixels = read_rgb(path)
            self._keep(path, pixels)
        return pixels

    def _keep(self, path: Path, pixels: Pixels) -> None:
        """Keep decoded pixels, as long as there is memory for them."""
        with self._lock:
            if path not in self._cache and pixels.nbytes <= self._cache_left:
                self._cache[path] = pixels
                self._cache_left -= pixels.nbytes

    def _skip(self, path: Path, error: Exception) -> None:
        with self._lock:
            if path not in self.skipped:
                self.skipped[path] = str(error)
                log.warning("skipped %s (%d so far): %s", path, len(self.skipped), error)


def image_files(folder: Path, option: str = "--content") -> list[Path]:
    """The image files under a folder, sorted. Raises DataError, with the option's name, where there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; {option} takes a folder of images")
    files = sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"no images in {folder}; {option} takes a folder of images: {', '.join(SUFFIXES)}")
    return files


def image_names(files: Sequence[Path], folder: Path) -> list[str]:
    """A name for each image of a folder, none twice: its path there, without suffixes unless two are then equal."""
    paths = [path.relative_to(folder) for path in files]
    short = [path.with_suffix("").as_posix() for path in paths]
    return short if len(set(short)) == len(short) else [path.as_posix() for path in paths]


def _files(folder: Path) -> Iterator[Path]:
    """All files under a folder, also behind links; a folder that several links lead to is taken once.

    Links that lead nowhere, or where nobody may look, are among them, and are told where they are read; pipes and
    devices are not.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(parent, name) for name in names)
        yield from (path for path in paths if _may_be_read(path))


def _may_be_read(path: Path) -> bool:
    """Whether it is a file, or cannot be looked at."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _length(path: Path) -> int:
    """Of a file, in bytes; -1 where it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def read_rgb(path: Path) -> Pixels:
    """An image file as RGB, turned by its EXIF orientation. Raises DataError where it cannot be read."""
    return np.asarray(_to_rgb(read_image(path)))


def read_image(path: Path) -> Image.Image:
    """An image file, decoded and turned by its EXIF orientation. Raises DataError where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
            return _upright(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise errors of any type
        raise DataError(f"{path} cannot be read: {reason_of(error)}") from error


def read_painting(path: Path, longer_side: int) -> Pixels:
    """A painting as RGB, reduced (never enlarged) to `longer_side` pixels.

    Colours of a profile become sRGB, in which photographs are painted. Transparency becomes white; grey, and CMYK
    without a profile, are converted; a warning is logged. Raises DataError where the file cannot be read, or its
    shorter side is then less than MIN_PAINTING_SIDE.
    """
    rgb = _opaque_rgb(_in_srgb(read_image(path)), path)
    factor = min(1.0, longer_side / max(rgb.size))
    sides = (round(rgb.width * factor), round(rgb.height * factor))
    if min(sides) < MIN_PAINTING_SIDE:
        size = f"{path} is {sides[0]}×{sides[1]} pixels when its longer side is {max(sides)}"
        raise DataError(
            f"{size}; --style-image takes a painting whose shorter side is then {MIN_PAINTING_SIDE} or more"
        )
    return np.asarray(rgb if factor == 1 else rgb.resize(sides, Image.Resampling.LANCZOS))


def random_scaled_crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """A random square of the photograph, resized to a shorter side of 1 to 1.5 times `size`; half are mirrored.

    A photograph is enlarged only where its shorter side is less than `size`, and then to `size`; of a strip a random
    part of it, STRIP times as long as wide.
    """
    if min(pixels.shape[:2]) < size:
        pixels = _part_of_strip(pixels, rng)
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    target = round(size * rng.uniform(1.0, max(1.0, min(1.5, shorter / size))))
    sides = (max(size, round(width * target / shorter)), max(size, round(height * target / shorter)))
    left, top = rng.integers(sides[0] - size + 1), rng.integers(sides[1] - size + 1)
    scaled = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR, reducing_gap=2.0))
    crop = scaled[top : top + size, left : left + size]
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _part_of_strip(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A random part of a photograph that is more than STRIP times as long as wide; others are returned whole."""
    height, width = pixels.shape[:2]
    longest = STRIP * min(height, width)
    left, top = (int(rng.integers(side - longest + 1)) if side > longest else 0 for side in (width, height))
    return pixels[top : top + longest, left : left + longest]


def random_exact_crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """A random square, not resized, in one of the eight orientations. Raises DataError for a smaller photograph."""
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        raise DataError(f"{width}×{height} pixels are fewer than a crop's {size}×{size}")
    left, top = rng.integers(width - size + 1), rng.integers(height - size + 1)
    crop = np.rot90(pixels[top : top + size, left : left + size], int(rng.integers(4)))
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def low_resolution(sharp: Tensor, scale: int, blur: float = 0.0) -> Tensor:
    """The inputs of super-resolution, (N, 3, H / scale, W / scale) in [0, 1], from sharp images (N, 3, H, W) in [0, 1].

    An optional Gaussian blur of σ `blur` pixels, then bicubic reduction, then rounding to 8 bits. The reduction is
    antialiased, as MATLAB's and Pillow's, which the field's test images are made with.
    """
    if blur:
        sharp = gaussian_blur(sharp, 2 * round(3 * blur) + 1, blur)
    return (downscaled(sharp, scale).clamp(0, 1) * 255).round() / 255


def downscaled(images: Tensor, factor: int) -> Tensor:
    """Images (N, C, H, W) → (N, C, H // factor, W // factor): bicubic, antialiased, not limited to [0, 1]."""
    if factor == 1:
        return images
    side = [length // factor for length in images.shape[-2:]]
    return F.interpolate(images, size=side, mode="bicubic", antialias=True)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, OSError, struct.error):  # the EXIF block is damaged, the pixels need not be
        return image


def _in_srgb(image: Image.Image) -> Image.Image:
    """With colours converted by the profile; as it is without one that is of use, and where it is grey."""
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in SRGB_MODES:
        return image
    srgb, mode = ImageCms.createProfile("sRGB"), SRGB_MODES[image.mode]
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, intent, mode, flags=flags) or image
    except ImageCms.PyCMSError:
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
    """Convert to RGB. 16-bit grey, which Pillow would clip to 255, is scaled to 8 bits."""
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch, 1)).permutation(count)


def _last(skipped: dict[Path, str]) -> str:
    return list(skipped.values())[-1]
