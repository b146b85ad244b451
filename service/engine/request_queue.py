"""The scheduler's queue: inference requests with tiles that wait, sorted in every way in which the scheduler asks.

Every question takes time that hardly grows with the queue: a few binary searches. How urgent a request is depends on
predictions, which change with every batch. They are renewed when one of its tiles starts, and otherwise in turn, a few
at each decision, so that those of a short queue are always new.
"""

from bisect import bisect_left, insort
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic

from service.engine.admission import SAFETY_FACTOR
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import EngineModel, Model

RENEWALS = 16
"""Requests whose predictions are renewed at each decision."""

Shape = tuple[EngineModel, int, int]
"""What tiles must have in common to share a batch: the model, and height and width of their planes."""


@dataclass(frozen=True)
class Position:
    """Where a request stands in the queue."""

    arrival: int
    """How many requests came before it: of two that are equally urgent, the first goes first."""
    due: float
    latest_start: float
    """When it must have all lanes, to be done before it is given up."""
    shape: Shape
    """Of its next tile."""


SortKey = tuple[float, int, InferenceRequest[Model]]
"""A number by which a request is sorted, its arrival, which no other one has, and the request."""


class SortedRequests(Generic[Model]):
    """Inference requests in ascending order of a number of each; equal ones as they arrived."""

    def __init__(self) -> None:
        self._keys: list[SortKey[Model]] = []

    def __bool__(self) -> bool:
        return bool(self._keys)

    def add(self, key: SortKey[Model]) -> None:
        """Add a request."""
        insort(self._keys, key)

    def remove(self, number: float, arrival: int) -> None:
        """Remove the request that was added with these."""
        del self._keys[bisect_left(self._keys, (number, arrival))]

    def first(self) -> SortKey[Model] | None:
        """The key with the least number; None where there is none."""
        return self._keys[0] if self._keys else None


class RequestQueue(Generic[Model]):
    """Inference requests with tiles that wait. Requests with more tiles than `lanes` are large."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._arrivals = 0
        self._positions: OrderedDict[InferenceRequest[Model], Position] = OrderedDict()
        """Those whose predictions are oldest first."""
        self._by_size: dict[bool, SortedRequests[Model]] = {False: SortedRequests(), True: SortedRequests()}
        self._by_shape: defaultdict[Shape, SortedRequests[Model]] = defaultdict(SortedRequests)
        self._by_latest_start: SortedRequests[Model] = SortedRequests()

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[InferenceRequest[Model]]:
        return iter(self._positions)

    def __contains__(self, request: InferenceRequest[Model]) -> bool:
        return request in self._positions

    def is_large(self, request: InferenceRequest[Model]) -> bool:
        """Whether it has more tiles than there are lanes."""
        return request.tile_count > self._lanes

    def add(self, request: InferenceRequest[Model]) -> None:
        """Queue a request that has an image."""
        self._arrivals += 1
        self._insert(request, self._arrivals)

    def discard(self, request: InferenceRequest[Model]) -> None:
        """Remove a request; nothing happens where it is not queued."""
        position = self._positions.pop(request, None)
        if position is None:
            return
        self._by_size[self.is_large(request)].remove(position.due, position.arrival)
        self._by_latest_start.remove(position.latest_start, position.arrival)
        self._by_shape[position.shape].remove(position.due, position.arrival)
        if not self._by_shape[position.shape]:
            del self._by_shape[position.shape]

    def use_lanes(self, lanes: int) -> None:
        """Requests with more tiles than this are large from now on."""
        arrivals = {request: position.arrival for request, position in self._positions.items()}
        for request in arrivals:
            self.discard(request)
        self._lanes = lanes
        for request, arrival in arrivals.items():
            if request.waiting_tiles:
                self._insert(request, arrival)

    def renew(self, request: InferenceRequest[Model]) -> None:
        """Sort a queued request anew, whose tiles or predictions have changed. It leaves with its last waiting tile."""
        old = self._positions[request]
        if request.waiting_tiles and old == _position(request, old.arrival):
            self._positions.move_to_end(request)
            return
        self.discard(request)
        if request.waiting_tiles:
            self._insert(request, old.arrival)

    def renew_oldest(self) -> None:
        """Sort those requests anew whose predictions are oldest."""
        for request in list(islice(self._positions, RENEWALS)):
            self.renew(request)

    def most_urgent(self) -> InferenceRequest[Model] | None:
        """The most urgent request; None where none waits."""
        first = [key for requests in self._by_size.values() if (key := self._first(requests))]
        return min(first)[2] if first else None

    def most_urgent_small(self) -> InferenceRequest[Model] | None:
        """The most urgent one that is not large."""
        first = self._first(self._by_size[False])
        return first and first[2]

    def most_urgent_of(self, shape: Shape) -> InferenceRequest[Model] | None:
        """The most urgent one whose next tile has that shape."""
        first = self._first(self._by_shape[shape]) if shape in self._by_shape else None
        return first and first[2]

    def pop_late(self, now: float) -> Iterator[InferenceRequest[Model]]:
        """Remove and give those that cannot be done before they are given up."""
        while (first := self._by_latest_start.first()) and first[0] <= now:
            request = first[2]
            self.renew(request)
            if request in self._positions and self._positions[request].latest_start <= now:
                self.discard(request)
                yield request

    def _first(self, requests: SortedRequests[Model]) -> SortKey[Model] | None:
        """The first key; those that have failed, and have no tiles any more, leave."""
        while (first := requests.first()) and not first[2].waiting_tiles:
            self.discard(first[2])
        return first

    def _insert(self, request: InferenceRequest[Model], arrival: int) -> None:
        position = self._positions[request] = _position(request, arrival)
        self._by_size[self.is_large(request)].add((position.due, arrival, request))
        self._by_shape[position.shape].add((position.due, arrival, request))
        self._by_latest_start.add((position.latest_start, arrival, request))


def shape_of_next_tile(request: InferenceRequest[Model]) -> Shape:
    """What others must have in common with its next tile."""
    tile = request.waiting_tiles[0]
    return request.model, tile.plane_height, tile.plane_width


def _position(request: InferenceRequest[Model], arrival: int) -> Position:
    minimum = request.minimum_seconds()
    latest_start = request.deadline.end - minimum * SAFETY_FACTOR
    return Position(arrival, request.due_given(minimum), latest_start, shape_of_next_tile(request))
