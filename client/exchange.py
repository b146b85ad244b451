"""Sends one of many images, and finds out whether its refusal holds for all of them."""

import base64

from client.async_client import AsyncClient
from client.errors import PasticheError, Problem
from client.outage import Outage
from client.picture import Picture
from client.request import Request
from client.retries import RetryPolicy, exchange

SHARED_KINDS = frozenset({"unknown-model", "not-found"})
"""Problems that every image would have."""

OPTION_KINDS = frozenset({"invalid-request", "not-acceptable"})
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
    """Whether every image would be refused. For problems of the options a probe image must get the same problem."""
    if problem.kind not in OPTION_KINDS:
        return problem.kind in SHARED_KINDS
    try:
        await client.run(exchange(request.with_content(PROBE_IMAGE), ONCE))
    except Problem as other:
        return (other.kind, str(other)) == (problem.kind, str(problem))
    except PasticheError:
        return False
    return False
