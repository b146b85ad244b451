"""The metrics of several processes as one exposition, in which every sample says whose it is."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

LABEL = "instance"
"""The label of a process, as Prometheus calls the targets that it scrapes one by one: queries are the same for both."""

SCRAPE_SECONDS = 2.0
"""After which a process that does not answer is left out. Under Ray Serve this is waited for twice, and that within the
5 s between two scrapes, which are all that Prometheus gives the answer."""


class _Merged(Collector):
    """Families by name, with the samples of all replicas."""

    def __init__(self, expositions: Mapping[str, bytes], label: str) -> None:
        self._label = label
        self._families: dict[str, Metric] = {}
        for replica, text in sorted(expositions.items()):
            for family in text_string_to_metric_families(text.decode()):
                self._add(family, replica)

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()

    def _add(self, family: Metric, replica: str) -> None:
        known = self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        known.samples += [sample._replace(labels={**sample.labels, self._label: replica}) for sample in family.samples]


def merge_expositions(expositions: Mapping[str, bytes], label: str = LABEL) -> bytes:
    """Expositions in Prometheus' text format, by replica, as one in the same format.

    Every sample gets a label, the name of its replica; `instance` is to be scraped with `honor_labels`. Nothing is
    added up here: who scrapes can sum counters and buckets of histograms over the label, and look at each one's gauges.
    """
    registry = CollectorRegistry()
    registry.register(_Merged(expositions, label))
    return generate_latest(registry)
