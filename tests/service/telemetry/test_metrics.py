import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import Metrics


def families(metrics: Metrics) -> dict[str, str]:
    text = generate_latest(metrics.registry).decode()
    return {family.name: family.documentation for family in text_string_to_metric_families(text)}


def test_everything_parses_and_is_documented() -> None:
    found = families(Metrics())
    own = {name: meaning for name, meaning in found.items() if not name.startswith("process_")}
    assert all(name.startswith("pastiche_") for name in own)
    assert all(found.values())
    assert "process_resident_memory_bytes" in found


@pytest.mark.parametrize(
    "name",
    [
        "pastiche_http_requests",
        "pastiche_http_request_duration_seconds",
        "pastiche_http_requests_in_progress",
        "pastiche_stage_duration_seconds",
        "pastiche_output_pixels",
        "pastiche_batch_size",
        "pastiche_batch_pixels",
        "pastiche_queue_requests",
        "pastiche_queue_oldest_age_seconds",
        "pastiche_backlog_seconds",
        "pastiche_rejected",
        "pastiche_cancelled",
        "pastiche_model_info",
        "pastiche_model_loads",
        "pastiche_device_heartbeat_timestamp_seconds",
        "pastiche_build_info",
    ],
)
def test_series_that_dashboards_use_are_there(name: str) -> None:
    assert name in families(Metrics())


def test_services_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.rejected.labels("overloaded").inc()
    assert other.registry.get_sample_value("pastiche_rejected_total", {"reason": "overloaded"}) is None
    assert one.registry.get_sample_value("pastiche_rejected_total", {"reason": "overloaded"}) == 1


def test_batches_of_every_admissible_size_have_a_bucket_of_their_own() -> None:
    metrics = Metrics()
    for size in (1, 2, 64):
        metrics.batch_size.labels("wave").observe(size)
    for bound, count in (("1.0", 1), ("2.0", 2), ("32.0", 2), ("64.0", 3)):
        labels = {"model": "wave", "le": bound}
        assert metrics.registry.get_sample_value("pastiche_batch_size_bucket", labels) == count
