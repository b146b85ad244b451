"""The memory for request bodies: how many bytes of them there may be, from before they are read to the answer."""

import asyncio
from dataclasses import dataclass, field
from itertools import count

from service.errors import TooManyUploads
from service.telemetry.metrics import Metrics

SMALL_PART = 64
"""A body is small up to this part of the budget: 8 MiB of 512."""

RESERVED_PART = 4
"""This part of the budget is for small bodies alone."""

RETRY_SECONDS = 5


@dataclass(eq=False)
class Reservation:
    """What one body has of the budget."""

    serial: int
    """The place of its request in the order in which they came."""
    size: int = 0
    """Bytes that it has."""
    wanted: int = 0
    """Bytes that it has, or waits for."""
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has what it waited for."""


class BodyBudget:
    """Bytes that the bodies of all requests may take together.

    A part is for small bodies alone, so that they need not wait for large ones. Within a class bodies are served in the
    order in which their requests came: one that grows keeps its place before those that came later.
    """

    def __init__(self, total: int, metrics: Metrics) -> None:
        self._total = total
        self._small_bytes = total // SMALL_PART
        self._reserved = total // RESERVED_PART
        self._serials = count()
        self._held = 0
        self._held_by_large = 0
        self._waiting: list[Reservation] = []
        metrics.body_bytes.set_function(lambda: self.held)
        metrics.bodies_waiting.set_function(lambda: self.waiting)

    @property
    def held(self) -> int:
        """Bytes that are reserved."""
        return self._held

    @property
    def waiting(self) -> int:
        """Bodies that wait for bytes."""
        return len(self._waiting)

    def open(self) -> Reservation:
        """A reservation for a request that has just come, of no bytes yet."""
        return Reservation(next(self._serials))

    async def grow(self, reservation: Reservation, size: int, seconds: float) -> None:
        """Reserve `size` bytes in all, and wait for them `seconds` at most. Raises TooManyUploads."""
        if size <= reservation.size:
            return
        reservation.wanted = size
        ahead = [each for each in self._rivals(reservation) if each.serial < reservation.serial]
        if not ahead and self._fits(reservation):
            self._resize(reservation, size)
        else:
            await self._wait(reservation, seconds)

    def release(self, reservation: Reservation) -> None:
        """Give all its bytes back."""
        self._resize(reservation, 0)
        self._serve()

    async def _wait(self, reservation: Reservation, seconds: float) -> None:
        if sum(each.wanted for each in self._rivals(reservation)) > self._total:
            raise self._refusal(reservation)
        reservation.granted.clear()
        self._waiting.append(reservation)
        self._waiting.sort(key=lambda each: each.serial)
        try:
            async with asyncio.timeout(seconds):
                await reservation.granted.wait()
        except TimeoutError as error:
            raise self._refusal(reservation) from error
        finally:
            if reservation in self._waiting:
                self._waiting.remove(reservation)
                self._serve()

    def _serve(self) -> None:
        """Grant what fits, in order. What is granted to a large body may let small ones before it have more."""
        while reservation := self._next():
            self._waiting.remove(reservation)
            self._resize(reservation, reservation.wanted)
            reservation.granted.set()

    def _next(self) -> Reservation | None:
        """The first that fits; behind one that must wait, all others of its class wait."""
        blocked: set[bool] = set()
        for reservation in self._waiting:
            is_large = self._is_large(reservation.wanted)
            if is_large not in blocked and self._fits(reservation):
                return reservation
            blocked.add(is_large)
        return None

    def _resize(self, reservation: Reservation, size: int) -> None:
        self._held += size - reservation.size
        self._held_by_large += self._large_part(size) - self._large_part(reservation.size)
        reservation.size = size

    def _fits(self, reservation: Reservation) -> bool:
        """Small bodies take of what is not reserved for them only while no large one waits."""
        wanted, size = reservation.wanted, reservation.size
        held, large = self._held - size + wanted, self._held_by_large - self._large_part(size)
        if self._is_large(wanted):
            return held <= self._total and large + wanted <= self._total - self._reserved
        large_waits = any(self._is_large(each.wanted) for each in self._waiting)
        return held <= self._total and (not large_waits or held - large <= self._reserved)

    def _rivals(self, reservation: Reservation) -> list[Reservation]:
        """The bodies of its class that wait."""
        is_large = self._is_large(reservation.wanted)
        return [each for each in self._waiting if self._is_large(each.wanted) is is_large]

    def _is_large(self, size: int) -> bool:
        return size > self._small_bytes

    def _large_part(self, size: int) -> int:
        return size if self._is_large(size) else 0

    def _refusal(self, reservation: Reservation) -> TooManyUploads:
        detail = (
            f"the bodies of other requests leave no room for {reservation.wanted} bytes of this one; "
            f"at most {self._total} are in memory at a time; retry in {RETRY_SECONDS} s"
        )
        return TooManyUploads(detail, retry_after=RETRY_SECONDS)
