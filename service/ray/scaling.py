"""How many replicas there should be: as many as have the queued work done within a target."""

import math
from typing import Any

from ray.serve.config import AutoscalingContext

from service.ray.routing import BACKLOG


def replicas_for(seconds: float, target_seconds: float, least: int, most: int) -> int:
    """Replicas among which `seconds` of queued work are at most `target_seconds` each; from `least` to `most`."""
    return min(most, max(least, math.ceil(seconds / target_seconds)))


class BacklogPolicy:
    """Ray's autoscaling policy: follows the queued work that replicas report, in seconds by the cost model."""

    def __init__(self, target_seconds: float) -> None:
        self._target_seconds = target_seconds

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of replicas, and no state. Without a report of any replica it stays as it is."""
        least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
        reported = (context.aggregated_metrics or {}).get(BACKLOG, {})
        if not reported:
            return min(most, max(least, context.target_num_replicas)), {}
        return replicas_for(sum(reported.values()), self._target_seconds, least, most), {}
