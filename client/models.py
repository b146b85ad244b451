"""The models that a command names: whether the service has them is found out before any image is sent."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus

from client.async_client import AsyncClient
from client.calls import model_path
from client.errors import AccessDenied, PasticheError, Unavailable, UnknownModel
from client.exchange import SHARED_KINDS
from client.files import UsageError
from client.outage import Outage
from client.request import Request
from client.retries import RetryPolicy, exchange

SIMILARITY = 0.5
"""Least similarity of a name that is suggested, as `difflib` has it: x4 for x5 is as far as it goes."""


def named_models(command: str, target: str, query: Mapping[str, str]) -> list[str]:
    """The styles of `stylize`, mixed or not, or the models of `upscale … --model=`."""
    if command == "stylize":
        return [part.partition(":")[0] for part in target.split(",")]
    return [name.strip() for name in query.get("model", "").split(",") if name.strip()]


async def require_models(client: AsyncClient, names: Iterable[str], policy: RetryPolicy, outage: Outage) -> None:
    """Raise UsageError, with the most similar name, where the service has no model of a name.

    A service that is away is waited for; raises Unavailable as `exchange`. Raises AccessDenied where the key would not
    be accepted for images either. After any other refusal the images are sent all the same, since they get an answer to
    what they ask for.
    """
    for name in names:
        await _require(client, name, policy, outage)


async def _require(client: AsyncClient, name: str, policy: RetryPolicy, outage: Outage) -> None:
    try:
        await client.run(exchange(Request("GET", model_path(name)), policy, outage))
    except UnknownModel as error:
        raise UsageError(f"{error}{suggestion(name, error.available)}") from error
    except Unavailable:
        raise
    except AccessDenied as error:
        if error.status == HTTPStatus.UNAUTHORIZED or error.kind in SHARED_KINDS:
            raise
    except PasticheError:
        return


def suggestion(name: str, available: Sequence[str]) -> str:
    """What to add to the message that there is no model of that name: the most similar one, if any is."""
    similar = get_close_matches(name, available, 1, SIMILARITY)
    return f"; did you mean {similar[0]}?" if similar else ""
