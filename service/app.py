"""The composition root: builds every part of the service and connects them."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from model_store import ModelStore, StoreError, open_store
from service.engine.admission import Admission, QueueLimits
from service.engine.device_assembly import assemble_device, free_bytes, residency_limits
from service.engine.measurements import Measurements
from service.engine.residency import Residency
from service.engine.resident_model import ResidentModel
from service.engine.runner_pool import RunnerPool
from service.engine.scheduler import Scheduler
from service.engine.tiling import ImageTile
from service.http.access.address_quotas import AddressQuotas
from service.http.access.api_key import LimitPolicy
from service.http.access.key_ring import KeyRing
from service.http.access.pixel_charges import PixelCharges
from service.http.application import Application, Router, build_application, build_metrics_application
from service.http.body_budget import BodyBudget
from service.http.compatible_api_calls import ImageCalls
from service.http.load_shedding.load_shedder import LoadShedder
from service.http.load_shedding.refusal_cache import RefusalCache
from service.http.middleware.access_control import AccessPolicy
from service.http.middleware.body_reservation import Upload
from service.http.routes.admin import AdminRoutes
from service.http.routes.automatic1111 import Automatic1111Routes
from service.http.routes.edits import EditRoutes
from service.http.routes.estimates import EstimateRoutes
from service.http.routes.health import HealthRoutes
from service.http.routes.images import ImageRoutes
from service.http.routes.index import IndexRoutes
from service.http.routes.jobs import JobRoutes
from service.http.routes.models import ModelRoutes
from service.http.routes.open_inference import OpenInferenceRoutes
from service.http.routes.playground import PlaygroundRoutes
from service.http.routes.problems import ProblemRoutes
from service.http.siblings import Siblings
from service.http.upload_pace import Pace
from service.http.webhooks.address_policy import AddressPolicy
from service.http.webhooks.resolver import Resolver
from service.http.webhooks.sender import WebhookSender
from service.imaging.workers.codec_client import CodecClient
from service.imaging.workers.launcher import WorkerLauncher
from service.imaging.workers.pool import WorkerPool
from service.jobs.deliveries import Deliveries, Sender
from service.jobs.folder_store import FolderJobStore
from service.jobs.manager import JobManager
from service.jobs.runner import JobRunner
from service.jobs.signal import Signal
from service.jobs.store import JobStore
from service.jobs.uninterrupted import uninterrupted
from service.lifespan import Lifespan
from service.models.admin import ModelAdmin
from service.models.load_failures import LoadFailures
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.models.store_watcher import StoreWatcher
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.fingerprint import build_fingerprint
from service.pipeline.pipeline import ImagePipeline
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Propagation, Tracing


@dataclass(frozen=True)
class Service:
    """The parts of a service, built and connected, which starts with the lifespan of `app`."""

    app: Application
    metrics_app: Application
    """Probes and metrics alone, for a port of their own."""
    lifespan: Lifespan
    settings: Settings
    metrics: Metrics
    models: ModelRegistry
    watcher: StoreWatcher
    pool: RunnerPool
    admission: Admission[ServedModel]
    pipeline: ImagePipeline
    jobs: JobManager
    refusals: RefusalCache
    shedder: LoadShedder | None
    """None where the settings switch load shedding off."""


@dataclass(frozen=True)
class Engine:
    """The devices, the models on them, and what decides on their work."""

    pool: RunnerPool
    stores: Sequence[ModelStore]
    models: ModelRegistry
    watcher: StoreWatcher
    admission: Admission[ServedModel]
    scheduler: Scheduler[ServedModel]
    fingerprint: str
    """What all answers have in common: see `build_fingerprint`."""


def build_service(
    settings: Settings,
    refusals: RefusalCache | None = None,
    launcher: WorkerLauncher | None = None,
    devices: Sequence[torch.device] | None = None,
    siblings: Siblings | None = None,
) -> Service:
    """A service with these settings. Raises ValueError where its device does not exist, its keys cannot be read, or
    an extra is missing.

    `devices`: equal ones, instead of those of the settings; `siblings`: the processes that serve the same port, if this
    is one of several. Such a one opens it when its models are loaded.

    Configures torch for the whole process.
    """
    metrics = Metrics({"torch": str(torch.__version__)})
    refusals = RefusalCache() if refusals is None else refusals
    measurements = Measurements(None if siblings is None else siblings.measurements)
    engine = _engine(settings, metrics, refusals, devices, measurements)
    codec_pool = _codec_pool(settings, launcher or WorkerLauncher(), metrics)
    codecs = CodecClient(codec_pool, settings.codec_seconds)
    pipeline = ImagePipeline(settings, engine.admission, engine.scheduler, codecs, metrics)
    coalescer = RequestCoalescer(pipeline, engine.fingerprint, metrics, coalesce=settings.coalesce)
    webhooks, tracing, access = _webhook_sender(settings), _tracing(settings), _access_policy(settings, metrics)
    jobs = build_job_manager(settings, engine.models, coalescer, webhooks, metrics, tracing)
    background = [access.keys.follow] if access.keys is not None else []
    lifespan = Lifespan(
        settings,
        engine.watcher,
        engine.admission,
        engine.scheduler,
        engine.pool,
        codec_pool,
        jobs,
        background,
        tracing.close,
        None if siblings is None else engine.models.known.wait,
    )
    health = HealthRoutes(settings, engine.models, engine.watcher, engine.pool, jobs, lifespan, metrics, siblings)
    scrape = [health.metrics_router] if settings.serve_metrics else []
    calls = _call_routers(settings, engine, refusals, pipeline, coalescer, jobs, webhooks, health, metrics)
    routers = [*_page_routers(settings), *calls, health.router, *(scrape if settings.metrics_port is None else ())]
    new_upload = partial(Upload, BodyBudget(settings.max_body_bytes_in_flight, metrics), Pace.of(settings))
    return Service(
        build_application(lifespan, routers, metrics, settings, access, new_upload, tracing),
        build_metrics_application([health.router, *scrape]),
        lifespan,
        settings,
        metrics,
        engine.models,
        engine.watcher,
        engine.pool,
        engine.admission,
        pipeline,
        jobs,
        refusals,
        _load_shedder(settings, refusals, metrics),
    )


def build_job_manager(
    settings: Settings,
    models: ModelRegistry,
    coalescer: RequestCoalescer,
    sender: Sender | None,
    metrics: Metrics,
    tracing: Tracing,
) -> JobManager:
    """The jobs of the store that the settings name. Raises ValueError where the extra that it needs is missing."""
    store, ended = _job_store(settings, metrics), Signal()
    deliveries = Deliveries(settings, store, sender, metrics)

    def on_end() -> None:
        ended.notify()
        deliveries.wake()

    runner = JobRunner(settings, models, coalescer, store, on_end, metrics, tracing)
    return JobManager(settings, store, runner, deliveries, ended, metrics)


def _engine(
    settings: Settings,
    metrics: Metrics,
    refusals: RefusalCache,
    devices: Sequence[torch.device] | None,
    measurements: Measurements,
) -> Engine:
    """Configures torch for the whole process. Raises ValueError where the device does not exist."""
    device = assemble_device(settings, metrics, devices=devices, measurements=measurements)
    stores = [open_store(location, settings.store_cache) for location in settings.stores]
    pool, concurrency = device.pool, device.concurrency
    used = [runner.device for runner in pool.runners]
    models = ModelRegistry(LoadFailures(settings.store_poll_seconds), metrics)
    residency = Residency(residency_limits(settings, free_bytes(used)), metrics)
    watcher = StoreWatcher(stores, device.loader, residency, models, metrics, settings.store_poll_seconds)

    async def run_batch(model: ServedModel, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        """To its end, though the service stops: until then its thread reads the weights, which others may move."""

        async def computed() -> None:
            await asyncio.wrap_future(pool.submit(model.network, tiles, exclusive))

        await uninterrupted(computed())
        scheduler.use_lanes(max(1, pool.lanes))

    def hold_weights(model: ServedModel) -> AbstractAsyncContextManager[None]:
        return residency.hold(model.loaded) if isinstance(model.loaded, ResidentModel) else nullcontext()

    def keep_weights(model: ServedModel) -> AbstractContextManager[None]:
        return residency.keep(model.loaded) if isinstance(model.loaded, ResidentModel) else nullcontext()

    def load_seconds(model: ServedModel) -> float:
        return residency.load_seconds(model.loaded) if isinstance(model.loaded, ResidentModel) else 0.0

    limits = QueueLimits(settings.max_queue_requests, settings.max_queue_pixels, settings.max_queue_inferences)
    admission: Admission[ServedModel] = Admission(
        limits, concurrency.lanes, metrics, listener=refusals, load_seconds=load_seconds
    )
    scheduler = Scheduler(
        run_batch, admission, concurrency, metrics, hold_weights=hold_weights, keep_weights=keep_weights
    )
    build = build_fingerprint(used[0], device.tile_sizes)
    return Engine(pool, stores, models, watcher, admission, scheduler, build)


def _page_routers(settings: Settings) -> list[Router]:
    playground = PlaygroundRoutes() if settings.playground else None
    return [IndexRoutes(playground).router, *([playground.router] if playground is not None else ())]


def _call_routers(
    settings: Settings,
    engine: Engine,
    refusals: RefusalCache,
    pipeline: ImagePipeline,
    coalescer: RequestCoalescer,
    job_manager: JobManager,
    webhooks: WebhookSender | None,
    health: HealthRoutes,
    metrics: Metrics,
) -> list[Router]:
    models, charges = engine.models, PixelCharges(pipeline, metrics)
    jobs = JobRoutes(settings, models, pipeline, job_manager, charges, webhooks)
    image_calls = ImageCalls(coalescer, charges)
    others: dict[str, Callable[[], Router]] = {
        "openai": lambda: EditRoutes(settings, models, pipeline, image_calls, jobs).router,
        "open-inference": lambda: OpenInferenceRoutes(settings, models, pipeline, image_calls, health).router,
        "automatic1111": lambda: Automatic1111Routes(settings, models, pipeline, image_calls).router,
    }
    return [
        ImageRoutes(settings, models, refusals, pipeline, coalescer, jobs, charges).router,
        jobs.router,
        *(build() for name, build in others.items() if name in settings.apis),
        EstimateRoutes(settings, models, pipeline).router,
        ModelRoutes(models, settings.openai_names if "openai" in settings.apis else {}).router,
        ProblemRoutes().router,
        AdminRoutes(ModelAdmin(engine.stores, models, engine.watcher), models).router,
    ]


def _job_store(settings: Settings, metrics: Metrics) -> JobStore:
    if not settings.jobs_url.get_secret_value():
        return FolderJobStore(settings, metrics)
    try:
        from service.jobs.redis_store import RedisJobStore  # noqa: PLC0415 # an extra
    except ImportError as error:
        raise ValueError("jobs_url needs redis-py: pip install 'pastiche[redis]'") from error
    try:
        return RedisJobStore(settings, metrics)
    except StoreError as error:
        raise ValueError(f"job_results_url: {error}") from error


def _webhook_sender(settings: Settings) -> WebhookSender | None:
    if not settings.webhook_keys:
        return None
    policy = AddressPolicy(Resolver(), settings.webhook_hosts.split())
    return WebhookSender(settings, policy)


def _tracing(settings: Settings) -> Tracing:
    """Raises ValueError where there is a collector, and nothing that could speak with it."""
    if not settings.otlp_endpoint:
        return Propagation()
    try:
        from service.telemetry.otlp import connect  # noqa: PLC0415 # an extra
    except ImportError as error:
        raise ValueError("otlp_endpoint needs OpenTelemetry: pip install 'pastiche[otel]'") from error
    return connect(settings.otlp_endpoint)


def _load_shedder(settings: Settings, refusals: RefusalCache, metrics: Metrics) -> LoadShedder | None:
    if not settings.load_shedding:
        return None
    timeouts = settings.request_timeout, settings.max_request_timeout
    return LoadShedder(refusals, metrics, *timeouts, prefix=settings.root_path)


def _access_policy(settings: Settings, metrics: Metrics) -> AccessPolicy:
    limits = LimitPolicy(
        megapixels_per_minute=settings.address_megapixels_per_minute,
        requests_per_minute=settings.address_requests_per_minute,
        requests_in_flight=settings.address_requests_in_flight,
        unfinished_jobs=settings.address_unfinished_jobs,
    )
    keys = KeyRing(settings.keys_file, metrics) if settings.keys_file is not None else None
    return AccessPolicy(keys, AddressQuotas(limits), settings.keys_required)


def _codec_pool(settings: Settings, launcher: WorkerLauncher, metrics: Metrics) -> WorkerPool:
    pool = WorkerPool(settings.codec_workers, launcher, lambda reason: metrics.codec_deaths.labels(reason).inc())
    metrics.codec_workers.set_function(lambda: len(pool.pids))
    metrics.codec_waiting.set_function(lambda: pool.waiting)
    return pool
