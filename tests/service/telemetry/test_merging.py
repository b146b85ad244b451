"""Metrics of several processes: as parsed by a client, nothing is lost, and sums over the processes are right."""

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.merging import merge_expositions
from service.telemetry.metrics import Metrics


def replica(requests: int, backlog: float, *seconds: float) -> bytes:
    """The exposition of a replica that has answered that many requests, and has that much to do."""
    metrics = Metrics()
    metrics.requests.labels("/v1/stylize/{style}", "POST", 200).inc(requests)
    metrics.backlog.set(backlog)
    for each in seconds:
        metrics.request_duration.labels("/v1/stylize/{style}", "POST").observe(each)
    return generate_latest(metrics.registry)


def families(text: bytes) -> dict[str, Metric]:
    found = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def by_instance(family: Metric, name: str, **labels: str) -> dict[str, float]:
    """The values of a series by their process."""
    chosen = [s for s in family.samples if s.name == name and labels.items() <= s.labels.items()]
    return {sample.labels["instance"]: sample.value for sample in chosen}


def test_counters_histograms_and_gauges_of_two_replicas() -> None:
    merged = families(merge_expositions({"a": replica(3, 1.5, 0.02, 20), "b": replica(4, 0.25, 0.02)}))
    counted = by_instance(merged["pastiche_http_requests"], "pastiche_http_requests_total", code="200")
    assert counted == {"a": 3, "b": 4}
    assert by_instance(merged["pastiche_backlog_seconds"], "pastiche_backlog_seconds") == {"a": 1.5, "b": 0.25}
    durations = merged["pastiche_http_request_duration_seconds"]
    assert durations.type == "histogram"
    buckets = [
        sum(by_instance(durations, f"{durations.name}_bucket", le=bound).values()) for bound in ("0.025", "+Inf")
    ]
    assert buckets == [2, 3]
    assert sum(by_instance(durations, f"{durations.name}_sum").values()) == 20.04


def test_one_replica_keeps_every_sample() -> None:
    alone = replica(1, 2, 0.5)
    merged = families(merge_expositions({"a": alone}))
    for name, family in families(alone).items():
        assert [(s.name, s.value) for s in merged[name].samples] == [(s.name, s.value) for s in family.samples]
        assert (merged[name].type, merged[name].documentation) == (family.type, family.documentation)


def test_family_that_only_one_replica_has_is_there_once() -> None:
    extra = b"# HELP pastiche_extra_total more\n# TYPE pastiche_extra_total counter\npastiche_extra_total 1.0\n"
    merged = families(merge_expositions({"a": b"", "b": extra}))
    assert by_instance(merged["pastiche_extra"], "pastiche_extra_total") == {"b": 1}


def test_label_can_be_another_one() -> None:
    merged = families(merge_expositions({"0": replica(3, 0.0)}, "process"))
    labels = [sample.labels for sample in merged["pastiche_http_requests"].samples]
    assert labels
    assert all(each["process"] == "0" and "instance" not in each for each in labels)
