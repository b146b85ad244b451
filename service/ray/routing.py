"""Ray's router of a deployment, by the ranking of the relay."""

from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from service.http.relay.ranking import ranked

BACKLOG = "backlog_seconds"
"""What replicas report: the predicted seconds until everything that they have admitted is done."""


class ModelRouter(RequestRouter):
    """Sends the requests for one model to one replica, and to others while its queued work is too much."""

    def initialize_state(self, spill_seconds: float = 0.5, spill_requests: int = 8, **_: Any) -> None:
        """Queued work beyond which a replica is not preferred: in seconds, and in requests that it has not told of."""
        self._spill_seconds = spill_seconds
        self._spill_requests = spill_requests

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ranks of one replica each."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True
        key = pending_request.metadata.multiplexed_model_id
        ordered = ranked(candidate_replicas, key, _name, self._seconds, self._spill_seconds)
        return [[replica] for replica in ordered]

    def _seconds(self, replica: RunningReplica) -> float:
        """The queued work that a replica has told of, or that follows from what was sent to it since."""
        reported = float(replica.routing_stats.get(BACKLOG, 0.0))
        sent = self.replica_queue_len_cache.get(replica.replica_id) or 0
        return max(reported, self._spill_seconds * sent / self._spill_requests)


def _name(replica: RunningReplica) -> str:
    return str(replica.replica_id.unique_id)
