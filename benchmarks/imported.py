"""`imported`: networks of other projects in Pastiche, and in spandrel, with which other programs run them."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

import pastiche
from benchmarks import photos
from benchmarks.report import Row, Tables
from benchmarks.stats import median
from model_store import ModelStore
from model_store.command_parser import path_argument
from model_store.importers.checkpoint import read_checkpoint
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from service.imaging.pixels import Pixels

Enlarge = Callable[[Pixels], Pixels]

SPREAD = 0.2
"""Standard deviation of the answers of networks with random weights, so that they are pictures and not one colour."""


@dataclass
class Seconds:
    """Of each call of one program."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--files", type=path_argument, nargs="*", help="checkpoints; by default networks with random weights"
    )
    parser.add_argument("--sizes", nargs="+", default=["256x192", "768x513"], help="WIDTHxHEIGHT of the photographs")
    parser.add_argument("--threads", type=int, default=1, help="of the processor, for either program")
    parser.add_argument("--precision", default="auto", help="of Pastiche: auto, fp32 or bf16; spandrel has fp32")
    parser.add_argument("--rounds", type=int, default=5, help="in each of which both programs run once")


def run(chosen: Namespace) -> Tables:
    """A row for each network and size."""
    if chosen.quick:
        chosen.sizes, chosen.rounds = ["33x24"], 1
    with TemporaryDirectory() as folder:
        files = chosen.files or list(_write_random(Path(folder), narrow=chosen.quick))
        rows = [row for path in files for row in _rows(path, Path(folder) / "models", chosen)]
    return {"imported networks": rows}


def _rows(path: Path, root: Path, chosen: Namespace) -> Iterator[Row]:
    name = path.stem.lower().replace("_", "-")
    manifest = import_checkpoint(ModelStore(root), path, Labels(name))
    with pastiche.load(name, stores=root, threads=chosen.threads, precision=chosen.precision) as model:
        programs: Mapping[str, Enlarge] = {"Pastiche": model, "spandrel": _by_spandrel(path, chosen.threads)}
        for size in chosen.sizes:
            width, height = map(int, size.split("x"))
            seconds, difference = _measure(programs, photos.photo(width, height, seed=9), chosen.rounds)
            ours, theirs = seconds["Pastiche"], seconds["spandrel"]
            yield {
                "network": f"{manifest.network.architecture} ×{manifest.scale}, {manifest.parameters:,} parameters",
                "size": size,
                "Pastiche s": median(ours.wall),
                "spandrel s": median(theirs.wall),
                "share of its time": median(ours.wall) / median(theirs.wall),
                "share of its processor time": median(ours.processor) / median(theirs.processor),
                "largest difference, levels": difference,
            }


def _by_spandrel(path: Path, threads: int) -> Enlarge:
    """A function from 8-bit RGB (H, W, 3) to its answer, in fp32, as spandrel loads the file."""
    from spandrel import ModelLoader  # noqa: PLC0415 - an optional extra

    described = ModelLoader(device="cpu").load_from_state_dict(dict(read_checkpoint(path).tensors))

    @torch.inference_mode()
    def enlarge(image: Pixels) -> Pixels:
        torch.set_num_threads(threads)
        output: Tensor = described(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        levels: Pixels = (output[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        return levels

    return enlarge


def _measure(programs: Mapping[str, Enlarge], image: Pixels, rounds: int) -> tuple[Mapping[str, Seconds], int]:
    """Their times in turns, after a call that is not counted, and the largest difference of their answers."""
    answers = {name: enlarge(image).astype(int) for name, enlarge in programs.items()}
    seconds = {name: Seconds() for name in programs}
    for _ in range(rounds):
        for name, enlarge in programs.items():
            began, used = time.perf_counter(), time.process_time()
            enlarge(image)
            seconds[name].wall.append(time.perf_counter() - began)
            seconds[name].processor.append(time.process_time() - used)
    return seconds, int(np.abs(answers["Pastiche"] - answers["spandrel"]).max())


def _write_random(folder: Path, *, narrow: bool) -> Iterator[Path]:
    """Compact, SPAN and an RRDB of six blocks, in the sizes in which they are used or `narrow`."""
    from spandrel.architectures.Compact import Compact  # noqa: PLC0415 - an optional extra
    from spandrel.architectures.ESRGAN import ESRGAN  # noqa: PLC0415
    from spandrel.architectures.SPAN import SPAN  # noqa: PLC0415

    torch.manual_seed(0)
    colours = {"num_in_ch": 3, "num_out_ch": 3}
    made: dict[str, nn.Module] = {
        "compact": Compact(**colours, num_feat=8 if narrow else 64, num_conv=2 if narrow else 16, upscale=2)
    }
    if not narrow:
        made["span"] = SPAN(**colours, feature_channels=48, upscale=4)
        made["rrdb"] = ESRGAN(num_blocks=6)
    for name, network in made.items():
        _spread(network.eval())
        torch.save(network.state_dict(), folder / f"{name}.pth")
        yield folder / f"{name}.pth"


@torch.no_grad()
def _spread(network: nn.Module) -> None:
    """Scale the last convolution so that the answer to a photograph has the mean 0.5 and the deviation SPREAD."""
    image = torch.from_numpy(photos.photo(48, 64, seed=1)).permute(2, 0, 1)[None].float() / 255
    deviation, mean = (value.item() for value in torch.std_mean(network(image)))
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1]
    assert last.bias is not None
    last.weight.mul_(SPREAD / deviation)
    last.bias.sub_(mean).mul_(SPREAD / deviation).add_(0.5)
