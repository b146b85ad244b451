"""`gallery`: the pictures of docs/gallery.md: every style on the same photographs, and enlargements."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.enlarge import Reduce, clean, damaged
from benchmarks.errors import BenchmarkError
from benchmarks.report import Row, Tables
from model_store import SHIPPED_STORE, ModelStore
from model_store.command_parser import path_argument
from model_store.main import store_location
from trainer.data import Pixels, image_files, read_rgb
from trainer.evaluate import Enlarge, bicubic, luma, psnr, ssim
from trainer.outputs import require_folder
from trainer.stored_models import find_model

COLUMNS, QUALITY = 4, 78

KINDS: Mapping[str, tuple[Reduce, tuple[str, ...]]] = {
    "clean": (clean, ("x4", "x4-perceptual")),
    "damaged": (damaged, ("x4", "x4-photo")),
}
"""What is done to photographs before they are enlarged, and the networks that enlarge them."""

Paint = Callable[[Tensor], Tensor]


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--photos", type=path_argument, help="folder of photographs, which is needed; 4 to a row")
    parser.add_argument("--enlarged", type=int, default=4, help="how many of them, the first, are also enlarged")
    parser.add_argument("--out", type=path_argument, default=Path("docs/gallery"), help="folder of the pictures")
    parser.add_argument("--side", type=int, default=640, help="their shorter side when they are painted; half is shown")
    parser.add_argument(
        "--store",
        type=store_location,
        default=Path("models"),
        help="model store, a folder or a URL, before the shipped networks",
    )
    parser.add_argument("--styles", nargs="*", help="NAME or NAME@VERSION (default: the shipped styles)")


def run(chosen: Namespace) -> Tables:
    """Write photographs.webp, a sheet for each style, clean.webp and damaged.webp.

    Returns the figures of the enlargements. Raises BenchmarkError without --photos, DataError for a folder
    without images.
    """
    if not chosen.photos:
        raise BenchmarkError("--photos: name a folder of photographs that may be published")
    files = image_files(chosen.photos, "--photos")[: 1 if chosen.quick else None]
    require_folder("--out", chosen.out)
    chosen.out.mkdir(parents=True, exist_ok=True)
    shipped = ModelStore(SHIPPED_STORE)
    styles = chosen.styles or [name for name in shipped.names() if shipped.manifest(name).task == "style"]
    _save(chosen.out / "photographs.webp", painted_sheet(files, chosen.side, lambda photograph: photograph))
    for style in styles:
        network = find_model(chosen.store, style).network.eval()
        _save(chosen.out / f"{style}.webp", painted_sheet(files, chosen.side, network))
    kinds = KINDS if chosen.enlarged else ()
    return {f"Enlarged four times, {kind}": _enlargements(files[: chosen.enlarged], kind, chosen) for kind in kinds}


def painted_sheet(files: Sequence[Path], side: int, paint: Paint) -> Pixels:
    """The middle squares of what is painted of photographs, at half the size, COLUMNS to a row."""
    squares = [_middle(_painted(read_rgb(file), side, paint), side // 2) for file in files]
    squares += [np.full_like(squares[0], 255)] * (-len(squares) % COLUMNS)
    rows = [np.concatenate(squares[first : first + COLUMNS], axis=1) for first in range(0, len(squares), COLUMNS)]
    return np.concatenate(rows)


def _painted(photograph: Pixels, side: int, paint: Paint) -> Pixels:
    """At a shorter side of `side`, shown at half of it; a photograph that is smaller is enlarged first."""
    factor = side / min(photograph.shape[:2])
    sides = (round(photograph.shape[1] * factor), round(photograph.shape[0] * factor))
    resized = Image.fromarray(photograph).resize(sides, Image.Resampling.LANCZOS)
    painting = Image.fromarray(_answer(paint, np.asarray(resized)))
    return np.asarray(painting.resize((sides[0] // 2, sides[1] // 2), Image.Resampling.LANCZOS))


def _enlargements(files: Sequence[Path], kind: str, chosen: Namespace) -> list[Row]:
    """Write the sheet of a kind, a row for each photograph; returns the mean figures of each method."""
    reduce, networks = KINDS[kind]
    methods: dict[str, Enlarge] = {"bicubic": bicubic(4)}
    methods |= {name: find_model(chosen.store, name).network.eval() for name in networks}
    rows, scores = [], {name: list[tuple[float, float]]() for name in methods}
    for index, file in enumerate(files):
        sharp = _whole(read_rgb(file), 4)
        small = reduce(sharp, 4, np.random.default_rng(index))
        answers = {name: _answer(method, small) for name, method in methods.items()}
        for name, answer in answers.items():
            scores[name].append(_figures(answer, sharp))
        rows.append(np.concatenate([_middle(image, chosen.side // 2) for image in (*answers.values(), sharp)], axis=1))
    _save(chosen.out / f"{kind}.webp", np.concatenate(rows))
    return [
        {"method": name} | {"PSNR-Y": f"{fmean(of):.2f}", "SSIM": f"{fmean(also):.3f}"}
        for name, (of, also) in ((name, zip(*found, strict=True)) for name, found in scores.items())
    ]


def _answer(network: Callable[[Tensor], Tensor], pixels: Pixels) -> Pixels:
    """What a network makes of an image, as the service gives it: rounded to 8 bits."""
    with torch.inference_mode():
        made = network(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)
    result: NDArray[np.uint8] = (made[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return result


def _figures(answer: Pixels, sharp: Pixels) -> tuple[float, float]:
    """PSNR of luma in dB, and SSIM, without a border of four pixels."""
    one, other = (
        luma(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)[..., 4:-4, 4:-4]
        for pixels in (answer, sharp)
    )
    return psnr(one, other), ssim(one, other)


def _whole(pixels: Pixels, scale: int) -> Pixels:
    """Without the last rows and columns, so that the sides are multiples of the scale."""
    height, width = (side - side % scale for side in pixels.shape[:2])
    return pixels[:height, :width]


def _middle(pixels: Pixels, side: int) -> Pixels:
    """The square in the middle; what a smaller image lacks is white."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    part = pixels[top : top + side, left : left + side]
    square = np.full((side, side, 3), 255, np.uint8)
    square[: part.shape[0], : part.shape[1]] = part
    return square


def _save(path: Path, pixels: Pixels) -> None:
    Image.fromarray(pixels).save(path, "WEBP", quality=QUALITY, method=6)
