"""The backlog: every inference request that is admitted and not answered yet, and how long all of it will take.

An animation has hundreds of frames of one size. Until the device has begun with them they are equal, so that one of
them stands for all: a prediction takes time for each network of each client, and for the few frames that the device has
begun with, not for all of them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from time import monotonic
from typing import Generic, NamedTuple

from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import Model


class Prediction(NamedTuple):
    """What is expected of equal inference requests, each of them; see `InferenceRequest`."""

    inferences: int
    """How many they are."""
    due: float
    deadline: float
    remaining_seconds: float
    minimum_seconds: float
    waits: bool
    """Whether it has tiles that have not started."""


class InferenceGroup(Generic[Model]):
    """The inference requests of one client for one network: one for each frame."""

    def __init__(self, requests: Sequence[InferenceRequest[Model]]) -> None:
        self._is_lone = len(requests) == 1
        """Most are; their prediction takes half the time of the general way."""
        self.unqueued = dict.fromkeys(requests)
        """Those whose images are not decoded yet."""
        self.queued: dict[InferenceRequest[Model], None] = {}
        """Those that wait for the device or are on it."""

    def predictions(self, now: float, without: Collection[InferenceRequest[Model]]) -> Iterator[Prediction]:
        """Predictions of all requests except `without`; equal ones come last, as one."""
        if self._is_lone:
            for request in self.queued or self.unqueued:
                if request not in without:
                    yield _predict(request, now, 1)
            return
        waiting = list(islice(self.unqueued, 2))
        single = [request for request in (*self.queued, *waiting[:1]) if request not in without]
        equal = [request for request in single if request.is_due_with_its_group]
        for request in single:
            if not request.is_due_with_its_group:
                yield _predict(request, now, 1)
        count = len(equal) + self._count_later(without)
        if count:
            yield _predict((equal or waiting[1:])[0], now, count)

    def _count_later(self, without: Collection[InferenceRequest[Model]]) -> int:
        """The number of unqueued requests, except the first and those in `without`."""
        first = set(islice(self.unqueued, 1))
        return len(self.unqueued) - len(first.union(request for request in without if request in self.unqueued))


class Backlog(Generic[Model]):
    """Everything that is admitted and not answered yet."""

    def __init__(
        self,
        lanes: int,
        clock: Callable[[], float] = monotonic,
        load_seconds: Callable[[Model], float] = lambda _: 0.0,
    ) -> None:
        """`lanes`: batches that run side by side; `load_seconds`: until the weights of a model are on the device."""
        self._load_seconds = load_seconds
        self.inferences: dict[InferenceRequest[Model], InferenceGroup[Model]] = {}
        self.client_requests = 0
        self.output_pixels = 0
        """Output pixels of all inference requests, to which their memory is proportional."""
        self._lanes = lanes
        self._clock = clock
        self._groups: dict[InferenceGroup[Model], None] = {}

    def use_lanes(self, lanes: int) -> None:
        """So many batches run side by side from now on."""
        self._lanes = lanes
        for request in self.inferences:
            request.lanes = lanes

    def add(self, requests: Sequence[InferenceRequest[Model]], networks: int) -> None:
        """Add the inference requests of one client, frame by frame, one for each of `networks` networks."""
        self.client_requests += 1
        self.output_pixels += _output_pixels(requests)
        for group in (InferenceGroup(requests[first::networks]) for first in range(networks)):
            self._groups[group] = None
            self.inferences |= dict.fromkeys(group.unqueued, group)

    def remove(self, requests: Sequence[InferenceRequest[Model]]) -> None:
        """Remove the inference requests of one client."""
        self.client_requests -= 1
        self.output_pixels -= _output_pixels(requests)
        for group in {self.inferences.pop(request): None for request in requests}:
            del self._groups[group]

    @contextmanager
    def queued(self, request: InferenceRequest[Model]) -> Iterator[None]:
        """For the length of the block the request waits for the device or is on it; after that it is done."""
        group = self.inferences[request]
        del group.unqueued[request]
        group.queued[request] = None
        try:
            yield
        finally:
            del group.queued[request]

    def seconds(self) -> float:
        """Predicted seconds until everything is done."""
        return sum(each.inferences * each.remaining_seconds for each in self.predictions()) / self._lanes

    def predictions(self, without: Collection[InferenceRequest[Model]] = ()) -> list[Prediction]:
        """Of everything but some inference requests, those of one client after those of another."""
        now = self._clock()
        return [prediction for group in self._groups for prediction in group.predictions(now, without)]

    def forecast(
        self,
        requests: Sequence[InferenceRequest[Model]],
        frames: int = 1,
        predictions: Sequence[Prediction] | None = None,
    ) -> tuple[float, float]:
        """Predicted seconds of what is due before a client's inference requests, and of these themselves.

        `frames`: how many there are of each; `predictions`: those of everything else, where the caller has them.
        """
        due = max(request.due() if frames == 1 else request.group_due() for request in requests)
        predictions = self.predictions(requests) if predictions is None else predictions
        ahead = sum(other.inferences * other.remaining_seconds for other in predictions if other.due <= due)
        others = len(self.inferences) - sum(request in self.inferences for request in requests)
        exclusive = not others and frames * sum(request.tile_count for request in requests) == 1
        longest = max(
            request.minimum_seconds(exclusive=exclusive) + self._load_seconds(request.model) for request in requests
        )
        shared = 0.0 if exclusive else frames * sum(request.waiting_seconds for request in requests) / self._lanes
        return ahead / self._lanes, max(longest, shared)


def _predict(request: InferenceRequest[Model], now: float, count: int) -> Prediction:
    minimum, remaining = request.minimum_seconds(), request.remaining_seconds(now)
    waits = bool(request.waiting_tiles)
    return Prediction(count, request.due_given(minimum), request.deadline.at, remaining, minimum, waits)


def _output_pixels(requests: Sequence[InferenceRequest[Model]]) -> int:
    return sum(request.spec.output_pixels for request in requests)
