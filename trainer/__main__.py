"""python -m trainer style | super-resolution | publish | evaluate | judge | optimize | invert | paper: train networks,
publish and measure them; paint by optimisation instead; rerun the paper."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from model_store import Manifest, StoreError
from model_store.allocator import keep_memory
from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.errors import Interrupted, RunError, TrainerError
from trainer.evaluate import bicubic, evaluate
from trainer.hardware import Hardware
from trainer.inversion import InvertConfig, invert
from trainer.judgement import Judge, shown
from trainer.loss_network import load_loss_network
from trainer.models import find_model
from trainer.objective import StyleWeights
from trainer.optimize import Minimisation, OptimizeConfig, optimize
from trainer.paper import TABLES
from trainer.run import Run
from trainer.tasks import build
from trainer.train import publish, train

Config = TypeVar("Config", bound=BaseModel)

COMMANDS: dict[str, type[TrainConfig]] = {"style": StyleConfig, "super-resolution": SuperResolutionConfig}

IMAGES: dict[str, tuple[type[BaseModel], Callable[..., str]]] = {
    "optimize": (OptimizeConfig, optimize),
    "invert": (InvertConfig, invert),
}
"""What is done by optimisation: the options, and what does it."""


WEIGHTS = ("content_weight", "style_weight", "tv_weight")
"""Those of equation 5 that `judge` takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 with a message on stderr, 130 when interrupted."""
    options = vars(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    keep_memory()
    try:
        print(_run(options))
    except (Interrupted, KeyboardInterrupt) as error:
        print(str(error) or "interrupted", file=sys.stderr)
        return 130
    except (TrainerError, StoreError, ValidationError, OSError) as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        return 1
    return 0


def _run(options: dict[str, Any]) -> str:
    match options["command"]:
        case "publish":
            return _published(_publish(options["run"]))
        case "evaluate":
            return _evaluate(options["store"], options["model"], options["images"])
        case "judge":
            return _judge(options)
        case "optimize" | "invert":
            return _reproduced(*IMAGES[options.pop("command")], options)
        case "paper":
            del options["command"]
            return _reproduced(*TABLES[options.pop("table")], options)
    return _published(_train(options))


def _published(manifest: Manifest) -> str:
    return f"published {manifest.label} ({manifest.digest})"


def _train(options: dict[str, Any]) -> Manifest:
    config_type = COMMANDS[options.pop("command")]
    resume = options.pop("resume")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainerError(
            "one process trains a network; start it without torchrun, and several styles on several GPUs"
        )
    config = _config(config_type, options)
    run = Run(config.folder)
    task = build(config, Hardware.of(config.device, config.precision, config.threads))
    train(task, config, run, resume=resume)
    return publish(task, config, run.load())


def _reproduced(config_type: type[BaseModel], carry_out: Callable[..., str], options: dict[str, Any]) -> str:
    """Carry out a command with its options, and with `resume` where it takes that."""
    given = {"resume": options.pop("resume")} if "resume" in options else {}
    return carry_out(_config(config_type, options), **given)


def _config(config_type: type[Config], options: dict[str, Any]) -> Config:
    return config_type.model_validate({name: value for name, value in options.items() if value is not None})


def _publish(folder: Path) -> Manifest:
    """Publish the saved state of a run, finished or not."""
    run = Run(folder)
    if not run.config_file.exists():
        raise RunError(f"{folder} holds no run; --run takes the folder of one, such as runs/wave")
    fields = json.loads(run.config_file.read_text())
    config_type = StyleConfig if "style_image" in fields else SuperResolutionConfig
    config = config_type.model_validate(fields)
    return publish(build(config, Hardware.of(config.device, config.precision, config.threads)), config, run.load())


def _evaluate(store: Path, model: str, images: Path) -> str:
    """PSNR and SSIM of a stored network and of bicubic enlargement."""
    stored = find_model(store, model)
    scale = stored.manifest.scale
    rows = {stored.manifest.label: evaluate(stored.network, images, scale)}
    rows["bicubic"] = evaluate(bicubic(scale), images, scale)
    return "\n".join(f"{row:24} {_scored(scores)}" for row, scores in rows.items())


def _scored(scores: Mapping[str, float]) -> str:
    grid = f"  grid {scores['grid']:+.1f} dB" if "grid" in scores else ""
    return f"{scores['psnr']:6.2f} dB  SSIM {scores['ssim']:.4f}{grid}"


def _judge(options: dict[str, Any]) -> str:
    """The objective of stored style networks on a folder of photographs, one line each."""
    network = load_loss_network(options["loss_network"])
    weights = StyleWeights.model_validate({name: options[name] for name in WEIGHTS})
    judge = Judge(network, options["style_image"], options["style_size"], weights)
    lines = []
    for reference in options["models"]:
        stored = find_model(options["store"], reference)
        for side in options["sizes"]:
            terms = judge.mean(stored.network, options["images"], side)
            lines.append(f"{stored.manifest.label:24} {side:5} px  {shown(terms)}")
    return "\n".join(lines)


def _message(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(_complaint(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors())


def _complaint(option: str, message: str) -> str:
    return f"--{option.replace('_', '-')}: {message.removeprefix('Value error, ')}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pastiche-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, config_type in COMMANDS.items():
        _options(commands.add_parser(name, help=config_type.__doc__), config_type)
    sub = commands.add_parser("publish", help="publish the saved state of a run, finished or not")
    sub.add_argument("--run", type=Path, required=True, help="folder of the run, such as runs/wave")
    sub = commands.add_parser("evaluate", help="PSNR, SSIM and grid of a super-resolution network, beside bicubic's")
    sub.add_argument("--model", required=True, help="NAME or NAME@VERSION")
    sub.add_argument("--images", type=Path, required=True, help="folder of high-resolution images, such as Set5")
    sub.add_argument("--store", type=Path, default=Path("models"), help="model store (default: models)")
    sub = commands.add_parser("judge", help="the objective of style networks on photographs that they have not seen")
    sub.add_argument("--models", nargs="+", required=True, help="NAME or NAME@VERSION")
    sub.add_argument("--images", type=Path, required=True, help="folder of photographs")
    sub.add_argument("--style-image", type=Path, required=True, help="the painting")
    sub.add_argument("--style-size", type=int, default=512, help="its longer side (default: 512)")
    sub.add_argument("--sizes", type=int, nargs="+", default=[512], help="longer sides of the photographs (512)")
    sub.add_argument("--loss-network", default="torchvision", help="torchvision or a safetensors file")
    for name in WEIGHTS:
        field = StyleWeights.model_fields[name]
        text = f"{field.description} (default: {field.default:g})"
        sub.add_argument(f"--{name.replace('_', '-')}", default=field.default, help=text)
    sub.add_argument("--store", type=Path, default=Path("models"), help="model store (default: models)")
    for name, (options, _) in IMAGES.items():
        _options(commands.add_parser(name, help=options.__doc__), options)
    sub = commands.add_parser("paper", help="rerun the paper's tables and figures: Markdown, CSV and PNG")
    tables = sub.add_subparsers(dest="table", required=True, metavar="TABLE")
    for name, (options, _) in TABLES.items():
        _options(tables.add_parser(name, help=options.__doc__), options)
    return parser


def _options(parser: argparse.ArgumentParser, config_type: type[BaseModel]) -> None:
    """An option for each field; one that takes several values has them one after another."""
    for field, info in config_type.model_fields.items():
        several = get_origin(info.annotation) is tuple
        parser.add_argument(
            f"--{field.replace('_', '-')}",
            required=info.is_required(),
            help=f"{info.description}{_default(info.default)}".replace("%", "%%"),
            metavar="…",
            nargs="+" if several else None,
        )
    if issubclass(config_type, TrainConfig | Minimisation):
        parser.add_argument("--resume", action="store_true", help="go on with the run of this folder")


def _default(value: Any) -> str:
    if value in (PydanticUndefined, None, "", ()):
        return ""
    return f" (default: {' '.join(map(str, value)) if isinstance(value, tuple) else value})"


if __name__ == "__main__":
    sys.exit(main())
