from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from model_store import StoreError
from trainer.monitor import TrainingMonitor


class Recorded:
    """A record in memory."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def begin(self, step: int) -> None:
        self.seen.append(("begin", step))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.seen.append((step, dict(values)))

    def preview(self, step: int, picture: Tensor) -> None:
        self.seen.append((step, tuple(picture.shape)))


def test_records_get_what_the_loop_reports() -> None:
    record = Recorded()
    monitor = TrainingMonitor(recorders=[record])
    monitor.begin(3, 10)
    monitor.advance(4)
    monitor.log(4, {"content": 0.5})
    monitor.preview(4, torch.zeros(3, 2, 1))
    assert record.seen == [("begin", 3), (4, {"content": 0.5}), (4, (3, 2, 1))]


def test_status_tells_step_speed_and_time_left() -> None:
    times = iter([0.0, 0.0, 20.0])
    monitor = TrainingMonitor(clock=lambda: next(times))
    monitor.begin(0, 30)
    monitor.log(0, {})
    monitor.advance(10)
    monitor.log(10, {})
    status = monitor.status
    assert (status.phase, status.step, status.steps) == ("training", 10, 30)
    assert (status.seconds_per_step, status.seconds_left) == (2.0, 40.0)
    assert status.message == status.published == ""


def test_weights_are_published_once_for_a_request() -> None:
    published: list[str] = []
    wanted: list[bool] = []

    def publish() -> str:
        assert monitor.status.phase == "publishing"
        published.append("wave@1")
        return "wave@1"

    monitor = TrainingMonitor(publish)
    monitor.begin(0, 10)
    monitor.saved()
    monitor.request_publish()
    wanted.append(monitor.wants_state)
    assert monitor.status.phase == "publishing"
    monitor.advance(1200)
    monitor.saved()
    monitor.saved()
    assert published == ["wave@1"]
    wanted.append(monitor.wants_state)
    assert wanted == [True, False]
    status = monitor.status
    assert (status.phase, status.published) == ("training", "wave@1")
    assert status.message == "published wave@1 after step 1,200"


@pytest.mark.parametrize("error", [StoreError("wave: no room"), MemoryError("no room")])
def test_weights_that_cannot_be_published_are_told_and_the_training_goes_on(error: Exception) -> None:
    def publish() -> str:
        raise error

    monitor = TrainingMonitor(publish)
    monitor.request_publish()
    monitor.saved()
    status = monitor.status
    assert status.phase == "training"
    assert status.message.startswith("not published: ")
    assert "no room" in status.message


def test_a_request_to_stop_wants_the_state_and_the_end_has_a_message() -> None:
    monitor = TrainingMonitor()
    monitor.request_stop()
    assert monitor.wants_state
    assert monitor.status.phase == "stopping"
    monitor.end("interrupted at step 5")
    assert (monitor.status.phase, monitor.status.message) == ("ended", "interrupted at step 5")
