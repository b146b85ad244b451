"""Figures 8 and 9: PSNR and SSIM of super-resolution networks and of bicubic enlargement, beside the paper's."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from torch import Tensor
from tqdm import tqdm

from trainer.config import DEFAULT_STORE, Device, StoreToRead, Threads
from trainer.data import image_names, read_image
from trainer.errors import TrainerError
from trainer.evaluate import Enlarge, bicubic, evaluation_images, reduce_and_enlarge, score_image, sharp_image
from trainer.hardware import Hardware
from trainer.paper.published import SET5_BICUBIC, SUPER_RESOLUTION, SUSPECTED_TYPOS, Score
from trainer.paper.report import Report, Row, TableConfig, command
from trainer.pictures import labelled_row
from trainer.run_folder import png
from trainer.stored_models import find_upscaler

BICUBIC = "bicubic"

CROP_SIDE = 128
"""Side in pixels of the middle square that the figure shows, enlarged twice."""


class SuperResolutionTableConfig(TableConfig):
    """The options of `paper super-resolution`."""

    sets: tuple[Path, ...] = Field(description="folders of sharp images, named as the sets: Set5 Set14 BSD100")
    models: tuple[str, ...] = Field(("x4",), description="networks: NAME or NAME@VERSION")
    scales: tuple[Annotated[int, Field(ge=2, le=16)], ...] = Field(
        (4, 8), description="scales of the tables; each network is in that of its own"
    )
    store: StoreToRead = DEFAULT_STORE
    picture: Path | None = Field(None, description="image whose middle the figure shows (default: the sets' first)")
    device: Device = "auto"
    threads: Threads = 0

    @model_validator(mode="after")
    def _check_sets(self) -> Self:
        for name, count in Counter(folder.name for folder in self.sets).items():
            if count > 1:
                raise ValueError(f"--sets has several folders named {name}; each set is known by its folder's name")
        return self


Scores = Mapping[str, Mapping[str, Mapping[str, Score]]]
"""Method → set → image → score."""


def super_resolution(config: SuperResolutionTableConfig) -> str:
    """Measure, write the report into `config.out` and return it.

    Raises TrainerError for a network of a scale that is not asked for, DataError for a set that cannot be used.
    """
    hardware = Hardware.of(config.device, "fp32", config.threads)
    methods = {scale: _methods(config, scale, hardware) for scale in config.scales}
    files = [evaluation_images(folder, max(config.scales), "--sets") for folder in config.sets]
    picture = config.picture or files[0][0]
    read_image(picture)
    found = {scale: _scores(config, scale, methods[scale], hardware) for scale in config.scales}
    report = Report(
        "super-resolution",
        "Figures 8 and 9: super-resolution",
        command("super-resolution", config),
        {f"×{scale}, PSNR in dB / SSIM (dB above bicubic)": list(_table(scale, found[scale])) for scale in found},
        {"super-resolution": list(_data(found))},
        {f"super-resolution-x{scale}": _figure(picture, scale, methods[scale], hardware) for scale in found},
        [protocol_note(found), *(note for scale in found for note in SUSPECTED_TYPOS.get(scale, ()))],
    )
    return report.save(config.out)


def _methods(config: SuperResolutionTableConfig, scale: int, hardware: Hardware) -> Mapping[str, Enlarge]:
    """Bicubic enlargement and the networks of a scale, by label."""
    methods: dict[str, Enlarge] = {BICUBIC: bicubic(scale)}
    for reference in config.models:
        stored = find_upscaler(config.store, reference, "--models")
        if stored.manifest.scale not in config.scales:
            raise TrainerError(f"{reference} enlarges ×{stored.manifest.scale}, which --scales does not have")
        if stored.manifest.scale == scale:
            hardware.place(stored.network)
            methods[stored.manifest.label] = stored.network
    return methods


def _scores(
    config: SuperResolutionTableConfig, scale: int, methods: Mapping[str, Enlarge], hardware: Hardware
) -> Scores:
    found: dict[str, dict[str, dict[str, Score]]] = {name: {} for name in methods}
    for folder in config.sets:
        files = evaluation_images(folder, scale, "--sets")
        images = zip(image_names(files, folder), files, strict=True)
        for image, path in tqdm(images, f"{folder.name} ×{scale}", total=len(files), unit="image"):
            sharp = sharp_image(path, scale).to(hardware.device)
            for name, enlarge in methods.items():
                score = score_image(enlarge, sharp, scale)
                found[name].setdefault(folder.name, {})[image] = (score["psnr"], score["ssim"])
    return found


def mean_score(scored: Mapping[str, Score]) -> Score:
    """The mean PSNR and the mean SSIM over the images of a set."""
    psnr, ssim = (sum(values) / len(values) for values in zip(*scored.values(), strict=True))
    return psnr, ssim


def _table(scale: int, found: Scores) -> Iterator[Row]:
    """A row for each method, then the paper's rows; in brackets the difference in dB to bicubic of the same source."""
    ours = {name: {title: mean_score(images) for title, images in sets.items()} for name, sets in found.items()}
    for name, sets in ours.items():
        yield {"method": name, **{title: _cell(score, ours[BICUBIC][title]) for title, score in sets.items()}}
    paper = SUPER_RESOLUTION.get(scale, {})
    for name, published in paper.items():
        base = paper[BICUBIC]
        shared = {
            title: _cell(published[title], base[title]) if title in published else None for title in found[BICUBIC]
        }
        yield {"method": f"paper: {name}", **shared}


def _cell(score: Score, base: Score) -> str:
    difference = "" if score == base else f" ({score[0] - base[0]:+.2f})"
    return f"{score[0]:.2f} / {score[1]:.4f}{difference}"


def _data(found: Mapping[int, Scores]) -> Iterator[Row]:
    for scale, methods in found.items():
        for method, sets in methods.items():
            for title, images in sets.items():
                for image, (psnr, ssim) in images.items():
                    yield {"scale": scale, "method": method, "set": title, "image": image, "psnr": psnr, "ssim": ssim}


def protocol_note(found: Mapping[int, Scores]) -> str:
    """A note that compares bicubic enlargement of Set5 ×4 with its known scores, to check the protocol."""
    if 4 not in found or "Set5" not in found[4][BICUBIC]:
        return "Without Set5 at ×4 there is nothing to anchor the protocol on: bicubic has 28.43 dB and 0.8113 there."
    expected, (psnr, ssim) = SET5_BICUBIC["Set5"], mean_score(found[4][BICUBIC]["Set5"])
    holds = (round(psnr, 2), round(ssim, 4)) == expected
    verdict = (
        "as it should" if holds else f"where {expected[0]} and {expected[1]} are expected: another set or protocol"
    )
    return f"Bicubic enlargement of Set5 ×4 has {psnr:.2f} dB and SSIM {ssim:.4f}, {verdict}."


def _figure(picture: Path, scale: int, methods: Mapping[str, Enlarge], hardware: Hardware) -> bytes:
    """The middle of an image and of its reconstruction by each method, as a PNG file."""
    sharp = sharp_image(picture, scale).to(hardware.device)
    row = [("original", _centre_crop(sharp))]
    for name, enlarge in methods.items():
        score = score_image(enlarge, sharp, scale)
        label = f"{name} {score['psnr']:.2f} / {score['ssim']:.4f}"
        row.append((label, _centre_crop(reduce_and_enlarge(enlarge, sharp, scale))))
    return png(labelled_row(row, 2 * CROP_SIDE))


def _centre_crop(image: Tensor) -> Tensor:
    """The middle square (3, S, S) of an image (1, 3, H, W), S at most CROP_SIDE."""
    side = min(CROP_SIDE, *image.shape[-2:])
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[0, :, top : top + side, left : left + side]
