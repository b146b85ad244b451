"""A training while it runs: how far it is, who else records it, and what people ask of it."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, Protocol

from torch import Tensor

from model_store.error_messages import in_words
from trainer.time_left import Progress

Phase = Literal["training", "publishing", "stopping", "ended"]

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Keeps what a training reports, beside the folder of the run."""

    def begin(self, step: int) -> None:
        """Go on after `step`; what was kept of later steps does not count any more."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of a step."""

    def preview(self, step: int, picture: Tensor) -> None:
        """Keep a picture, float RGB (3, H, W) in [0, 1]."""


@dataclass(frozen=True)
class Status:
    """The progress of a training at one moment."""

    phase: Phase
    step: int
    steps: int
    seconds_per_step: float | None
    """Median; None before the first values were logged."""
    seconds_left: float | None
    published: str
    """The name@version that was published last; empty where none was."""
    message: str
    """What happened last, for people; empty at first."""


class TrainingMonitor:
    """What the loop tells of a training and asks about it. `status` and the requests can be used from any thread."""

    def __init__(
        self,
        publish: Callable[[], str] | None = None,
        recorders: Sequence[Recorder] = (),
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """`publish` publishes the saved state and returns its name@version; without it, nothing is published early."""
        self.stop_requested = threading.Event()
        self._publish_requested = threading.Event()
        self._publish = publish
        self._recorders = recorders
        self._progress = Progress(clock)
        self._publishing = self._ended = False
        self._published = self._message = ""

    @property
    def status(self) -> Status:
        """How the training stands now."""
        progress = self._progress
        return Status(
            phase=self._phase(),
            step=progress.step,
            steps=progress.steps,
            seconds_per_step=progress.seconds_per_step,
            seconds_left=progress.seconds_left,
            published=self._published,
            message=self._message,
        )

    def request_stop(self) -> None:
        """Ask for a stop after the current step; the state is saved first."""
        self.stop_requested.set()

    def request_publish(self) -> None:
        """Ask for the weights to be published after the current step."""
        self._publish_requested.set()

    def begin(self, step: int, steps: int) -> None:
        """The training goes on after `step`, up to `steps`."""
        self._progress.begin(step, steps)
        for record in self._recorders:
            record.begin(step)

    def advance(self, step: int) -> None:
        """A step is done."""
        self._progress.advance(step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values were measured; the device has nothing left to do for the steps before."""
        self._progress.measure()
        for record in self._recorders:
            record.log(step, values)

    def preview(self, step: int, picture: Tensor) -> None:
        """A picture, float RGB (3, H, W) in [0, 1], was made."""
        for record in self._recorders:
            record.preview(step, picture)

    @property
    def wants_state(self) -> bool:
        """Whether the state should be saved now, for a request."""
        return self.stop_requested.is_set() or self._publish_requested.is_set()

    def saved(self) -> None:
        """The state was saved: publish it where that was asked for. A failure is told, and the training goes on."""
        if not self._publish_requested.is_set() or self._publish is None:
            return
        self._publishing = True
        try:
            self.note_published(self._publish())
        except Exception as error:
            self._message = f"not published: {in_words(error)}"
            log.exception("the weights of step %d could not be published; the training goes on", self._progress.step)
        finally:
            self._publishing = False
            self._publish_requested.clear()

    def note_published(self, label: str) -> None:
        """The saved state was published as name@version."""
        self._published = label
        self._message = f"published {label} after step {self._progress.step:,}"

    def end(self, message: str) -> None:
        """The training has ended, as the message says."""
        self._message = message
        self._ended = True

    def _phase(self) -> Phase:
        if self._ended:
            return "ended"
        if self._publishing or self._publish_requested.is_set():
            return "publishing"
        return "stopping" if self.stop_requested.is_set() else "training"
