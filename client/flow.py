"""Calls as generators: what is sent and waited for, without sockets, so that sync and async clients share it.

A flow yields Send and Pause. Who runs it answers a Send with the response, or with the error of the connection, and a
Pause with None when that is over. What the flow returns is the result of the call.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx

from client.errors import NoAnswer
from client.request import Request

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send a request once, and read its answer."""

    request: Request
    seconds: float = math.inf
    """Longest that nothing may happen on the connection."""


@dataclass(frozen=True)
class Pause:
    """Do nothing."""

    seconds: float


Reply = httpx.Response | httpx.RequestError | None

Flow = Generator[Send | Pause, Reply, T]


def until(flow: Flow[T], end: float, clock: Callable[[], float]) -> Flow[T]:
    """The same flow. Raises TimeoutError at `end`, a time of the clock, where it has no answer by then."""
    reply: Reply = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result
        except NoAnswer as error:
            if clock() < end:
                raise
            raise TimeoutError(str(error)) from error
        reply = yield _shortened(step, max(end - clock(), 0.0))
        if isinstance(step, Pause) and clock() >= end:
            raise TimeoutError("the service did not answer in time, or only that it cannot yet")


def _shortened(step: Send | Pause, seconds: float) -> Send | Pause:
    return replace(step, seconds=min(step.seconds, seconds))
