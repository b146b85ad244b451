"""A run with metrics and previews, and what shows it."""

from pathlib import Path

import torch

from tests.trainer.samples import style_config
from trainer.config import StyleConfig
from trainer.monitor import TrainingMonitor
from trainer.run_folder import Run


def begun(folder: Path, steps: int = 20) -> tuple[StyleConfig, Run]:
    """A run with values of every second step and previews of every tenth."""
    config = style_config(folder, title="The <Wave>", steps=100)
    run = Run(config.folder)
    run.begin(config, "images", resume=False)
    for step in range(2, steps + 1, 2):
        run.log(step, {"content": 1 / step, "tv": 0.1, "discriminator": 0.7, "learning_rate": 0.001})
    for step in range(10, steps + 1, 10):
        run.preview(step, torch.rand(3, 8, 16))
    return config, run


def running(step: int = 20, steps: int = 100) -> TrainingMonitor:
    """A training after some of its steps."""
    monitor = TrainingMonitor()
    monitor.begin(0, steps)
    monitor.advance(step)
    return monitor
