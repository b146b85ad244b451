from pathlib import Path

import pytest
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from benchmarks import training_steps
from benchmarks.training_steps import computing_seconds, configs, rows
from tests.trainer.cpu_recorder import CpuRecorder, FailingRecorder
from tests.trainer.samples import style_config


def test_time_of_a_step_is_that_of_the_host_and_of_waiting_where_the_host_computes(tmp_path: Path) -> None:
    (row,) = rows(style_config(tmp_path), steps=4)
    assert (row["launched"], row["device ms"]) == ("one by one", None)
    parts = float(row["host ms"] or 0) + float(row["waiting for photographs ms"] or 0)
    assert 0 < parts <= float(row["ms"] or 0)
    assert float(row["crops/s"] or 0) == pytest.approx(2 * 1000 / float(row["ms"] or 0))


@pytest.mark.parametrize(
    ("recorder", "launched"), [(CpuRecorder, "as CUDA graphs"), (FailingRecorder, "one by one: graphs failed")]
)
def test_steps_whose_graphs_have_failed_are_not_taken_for_graphs(
    recorder: type[CpuRecorder], launched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_steps, "recorder_of", lambda *_, **__: recorder())
    (row,) = rows(style_config(tmp_path, precision="fp32"), steps=1)
    assert row["launched"] == launched


def test_annotations_of_kernels_are_not_counted_beside_them() -> None:
    """As torch's profiler has them for a step of an optimizer, on the device's own line."""
    spans = {"kernel": (0, 20), "copy": (30, 40), "Optimizer.step#Adam.step": (0, 40), "cudaLaunchKernel": (0, 5)}
    events = [
        FunctionEvent(
            number,
            name,
            thread=0,
            start_us=start,
            end_us=end,
            device_type=DeviceType.CPU if name.startswith("cuda") else DeviceType.CUDA,
            use_device="cuda",
            is_user_annotation=name.startswith("Optimizer"),
        )
        for number, (name, (start, end)) in enumerate(spans.items())
    ]
    assert computing_seconds(events) == pytest.approx(30e-6)


def test_a_gpu_is_measured_with_both_widths_and_tasks(tmp_path: Path) -> None:
    found = dict(configs(tmp_path, tmp_path / "painting.jpg", tmp_path / "models"))
    assert [config.batch for config in found.values()] == [4, 16, 4, 16, 16]
    assert {config.device for config in found.values()} == {"cuda"}
