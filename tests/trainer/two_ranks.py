"""What two processes of one training do, for test_ranks.py: started as torchrun would, with a folder."""

import json
import os
import sys
from itertools import count
from pathlib import Path

import torch

from tests.trainer.samples import style_config
from trainer.config import StyleConfig
from trainer.errors import RankLost, TrainerError
from trainer.hardware import Hardware
from trainer.ranks import Ranks, joined
from trainer.run_folder import Run
from trainer.step_inputs import StepInputs
from trainer.task import build
from trainer.training_loop import train

OPTIONS = {
    "image_size": 64,
    "batch": 4,
    "zoom": 1.5,
    "zoom_from": 0.0,
    "flat_texture_weight": 100.0,
    "blotch_weight": 100.0,
    "tone_weight": 1.0,
    "schedule": "constant",
}
"""Zoomed steps have pooled Gram matrices, and 64 pixels are enough for the losses by spectra."""


def config_of(folder: Path, **options: object) -> StyleConfig:
    """A training whose losses include all statistics of batches."""
    return style_config(folder, precision="fp32", **(OPTIONS | options))


def learn(config: StyleConfig, ranks: Ranks, *, resume: bool = False) -> list[torch.Tensor]:
    """Train; returns the weights that this process ends with."""
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder), resume=resume, ranks=ranks)
    return [weight.detach() for weight in task.network.parameters()]


def refused(config: StyleConfig, ranks: Ranks) -> str:
    """The message with which a training is refused."""
    try:
        learn(config, ranks)
    except TrainerError as error:
        return str(error)
    return ""


def end_while_training(config: StyleConfig, ranks: Ranks) -> str:
    """The second process ends in the third step; the message that the first one gets."""
    task = build(config, Hardware.of("cpu", "fp32"))
    losses, steps = task.losses, count()

    def ending(inputs: StepInputs) -> dict[str, torch.Tensor]:
        if next(steps) == 2 and not ranks.is_first:
            os._exit(7)
        return losses(inputs)

    task.losses = ending  # type: ignore[method-assign]
    train(task, config, Run(config.folder), ranks=ranks)
    return ""


def main(folder: Path) -> None:
    """Everything with one pair of processes; each writes what it found."""
    torch.set_num_threads(1)
    own = folder / f"of-{os.environ['RANK']}"
    found: dict[str, object] = {}
    try:
        with joined(torch.device("cpu")) as ranks:
            # each process has folders of its own, as on two machines: only the first may write a run
            weights = learn(config_of(own / "whole"), ranks)
            learn(config_of(own / "first", steps=1), ranks)
            learn(config_of(own / "parts", steps=3), ranks)
            learn(config_of(own / "parts"), ranks, resume=True)
            found["same weights"] = ranks.from_first(lambda: [weight.tolist() for weight in weights]) == [
                weight.tolist() for weight in weights
            ]
            found["any"] = [ranks.any(not ranks.is_first), ranks.any(False)]
            found["indivisible"] = refused(config_of(own / "odd", batch=3), ranks)
            end_while_training(config_of(own / "lost", save_every=2), ranks)
    except RankLost as error:
        found["lost"] = str(error)
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
