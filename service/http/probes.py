"""The paths by which orchestrators and Prometheus ask for the state of the service, every few seconds, for ever."""

PROBES = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Ours, and those of the Open Inference Protocol."""
PROBES_AND_METRICS = PROBES | {"/metrics"}
