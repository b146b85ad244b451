"""How many replicas there should be, by the queued work that those there are report."""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs the extra `ray`")

from service.ray.scaling import BacklogPolicy  # after it is known that there is Ray


def context(*seconds: float, target: int = 1) -> Any:
    """What Ray tells a policy: replicas with that much queued work each."""
    return SimpleNamespace(
        aggregated_metrics={"backlog_seconds": dict(enumerate(seconds))} if seconds else None,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        target_num_replicas=target,
    )


@pytest.mark.parametrize(
    ("seconds", "replicas"),
    [
        ((0.0, 0.0), 1),
        ((4.0,), 2),
        ((4.1,), 3),
        ((4.0, 0.0, 4.0), 4),
        ((1000.0,), 8),
    ],
)
def test_replicas_follow_the_queued_work(seconds: tuple[float, ...], replicas: int) -> None:
    assert BacklogPolicy(target_seconds=2.0)(context(*seconds)) == (replicas, {})


def test_without_a_report_the_number_stays() -> None:
    assert BacklogPolicy(target_seconds=2.0)(context(target=5)) == (5, {})
