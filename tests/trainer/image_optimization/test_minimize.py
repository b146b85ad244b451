import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer.errors import Interrupted
from trainer.image_optimization.gatys import noise
from trainer.image_optimization.minimize import OptimizationConfig, minimize
from trainer.run_folder import Run


def test_an_interrupted_run_goes_on_exactly_where_it_stopped(tmp_path: Path) -> None:
    target = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    calls = 0

    def objective(image: Tensor) -> dict[str, Tensor]:
        return {"distance": ((image - target).abs() ** 3).sum()}

    def interrupting(image: Tensor) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return objective(image)

    config = OptimizationConfig(steps=10, save_every=100)
    begin = noise(target, 0)
    with pytest.raises(Interrupted, match="interrupted at step"):
        minimize(config, interrupting, begin, Run(tmp_path / "parts"), "f", resume=False)
    assert 0 < Run(tmp_path / "parts").load()["step"] < 10
    resumed = minimize(config, objective, begin, Run(tmp_path / "parts"), "f", resume=True)
    whole = minimize(config, objective, begin, Run(tmp_path / "whole"), "f", resume=False)
    assert torch.equal(resumed.image, whole.image)
    assert (tmp_path / "parts/objective.csv").read_text() == (tmp_path / "whole/objective.csv").read_text()


def test_a_run_ends_where_nothing_lower_is_found(tmp_path: Path) -> None:
    target = torch.full((1, 3, 4, 4), 0.25)
    run = Run(tmp_path / "run")
    config = OptimizationConfig(steps=50)
    point = minimize(
        config, lambda image: {"d": (image - target).square().sum()}, noise(target, 0), run, "", resume=False
    )
    assert torch.allclose(point.image, target, atol=1e-3)
    assert len(run.metrics_file.read_text().splitlines()) < 51
