"""The paths by which orchestrators and Prometheus ask for the state of the service, every few seconds, for ever."""

PROBES = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Ours, and those of the Open Inference Protocol."""
PROBES_AND_METRICS = PROBES | {"/metrics"}


def state_paths(prefix: str) -> frozenset[str]:
    """All of these paths, and the same behind a prefix, which a proxy may have left there."""
    return PROBES_AND_METRICS | {prefix + path for path in PROBES_AND_METRICS}
