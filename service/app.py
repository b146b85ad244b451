"""The composition root: builds every part of the service and connects them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from model_store import ModelStore
from service.engine.admission import Admission, QueueLimits
from service.engine.backend import Backend
from service.engine.cpu import CpuBackend
from service.engine.cuda import CudaBackend
from service.engine.device import choose_device, choose_precision, configure_torch
from service.engine.runner import Runner
from service.engine.scheduler import Concurrency, Scheduler
from service.engine.tiling import ImageTile, TileSizes
from service.http.asgi import Application, build_application
from service.http.load_shedding.load_shedder import LoadShedder
from service.http.load_shedding.refusal_cache import RefusalCache
from service.http.routes.edits import EditRoutes
from service.http.routes.estimates import EstimateRoutes
from service.http.routes.health import HealthRoutes
from service.http.routes.images import ImageRoutes
from service.http.routes.index import index_router
from service.http.routes.jobs import JobRoutes
from service.http.routes.models import ModelRoutes
from service.http.routes.problems import ProblemRoutes
from service.imaging.codecs import configure_codecs
from service.jobs.queue import JobQueue
from service.lifespan import Lifespan
from service.models.registry import ModelRegistry, ServedModel
from service.pipeline.cache_key import build_fingerprint
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.pipeline import ImagePipeline
from service.settings import MEGA, Settings
from service.telemetry.metrics import Metrics

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


def build_service(settings: Settings, refusals: RefusalCache | None = None) -> Service:
    """A service with these settings. Raises ValueError where its device does not exist.

    Configures torch and the codecs for the whole process.
    """
    configure_torch()
    configure_codecs()
    metrics = Metrics({"torch": str(torch.__version__)})
    refusals = RefusalCache() if refusals is None else refusals

    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    concurrency, sizes = _concurrency(settings, device), _tile_sizes(settings, device)
    runner = Runner(device, precision, _backend(settings, device, concurrency), concurrency.lanes, sizes, metrics)
    stores = [ModelStore(root) for root in settings.stores]
    models = ModelRegistry(stores, runner, metrics, settings.store_poll_seconds)

    async def run_batch(model: ServedModel, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        await asyncio.wrap_future(runner.submit(model.network, tiles, exclusive))

    limits = QueueLimits(settings.max_queue_requests, settings.max_queue_pixels, settings.max_queue_inferences)
    admission: Admission[ServedModel] = Admission(limits, concurrency.lanes, metrics, listener=refusals)
    scheduler = Scheduler(run_batch, admission, concurrency, metrics)
    codecs = ThreadPoolExecutor(settings.codec_threads, "codec")
    pipeline = ImagePipeline(settings, admission, scheduler, codecs, metrics)
    fingerprint = build_fingerprint(device, precision, sizes)
    coalescer = RequestCoalescer(pipeline, fingerprint, metrics, coalesce=settings.coalesce)
    queue = JobQueue(settings, models, coalescer, metrics)
    lifespan = Lifespan(settings, models, admission, scheduler, runner, codecs, queue)

    job_routes = JobRoutes(settings, models, pipeline, queue)
    routers = [
        index_router(),
        ImageRoutes(settings, models, refusals, pipeline, coalescer, job_routes).router,
        job_routes.router,
        EditRoutes(settings, models, coalescer, job_routes).router,
        EstimateRoutes(settings, models, pipeline).router,
        ModelRoutes(models).router,
        ProblemRoutes().router,
        HealthRoutes(settings, models, runner, lifespan, metrics).router,
    ]
    app = build_application(lifespan, routers, metrics)
    shedder = _load_shedder(settings, refusals, metrics)
    return Service(app, lifespan, settings, metrics, models, runner, admission, pipeline, queue, refusals, shedder)


def _load_shedder(settings: Settings, refusals: RefusalCache, metrics: Metrics) -> LoadShedder | None:
    if not settings.load_shedding:
        return None
    return LoadShedder(refusals, metrics, settings.request_timeout, settings.max_request_timeout)


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
