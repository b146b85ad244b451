"""`enlarge`: PSNR, SSIM and LPIPS of enlarging networks on clean photographs and on damaged ones."""

import io
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.errors import BenchmarkError
from benchmarks.lpips import Lpips
from benchmarks.report import Row, Tables
from model_store.command_parser import path_argument
from model_store.main import store_location
from service.imaging.codecs import inspect
from service.imaging.damage import Fault
from service.imaging.workers.image_tasks import assess_image
from trainer.data import Pixels, image_files, read_rgb
from trainer.degradation import blurred, gaussian_kernel, resized, through_jpeg, with_gaussian_noise
from trainer.evaluate import Enlarge, bicubic, luma, psnr, sharp_image, ssim
from trainer.hardware import Hardware
from trainer.outputs import require_folder
from trainer.run_folder import png
from trainer.stored_models import find_model
from trainer.teacher import load_teacher_file

Reduce = Callable[[Pixels, int, np.random.Generator], Pixels]
"""A photograph, the scale and a random generator → the small image."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--images", type=path_argument, nargs="+", help="folders of photographs, which are needed")
    parser.add_argument("--every", type=int, default=1, help="take every N-th photograph of each folder")
    parser.add_argument("--models", nargs="+", default=["x4"], help="NAME or NAME@VERSION, all of one scale")
    parser.add_argument("--store", type=store_location, default=Path("models"), help="model store: a folder or a URL")
    parser.add_argument(
        "--teacher", type=path_argument, nargs="*", default=[], help="also safetensors that spandrel knows"
    )
    parser.add_argument("--lpips", type=path_argument, help="safetensors of SqueezeNet with LPIPS's lin0 … lin6")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--pictures", type=path_argument, help="folder for the enlarged photographs")


def run(chosen: Namespace) -> Tables:
    """Enlarge every photograph, clean and damaged, by every method. Raises BenchmarkError without photographs."""
    if not chosen.images:
        raise BenchmarkError("--images: name folders of photographs that the networks were not trained on")
    files = [file for folder in chosen.images for file in image_files(folder, "--images")[:: chosen.every]]
    files = files[:1] if chosen.quick else files
    if chosen.pictures:
        require_folder("--pictures", chosen.pictures)
    scale = find_model(chosen.store, chosen.models[0]).manifest.scale
    methods = dict(_methods(chosen, scale))
    lpips = Lpips(chosen.lpips) if chosen.lpips else None
    tables = {
        title: _table(files, scale, methods, reduce, lpips, chosen.seed, chosen.pictures)
        for title, reduce in (("Clean", clean), ("Damaged", damaged))
    }
    return tables | {"What model=auto finds": _verdicts(files, scale, chosen.seed)}


def clean(sharp: Pixels, scale: int, _: np.random.Generator) -> Pixels:
    """Reduced bicubically."""
    height, width = (side // scale for side in sharp.shape[:2])
    return resized(sharp, (width, height), Image.Resampling.BICUBIC)


def damaged(sharp: Pixels, scale: int, rng: np.random.Generator) -> Pixels:
    """Reduced bicubically, blurred by 0.7 pixels, with noise of 3.5 to 6 levels, as a JPEG of quality 44 to 71."""
    small = blurred(clean(sharp, scale, rng), gaussian_kernel(0.7, 0.7, 0.0))
    noisy = with_gaussian_noise(small, rng.uniform(3.5, 6), rng, grey=False)
    return through_jpeg(noisy, int(rng.integers(44, 72)), "4:2:0")


def noisy(sharp: Pixels, scale: int, rng: np.random.Generator) -> Pixels:
    """Reduced bicubically, with noise of 4 to 8 levels."""
    return with_gaussian_noise(clean(sharp, scale, rng), rng.uniform(4, 8), rng, grey=False)


FILES: Mapping[str, tuple[Reduce, str, int]] = {
    "clean, PNG": (clean, "PNG", 0),
    "clean, JPEG of quality 95": (clean, "JPEG", 95),
    "clean, JPEG of quality 90": (clean, "JPEG", 90),
    "damaged, JPEG of quality 60": (damaged, "JPEG", 60),
    "damaged, saved as PNG": (damaged, "PNG", 0),
    "noisy, PNG": (noisy, "PNG", 0),
}
"""Kinds of files by what is done to a photograph: the reduction, the format and its quality."""


def _verdicts(files: Sequence[Path], scale: int, seed: int) -> list[Row]:
    """How many files of each kind are found to be what."""
    rows: list[Row] = []
    for kind, (reduce, suffix, quality) in FILES.items():
        found: Counter[str] = Counter()
        for index, file in enumerate(files):
            pixels = reduce(read_rgb(file), scale, np.random.default_rng((seed, index)))
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, suffix, quality=quality)
            found[assess_image(data.getvalue(), inspect(data.getvalue())).fault.value] += 1
        rows.append({"file": kind} | {fault.value: found[fault.value] for fault in Fault})
    return rows


def _methods(chosen: Namespace, scale: int) -> Iterator[tuple[str, Enlarge]]:
    yield "bicubic", bicubic(scale)
    for reference in chosen.models:
        stored = find_model(chosen.store, reference)
        yield stored.manifest.label, stored.network.eval()
    for file in chosen.teacher:
        yield file.stem, load_teacher_file(file, scale, Hardware.of("cpu", "fp32")).answer


def _table(
    files: Sequence[Path],
    scale: int,
    methods: Mapping[str, Enlarge],
    reduce: Reduce,
    lpips: Lpips | None,
    seed: int,
    pictures: Path | None,
) -> list[Row]:
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for index, file in enumerate(files):
        sharp = sharp_image(file, scale)
        pixels = (sharp[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        low = _to_tensor(reduce(pixels, scale, np.random.default_rng((seed, index))))
        for name, enlarge in methods.items():
            enlarged = _enlarged(enlarge, low)
            scores[name].append(_score(enlarged, sharp, scale, lpips))
            if pictures:
                _save(pictures / f"{file.parent.name}-{file.stem}-{reduce.__name__}-{name}.png", enlarged)
    return [{"method": name} | _means(found) for name, found in scores.items()]


def _enlarged(enlarge: Enlarge, low: Tensor) -> Tensor:
    """As the service gives it: rounded to 8 bits."""
    with torch.inference_mode():
        return (enlarge(low).clamp(0, 1) * 255).round() / 255


def _score(enlarged: Tensor, sharp: Tensor, scale: int, lpips: Lpips | None) -> dict[str, float]:
    planes = [luma(image)[..., scale:-scale, scale:-scale] for image in (enlarged, sharp)]
    found = {"PSNR-Y": psnr(*planes), "SSIM": ssim(*planes)}
    return found | ({"LPIPS": lpips(enlarged, sharp)} if lpips else {})


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, str]:
    digits = {"PSNR-Y": 2, "SSIM": 3, "LPIPS": 3}
    return {name: f"{fmean(score[name] for score in scores):.{digits[name]}f}" for name in scores[0]}


def _save(path: Path, picture: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(picture[0]))


def _to_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
