"""Sends one of many images, and finds out whether its refusal holds for all of them."""

import base64
from http import HTTPStatus

from client.async_client import AsyncClient
from client.errors import PasticheError, Problem
from client.outage import Outage
from client.picture import Picture
from client.request import Request
from client.retries import RetryPolicy, exchange

SHARED_KINDS = frozenset({"forbidden", "unauthorized"})
"""Problems that every image would have."""

SHARED_STATUSES = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.MISDIRECTED_REQUEST,
    }
)
"""Statuses that follow from the address and the key, whoever answers."""

PROBED_KINDS = frozenset({"invalid-request", "not-acceptable"})
"""Problems that are caused by the options alone, or by the options with this image."""

PROBE_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYGAAAAAEAAHI6uv5AAAAAElFTkSuQmCC"
)
"""A PNG of one black pixel. If it is refused with the same problem as an image, the options are the cause."""

ONCE = RetryPolicy(retries=0, patience=0)


class RefusedForAll(PasticheError):
    """Refused for a reason that holds for every image; the cause is the problem."""


async def send_image(client: AsyncClient, request: Request, policy: RetryPolicy, outage: Outage) -> Picture:
    """The picture that the service makes of the request. Raises RefusedForAll, or what `exchange` raises."""
    try:
        return Picture.parse(await client.run(exchange(request, policy, outage)))
    except Problem as problem:
        if await _affects_all_images(client, request, problem):
            raise RefusedForAll(str(problem)) from problem
        raise


async def _affects_all_images(client: AsyncClient, request: Request, problem: Problem) -> bool:
    """Whether every image would be refused.

    For problems of the options, and for what a proxy forbids, a probe image must get the same problem.
    """
    if problem.kind in SHARED_KINDS or problem.status in SHARED_STATUSES:
        return True
    if problem.kind not in PROBED_KINDS and problem.status != HTTPStatus.FORBIDDEN:
        return False
    try:
        await client.run(exchange(request.with_content(PROBE_IMAGE), ONCE))
    except Problem as other:
        return (other.kind, str(other)) == (problem.kind, str(problem))
    except PasticheError:
        return False
    return False
