"""Calls as generators: what is sent and waited for, without sockets, so that sync and async clients share it.

A flow yields Send and Pause. Who runs it answers a Send with the response, or with the error of the connection, and a
Pause with None when that is over. What the flow returns is the result of the call.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

import httpx

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
