"""The paths by which orchestrators and Prometheus ask for the state of the service, every few seconds, for ever."""

PROBES = frozenset({"/livez", "/readyz"})
PROBES_AND_METRICS = PROBES | {"/metrics"}
