from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from model_store import StoreError
from trainer.session import Session


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
    session = Session(recorders=[record])
    session.begin(3, 10)
    session.advance(4)
    session.log(4, {"content": 0.5})
    session.preview(4, torch.zeros(3, 2, 1))
    assert record.seen == [("begin", 3), (4, {"content": 0.5}), (4, (3, 2, 1))]


def test_status_tells_step_speed_and_time_left() -> None:
    times = iter([0.0, 0.0, 20.0])
    session = Session(clock=lambda: next(times))
    session.begin(0, 30)
    session.log(0, {})
    session.advance(10)
    session.log(10, {})
    status = session.status
    assert (status.phase, status.step, status.steps) == ("training", 10, 30)
    assert (status.seconds_per_step, status.seconds_left) == (2.0, 40.0)
    assert status.message == status.published == ""


def test_weights_are_published_once_for_a_request() -> None:
    published: list[str] = []
    wanted: list[bool] = []

    def publish() -> str:
        assert session.status.phase == "publishing"
        published.append("wave@1")
        return "wave@1"

    session = Session(publish)
    session.begin(0, 10)
    session.saved()
    session.request_publish()
    wanted.append(session.wants_state)
    assert session.status.phase == "publishing"
    session.advance(1200)
    session.saved()
    session.saved()
    assert published == ["wave@1"]
    wanted.append(session.wants_state)
    assert wanted == [True, False]
    status = session.status
    assert (status.phase, status.published) == ("training", "wave@1")
    assert status.message == "published wave@1 after step 1,200"


@pytest.mark.parametrize("error", [StoreError("wave: no room"), MemoryError("no room")])
def test_weights_that_cannot_be_published_are_told_and_the_training_goes_on(error: Exception) -> None:
    def publish() -> str:
        raise error

    session = Session(publish)
    session.request_publish()
    session.saved()
    status = session.status
    assert status.phase == "training"
    assert status.message.startswith("not published: ")
    assert "no room" in status.message


def test_a_request_to_stop_wants_the_state_and_the_end_has_a_message() -> None:
    session = Session()
    session.request_stop()
    assert session.wants_state
    assert session.status.phase == "stopping"
    session.end("interrupted at step 5")
    assert (session.status.phase, session.status.message) == ("ended", "interrupted at step 5")
