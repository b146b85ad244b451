"""The composition root: builds every part of the service and connects them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from model_store import ModelStore
from service.engine.admission import Admission, QueueLimits
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.cuda import CudaBackend
from service.engine.device import choose_device, choose_precision, configure_torch
from service.engine.model_loader import ModelLoader
from service.engine.runner import Runner
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile, TileSizes
from service.http.access.access_control import AccessPolicy
from service.http.access.address_quotas import AddressQuotas
from service.http.access.api_key import LimitPolicy
from service.http.access.key_ring import KeyRing
from service.http.access.pixel_charges import PixelCharges
from service.http.application import Application, Router, build_application, build_metrics_application
from service.http.body_budget import BodyBudget
from service.http.image_calls import ImageCalls
from service.http.load_shedding.load_shedder import LoadShedder
from service.http.load_shedding.refusal_cache import RefusalCache
from service.http.middleware.uploads import Upload
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
from service.http.upload_pace import Pace
from service.http.webhooks.address_policy import AddressPolicy
from service.http.webhooks.resolver import Resolver
from service.http.webhooks.sender import WebhookSender
from service.imaging.workers.codec_client import CodecClient
from service.imaging.workers.launcher import WorkerLauncher
from service.imaging.workers.pool import WorkerPool
from service.jobs.deliveries import Deliveries, Sender
from service.jobs.kept_jobs import KeptJobs
from service.jobs.queue import JobQueue
from service.jobs.runner import JobRunner
from service.jobs.store import JobStore
from service.lifespan import Lifespan
from service.models.promotion import Promoter
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.fingerprint import build_fingerprint
from service.pipeline.pipeline import ImagePipeline
from service.settings import MEGA, Settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Propagation, Tracing

GPU_LANES = 2
"""Batches in flight on a GPU: one is computed while another is copied."""

GPU_TILE_SIDES = (256, 512, 1024)
"""Sides of tiles on a GPU, in output pixels: few shapes, so that tiles of many images fill the batches of each."""

GPU_BATCH_VALUES = 128 * MEGA
"""256 MB of planes in half precision, whatever the network: 2.7 megapixels of the paper's style network."""


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
    runner: Runner
    admission: Admission[ServedModel]
    pipeline: ImagePipeline
    jobs: JobQueue
    refusals: RefusalCache
    shedder: LoadShedder | None
    """None where the settings switch load shedding off."""


@dataclass(frozen=True)
class Engine:
    """The device, the models on it, and what decides on their work."""

    runner: Runner
    stores: Sequence[ModelStore]
    models: ModelRegistry
    admission: Admission[ServedModel]
    scheduler: Scheduler[ServedModel]
    fingerprint: str
    """What all answers have in common: see `build_fingerprint`."""


def build_service(
    settings: Settings, refusals: RefusalCache | None = None, launcher: WorkerLauncher | None = None
) -> Service:
    """A service with these settings. Raises ValueError where its device does not exist, its keys cannot be read, or
    an extra is missing.

    Configures torch for the whole process.
    """
    metrics = Metrics({"torch": str(torch.__version__)})
    refusals = RefusalCache() if refusals is None else refusals
    engine = _engine(settings, metrics, refusals)
    codec_pool = _codec_pool(settings, launcher or WorkerLauncher(), metrics)
    codecs = CodecClient(codec_pool, settings.codec_seconds)
    pipeline = ImagePipeline(settings, engine.admission, engine.scheduler, codecs, metrics)
    coalescer = RequestCoalescer(pipeline, engine.fingerprint, metrics, coalesce=settings.coalesce)
    webhooks, tracing, access = _webhook_sender(settings), _tracing(settings), _access_policy(settings, metrics)
    queue = build_job_queue(settings, engine.models, coalescer, webhooks, metrics, tracing)
    background = [access.keys.follow] if access.keys is not None else []
    lifespan = Lifespan(
        settings,
        engine.models,
        engine.admission,
        engine.scheduler,
        engine.runner,
        codec_pool,
        queue,
        background,
        tracing.close,
    )
    health = HealthRoutes(settings, engine.models, engine.runner, lifespan, metrics)
    scrape = [health.metrics_router] if settings.serve_metrics else []
    calls = _call_routers(settings, engine, refusals, pipeline, coalescer, queue, webhooks, health, metrics)
    routers = [*_page_routers(settings), *calls, health.router, *(scrape if settings.metrics_port is None else ())]
    new_upload = partial(Upload, BodyBudget(settings.max_body_bytes_in_flight, metrics), Pace.of(settings))
    return Service(
        build_application(lifespan, routers, metrics, settings, access, new_upload, tracing),
        build_metrics_application([health.router, *scrape]),
        lifespan,
        settings,
        metrics,
        engine.models,
        engine.runner,
        engine.admission,
        pipeline,
        queue,
        refusals,
        _load_shedder(settings, refusals, metrics),
    )


def build_job_queue(
    settings: Settings,
    models: ModelRegistry,
    coalescer: RequestCoalescer,
    sender: Sender | None,
    metrics: Metrics,
    tracing: Tracing,
) -> JobQueue:
    """The jobs of the folder that the settings name."""
    store = JobStore(settings.jobs_folder)
    deliveries = Deliveries(settings, store, sender, metrics)
    jobs = KeptJobs(settings, store, deliveries, metrics)
    runner = JobRunner(settings, models, coalescer, store, jobs, deliveries, metrics, tracing)
    return JobQueue(settings, store, jobs, runner, deliveries, metrics)


def _engine(settings: Settings, metrics: Metrics, refusals: RefusalCache) -> Engine:
    """Configures torch for the whole process. Raises ValueError where the device does not exist."""
    configure_torch()
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    concurrency, sizes = _concurrency(settings, device), _tile_sizes(settings, device)
    runner = Runner(device, _backend(settings, device, concurrency), concurrency.lanes, metrics)
    stores = [ModelStore(root) for root in settings.stores]
    models = ModelRegistry(stores, ModelLoader(runner, precision, sizes), metrics, settings.store_poll_seconds)

    async def run_batch(model: ServedModel, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        await asyncio.wrap_future(runner.submit(model.network, tiles, exclusive))

    limits = QueueLimits(settings.max_queue_requests, settings.max_queue_pixels, settings.max_queue_inferences)
    admission: Admission[ServedModel] = Admission(limits, concurrency.lanes, metrics, listener=refusals)
    scheduler = Scheduler(run_batch, admission, concurrency, metrics)
    return Engine(runner, stores, models, admission, scheduler, build_fingerprint(device, precision, sizes))


def _page_routers(settings: Settings) -> list[Router]:
    playground = PlaygroundRoutes() if settings.playground else None
    return [IndexRoutes(playground).router, *([playground.router] if playground is not None else ())]


def _call_routers(
    settings: Settings,
    engine: Engine,
    refusals: RefusalCache,
    pipeline: ImagePipeline,
    coalescer: RequestCoalescer,
    queue: JobQueue,
    webhooks: WebhookSender | None,
    health: HealthRoutes,
    metrics: Metrics,
) -> list[Router]:
    models, charges = engine.models, PixelCharges(pipeline, metrics)
    jobs = JobRoutes(settings, models, pipeline, queue, charges, webhooks)
    image_calls = ImageCalls(coalescer, charges)
    others = {
        "openai": EditRoutes(settings, models, pipeline, image_calls, jobs).router,
        "open-inference": OpenInferenceRoutes(settings, models, pipeline, image_calls, health).router,
        "automatic1111": Automatic1111Routes(settings, models, pipeline, image_calls).router,
    }
    return [
        ImageRoutes(settings, models, refusals, pipeline, coalescer, jobs, charges).router,
        jobs.router,
        *(router for name, router in others.items() if name in settings.apis),
        EstimateRoutes(settings, models, pipeline).router,
        ModelRoutes(models).router,
        ProblemRoutes().router,
        AdminRoutes(Promoter(engine.stores, models), models).router,
    ]


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


def _backend(settings: Settings, device: torch.device, concurrency: Concurrency) -> Backend:
    if device.type == "cuda":
        return CudaBackend(device)
    return CpuBackend(settings.threads, concurrency.lanes)


def _concurrency(settings: Settings, device: torch.device) -> Concurrency:
    if device.type == "cuda":
        return Concurrency(GPU_LANES, exclusive_batches=False)
    lanes = min(settings.lanes, settings.threads)
    return Concurrency(lanes, exclusive_batches=lanes > 1)


def _tile_sizes(settings: Settings, device: torch.device) -> TileSizes:
    """On a CPU, where batches gain nothing, one tile runs at a time."""
    if device.type == "cuda":
        return TileSizes(settings.tile_values, GPU_TILE_SIDES, settings.batch_values or GPU_BATCH_VALUES)
    return TileSizes(settings.tile_values, batch_values=settings.batch_values or 0)
