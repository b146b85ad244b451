"""python -m trainer style | super-resolution | publish | evaluate: train networks, publish them, measure them."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from model_store import Manifest, StoreError
from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.errors import Interrupted, RunError, TrainerError
from trainer.evaluate import bicubic, evaluate
from trainer.hardware import Hardware
from trainer.models import find_model
from trainer.run import Run
from trainer.tasks import build
from trainer.train import publish, train

COMMANDS: dict[str, type[TrainConfig]] = {"style": StyleConfig, "super-resolution": SuperResolutionConfig}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 with a message on stderr, 130 when interrupted."""
    options = vars(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
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
    config = config_type.model_validate({name: value for name, value in options.items() if value is not None})
    run = Run(config.folder)
    task = build(config, Hardware.of(config.device, config.precision, config.threads))
    train(task, config, run, resume=resume)
    return publish(task, config, run.load())


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
    return "\n".join(f"{row:24} {s['psnr']:6.2f} dB  SSIM {s['ssim']:.4f}" for row, s in rows.items())


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
        sub = commands.add_parser(name, help=config_type.__doc__)
        for field, info in config_type.model_fields.items():
            default = "" if info.default in (PydanticUndefined, None, "") else f" (default: {info.default})"
            flag = f"--{field.replace('_', '-')}"
            sub.add_argument(flag, required=info.is_required(), help=f"{info.description}{default}", metavar="…")
        sub.add_argument("--resume", action="store_true", help="go on with the run of this folder")
    sub = commands.add_parser("publish", help="publish the saved state of a run, finished or not")
    sub.add_argument("--run", type=Path, required=True, help="folder of the run, such as runs/wave")
    sub = commands.add_parser("evaluate", help="PSNR and SSIM of a super-resolution network, beside bicubic's")
    sub.add_argument("--model", required=True, help="NAME or NAME@VERSION")
    sub.add_argument("--images", type=Path, required=True, help="folder of high-resolution images, such as Set5")
    sub.add_argument("--store", type=Path, default=Path("models"), help="model store (default: models)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
