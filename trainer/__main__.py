"""python -m trainer style | super-resolution | publish: train a network and publish it into the model store."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from model_store import Manifest, StoreError
from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.errors import RunError, TrainerError
from trainer.hardware import Hardware
from trainer.run import Run
from trainer.tasks import build
from trainer.train import publish, train

COMMANDS: dict[str, type[TrainConfig]] = {"style": StyleConfig, "super-resolution": SuperResolutionConfig}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 with a message on stderr, 130 when interrupted (the state is saved)."""
    options = vars(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        manifest = _publish(options["run"]) if options["command"] == "publish" else _train(options)
    except (TrainerError, StoreError, ValidationError) as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the state is saved: the same command with --resume goes on", file=sys.stderr)
        return 130
    print(f"published {manifest.label} ({manifest.digest})")
    return 0


def _train(options: dict[str, Any]) -> Manifest:
    config_type = COMMANDS[options.pop("command")]
    resume = options.pop("resume")
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


def _message(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"--{'-'.join(str(part) for part in fault['loc']).replace('_', '-')}: {fault['msg']}"
        for fault in error.errors()
    )


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
    return parser


if __name__ == "__main__":
    sys.exit(main())
