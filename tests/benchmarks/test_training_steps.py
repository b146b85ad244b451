from pathlib import Path

import pytest

from benchmarks.training_steps import configs, rows
from tests.trainer.samples import style_config


def test_time_of_a_step_is_that_of_the_host_and_of_waiting_where_the_host_computes(tmp_path: Path) -> None:
    (row,) = rows(style_config(tmp_path), steps=4)
    assert (row["launched"], row["device ms"]) == ("one by one", None)
    parts = float(row["host ms"] or 0) + float(row["waiting for photographs ms"] or 0)
    assert 0 < parts <= float(row["ms"] or 0)
    assert float(row["crops/s"] or 0) == pytest.approx(2 * 1000 / float(row["ms"] or 0))


def test_a_gpu_is_measured_with_both_widths_and_tasks(tmp_path: Path) -> None:
    found = dict(configs(tmp_path, tmp_path / "painting.jpg", tmp_path / "models"))
    assert [config.batch for config in found.values()] == [4, 16, 4, 16, 16]
    assert {config.device for config in found.values()} == {"cuda"}
