"""What an ingress makes of the failures of Ray. The rest of it is tested on a cluster, by test_application.py."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from service.errors import Overloaded, ReplicaLost
from service.http.relay.exchange import HttpAnswer, HttpCall

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

from ray import exceptions  # noqa: E402 # after it is known that there is Ray
from ray.serve._private.common import DeploymentID  # noqa: E402
from ray.serve._private.replica_result import ReplicaResult  # noqa: E402
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError  # noqa: E402
from ray.serve.handle import DeploymentBroadcastResponse  # noqa: E402

from service.ray import ingress  # noqa: E402
from service.ray.ingress import RayReplicas  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Broadcast:
    """The answers of some replicas, each of them a failure, a tuple or None: one that never answers."""

    def __init__(self, *answers: Exception | tuple[str, bytes] | None) -> None:
        self._answers = answers

    def broadcast(self, _: str) -> "Broadcast":
        return self

    async def _fetch_replica_results_async(self) -> list[Any]:
        if not self._answers:
            raise DeploymentUnavailableError(DeploymentID("device"))
        return [Answer(each) for each in self._answers]


@dataclass
class Answer:
    """That of one replica."""

    given: Exception | tuple[str, bytes] | None

    async def get_async(self) -> tuple[str, bytes]:
        if isinstance(self.given, Exception):
            raise self.given
        if self.given is None:
            await asyncio.sleep(3600)
        return self.given or ("", b"")


class FailingHandle:
    """A handle of replicas that fail."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure
        self.answer = self

    def options(self, **_: Any) -> "FailingHandle":
        return self

    async def remote(self, _: HttpCall) -> HttpAnswer:
        raise self._failure


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (exceptions.ActorDiedError(), ReplicaLost),
        (exceptions.ActorUnavailableError("it is away", None), ReplicaLost),
        (exceptions.ObjectLostError("00", None, ""), ReplicaLost),
        (exceptions.ObjectReconstructionFailedError("00", None, "", "its node is lost"), ReplicaLost),
        (exceptions.ObjectFetchTimedOutError("00", None, ""), ReplicaLost),
        (BackPressureError(num_queued_requests=9, max_queued_requests=9), Overloaded),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
    ids=repr,
)
def test_a_replica_is_lost_with_the_answer_that_it_had_made(failure: Exception, told: type[Exception]) -> None:
    handle: Any = FailingHandle(failure)
    with pytest.raises(told):
        asyncio.run(RayReplicas(handle, handle).answer("/livez", HttpCall("GET", "/livez", b"/livez")))


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((("a", b"1"), ("b", b"2")), [("a", b"1"), ("b", b"2")]),
        ((None, ("b", b"2")), [("b", b"2")]),
        ((exceptions.ActorDiedError(), ("b", b"2"), TimeoutError()), [("b", b"2")]),
        ((None, None), []),
        ((), []),
    ],
    ids=["all", "one hangs", "two fail", "all hang", "none is there"],
)
def test_metrics_are_those_of_the_replicas_that_answer(
    answers: tuple[Exception | tuple[str, bytes] | None, ...], told: list[tuple[str, bytes]], monkeypatch: Any
) -> None:
    monkeypatch.setattr(ingress, "SCRAPE_SECONDS", 0.3)
    handle: Any = Broadcast(*answers)
    assert asyncio.run(RayReplicas(handle, handle).expositions()) == told


def test_what_is_used_of_ray_beside_its_public_names_is_there() -> None:
    assert asyncio.iscoroutinefunction(DeploymentBroadcastResponse._fetch_replica_results_async)  # noqa: SLF001
    assert asyncio.iscoroutinefunction(ReplicaResult.get_async)
