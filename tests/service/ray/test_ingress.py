"""What an ingress makes of the failures of Ray. The rest of it is tested on a cluster, by test_application.py."""

import asyncio
from typing import Any

import pytest

from service.errors import Overloaded, ReplicaLost
from service.http.relay.exchange import HttpAnswer, HttpCall

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

from ray import exceptions  # noqa: E402 # after it is known that there is Ray
from ray.serve.exceptions import BackPressureError  # noqa: E402

from service.ray.ingress import RayReplicas  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


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
