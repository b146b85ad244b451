"""Every Prometheus series of the service, declared by subject.

Base units (seconds, pixels); route templates and model names as labels, never a raw path or a client's text.
"""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
"""OpenTelemetry's advice for HTTP durations, and two steps for large images."""

STAGE_SECONDS = tuple(0.0005 * 2**n for n in range(16))
PREDICTION_RATIOS = (0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4)
BATCH_SIZES = tuple(2**n for n in range(7))
BATCH_PIXELS = tuple(2**n for n in range(14, 29))


class Metrics:
    """The series, on a registry of their own, so that several services can live in one process (as tests do)."""

    def __init__(self, build: Mapping[str, str] | None = None) -> None:
        """`build`: further labels of `pastiche_build_info`, such as the version of torch."""
        self.registry = CollectorRegistry()
        self._declare_requests()
        self._declare_answers()
        self._declare_codecs()
        self._declare_keys()
        self._declare_webhooks()
        self._declare_jobs()
        self._declare_admission()
        self._declare_batches()
        self._declare_models()
        self._declare_device()
        self._declare_process(build or {})

    def _declare_requests(self) -> None:
        self.requests = self._counter("http_requests", "Answers by route template", "route", "method", "code")
        self.request_duration = self._histogram(
            "http_request_duration_seconds",
            "From the parsed head of a request to the end of its response",
            REQUEST_SECONDS,
            "route",
            "method",
        )
        self.requests_in_progress = self._gauge("http_requests_in_progress", "Requests being answered")
        self.connections = self._gauge("http_connections", "Open connections of clients")
        self.connections_closed = self._counter(
            "http_connections_closed",
            "Connections that the service closed: silent (for too long), unread (its answers), surplus (too many)",
            "reason",
        )
        self.body_bytes = self._gauge("body_bytes", "Bytes of request bodies that are in memory, or reserved for them")
        self.bodies_waiting = self._gauge("bodies_waiting", "Requests whose body waits for memory")
        self.rejected = self._counter("rejected", "Requests refused or failed, by kind of problem", "reason")
        self.cancelled = self._counter("cancelled", "Requests whose client left, by the stage they were in", "stage")

        self.relay_retries = self._counter(
            "relay_retries", "Requests that an ingress sent to another replica, since the first one was lost"
        )

    def _declare_answers(self) -> None:
        self.stage_duration = self._histogram(
            "stage_duration_seconds",
            "Parts of a request: read, assess, decode, queue, infer, encode; shared: waiting for an identical one",
            STAGE_SECONDS,
            "stage",
            "model",
        )
        self.output_pixels = self._counter("output_pixels", "Pixels of answers", "model")
        self.cache_requests = self._counter(
            "cache_requests",
            "Image requests: miss (computed), coalesced (with an identical one in flight); no answer is kept",
            "result",
        )

    def _declare_codecs(self) -> None:
        self.codec_workers = self._gauge("codec_workers", "Processes in which images are decoded and encoded")
        self.codec_waiting = self._gauge("codec_waiting", "Images that wait for such a process")
        self.codec_deaths = self._counter(
            "codec_worker_deaths",
            "Such processes that died: cpu (their time was up), killed, crash, abandoned (nobody waited for the image)",
            "reason",
        )

    def _declare_keys(self) -> None:
        self.keys = self._gauge("keys", "API keys that are accepted")
        loads = "Times that the keys file was read after a change, by result"
        self.key_loads = self._counter("key_loads", loads, "result")
        self.key_requests = self._counter("key_requests", "Requests by the name of their key", "key")
        self.key_pixels = self._counter("key_pixels", "Output pixels that were charged, by the name of the key", "key")

    def _declare_webhooks(self) -> None:
        self.webhook_attempts = self._counter(
            "webhook_attempts",
            "Attempts to deliver a webhook: ok, refused (no status 2xx), unreachable, blocked (no public address)",
            "result",
        )
        self.webhooks = self._counter(
            "webhooks", "Webhooks by outcome: delivered, failed (given up), dropped (the job was deleted)", "outcome"
        )

    def _declare_jobs(self) -> None:
        self.jobs = self._gauge("jobs", "Jobs that are kept, by state", "state")
        self.jobs_ended = self._counter("jobs_ended", "Jobs by how they ended: succeeded, failed, cancelled", "state")
        self.jobs_bytes = self._gauge("jobs_bytes", "Bytes of the jobs that are kept")
        self.jobs_taken_over = self._counter("jobs_taken_over", "Jobs begun again: their replica was not heard of")
        self.job_store_available = self._gauge(
            "job_store_available", "1, or 0 while the store of the jobs cannot be used, so that they are refused"
        )

    def _declare_admission(self) -> None:
        """What is admitted, and what of it waits."""
        self.admitted_requests = self._gauge("admitted_requests", "Requests admitted and not yet answered")
        self.admitted_inferences = self._gauge(
            "admitted_inferences", "Inference requests (one for each frame and network) of the requests admitted"
        )
        self.admitted_pixels = self._gauge("admitted_pixels", "Output pixels of the requests admitted")
        self.admission_limit = self._gauge(
            "admission_limit", "The most that is admitted at a time: requests, inferences, pixels", "limit"
        )
        self.queue_requests = self._gauge(
            "queue_requests", "Inference requests (one for each frame and network) that wait for the device"
        )
        self.queue_oldest_age = self._gauge("queue_oldest_age_seconds", "How long the first of them has waited")
        self.backlog = self._gauge("backlog_seconds", "Predicted seconds until everything admitted is done")
        self.prediction_ratio = self._histogram(
            "prediction_ratio", "Predicted over actual time from queueing to the last tile", PREDICTION_RATIOS
        )

    def _declare_batches(self) -> None:
        self.batch_size = self._histogram("batch_size", "Tiles that ran together", BATCH_SIZES, "model")
        self.batch_pixels = self._histogram("batch_pixels", "Pixels of their planes", BATCH_PIXELS, "model")
        self.batches_bisected = self._counter("batches_bisected", "Batches that failed and were split", "model")
        self.out_of_memory = self._counter(
            "out_of_memory", "Batches that did not fit into the device's memory", "device"
        )
        self.nonfinite_outputs = self._counter(
            "nonfinite_outputs", "Tiles computed again in fp32, by outcome", "result"
        )

    def _declare_models(self) -> None:
        """The models that are served, their stores, and loading them."""
        self.model = self._gauge("model_info", "1 for each model served", "model", "version", "digest", "task", "scale")
        self.store_available = self._gauge(
            "store_available", "1 for each model store that is there, 0 while it is missing", "store"
        )
        self.store_ignored_entries = self._gauge(
            "store_ignored_entries", "Entries in the folder of a model store that are no models", "store"
        )
        self.model_loads = self._counter("model_loads", "Attempts to load a version", "model", "result")
        self.resident_bytes = self._gauge(
            "resident_bytes", "Bytes of weights, by place: device (each of them), host", "place"
        )
        self.weight_loads = self._counter(
            "weight_loads", "Times that weights came back to the device, by where they were: host, disk", "source"
        )
        self.weight_evictions = self._counter(
            "weight_evictions", "Times that weights left the device, by where to: host, disk", "target"
        )
        self.model_load_duration = self._histogram(
            "model_load_duration_seconds", "Reading, verifying and warming up a version", STAGE_SECONDS, "model"
        )

    def _declare_device(self) -> None:
        """By device, such as cpu or cuda:0; what is wasted is that of all."""
        self.device_available = self._gauge(
            "device_available", "1 for each device that networks run on, 0 once it is lost", "device"
        )
        self.device_busy = self._counter("device_busy_seconds", "Seconds in which the device worked", "device")
        self.device_wasted = self._counter(
            "device_wasted_seconds", "Seconds of a whole device spent on answers that nobody received"
        )
        self.device_heartbeat = self._gauge(
            "device_heartbeat_timestamp_seconds", "When an operation on the device last began or ended", "device"
        )
        self.device_operation_age = self._gauge(
            "device_operation_age_seconds", "How long the running operation has taken", "device"
        )

    def _declare_process(self, build: Mapping[str, str]) -> None:
        versions = {"version": package_version(), "python": platform.python_version(), **build}
        Info("pastiche_build", "What is running", registry=self.registry).info(versions)
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"pastiche_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"pastiche_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"pastiche_{name}", meaning, labels, buckets=tuple(buckets), registry=self.registry)


def package_version() -> str:
    """The version of the installed package, `unknown` in a source tree that is not installed."""
    try:
        return version("pastiche")
    except PackageNotFoundError:
        return "unknown"
