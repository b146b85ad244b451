"""Which series the service has, and which a query of Prometheus names."""

import re

from prometheus_client import Metric

from service.telemetry.metrics import Metrics

SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}
"""What the names of a family's samples end with."""

OF_PROMETHEUS = {"up", "ALERTS"}
"""Series that Prometheus makes itself."""


def series() -> set[str]:
    """The names of all series that Prometheus can have of the service."""
    return {name for family in Metrics().registry.collect() for name in _samples(family)} | OF_PROMETHEUS


def _samples(family: Metric) -> list[str]:
    return [family.name + suffix for suffix in SUFFIXES[family.type]]


def metric_names(query: str) -> set[str]:
    """The series that a query of Prometheus names."""
    return set(re.findall(r"\b(?:pastiche_|process_)\w+|\bup\b|\bALERTS\b", query))
