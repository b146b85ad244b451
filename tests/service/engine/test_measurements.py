import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch

from model_store import LayerForm
from service.engine.calibration import Calibration
from service.engine.measurements import Measurements
from tests.networks import NARROW_UPSCALE_4, network

CALIBRATION = Calibration(
    batches=((100, 0.1), (400, 0.25)), exclusive_seconds=0.2, batch_sizes=(((32, 32), 4), ((64, 48), 2))
)
FORMS = {0: LayerForm.PADDED, 7: LayerForm.BLOCKED_4}


def never() -> None:
    raise AssertionError("it is known")


def test_networks_of_one_architecture_are_measured_once() -> None:
    known, measured = Measurements(), list[str]()

    def measure() -> Calibration:
        measured.append("")
        return CALIBRATION

    def calibrations(seed: int, architecture: str = "", precision: torch.dtype = torch.float32) -> None:
        subject = (network(architecture, seed=seed) if architecture else network(seed=seed)).to(precision)
        for sample, engine in ((np.uint8, "torch"), (np.uint8, "openvino"), (np.uint16, "torch")):
            assert known.calibration(subject, sample, engine, measure) == CALIBRATION

    for seed in range(2):
        calibrations(seed)
    assert len(measured) == 3
    calibrations(0, NARROW_UPSCALE_4)
    calibrations(0, precision=torch.bfloat16)
    assert len(measured) == 9


def test_what_was_not_measured_to_its_end_is_measured_again(tmp_path: Path) -> None:
    def fail() -> Calibration:
        raise MemoryError

    for known in (Measurements(), Measurements(tmp_path / "measurements.json")):
        with pytest.raises(MemoryError):
            known.calibration(network(), np.uint8, "torch", fail)
        assert known.calibration(network(), np.uint8, "torch", lambda: CALIBRATION) == CALIBRATION


def test_another_process_finds_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "measurements.json"
    one, other, subject = Measurements(file), Measurements(file), network()
    one.forms(subject, torch.float16, lambda: FORMS)
    one.calibration(subject, np.uint8, "torch", lambda: CALIBRATION)
    other.precision(subject, lambda: torch.bfloat16)
    assert other.forms(subject, torch.float16, never) == FORMS  # type: ignore[arg-type]
    assert other.forms(subject, torch.float32, dict) == {}
    assert one.precision(subject, never) == torch.bfloat16  # type: ignore[arg-type]
    found = other.calibration(subject, np.uint8, "torch", never)  # type: ignore[arg-type]
    assert found == CALIBRATION
    assert found.fixed_batches == {(32, 32): 4, (64, 48): 2}
    assert set(json.loads(file.read_text())) == {"forms", "precisions", "calibrations"}


def test_a_measurement_may_need_others(tmp_path: Path) -> None:
    known, subject = Measurements(tmp_path / "measurements.json"), network()

    def measure() -> torch.dtype:
        for precision in (torch.float16, torch.bfloat16):
            known.forms(subject, precision, lambda: FORMS)
            known.calibration(network().to(precision), np.uint8, "torch", lambda: CALIBRATION)
        return torch.float16

    assert known.precision(subject, measure) == torch.float16
    again = Measurements(tmp_path / "measurements.json")
    assert again.forms(subject, torch.bfloat16, never) == FORMS  # type: ignore[arg-type]


def in_turn(file: Path, measure: Callable[[], Calibration]) -> Calibration:
    return Measurements(file).calibration(network(), np.uint8, "torch", measure)


def test_only_one_process_measures_at_a_time(tmp_path: Path) -> None:
    file, measuring, may_end = tmp_path / "measurements.json", Event(), Event()

    def slowly() -> Calibration:
        measuring.set()
        assert may_end.wait(60)
        return CALIBRATION

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(in_turn, file, slowly)
        assert measuring.wait(60)
        second = threads.submit(in_turn, file, never)  # type: ignore[arg-type]
        time.sleep(0.2)
        assert not second.done()
        may_end.set()
        assert first.result() == second.result() == CALIBRATION


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("measuring", flush=True)
sys.stdin.read()
"""


def test_a_process_that_is_killed_while_it_measures_holds_up_nobody(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "measurements.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "measuring\n"
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(in_turn, tmp_path / "measurements.json", lambda: CALIBRATION)
            time.sleep(0.2)
            assert not waiting.done()
            process.kill()
            assert waiting.result() == CALIBRATION
