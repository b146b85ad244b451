"""The one place that builds every part of the service and says who knows whom."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from fastapi import FastAPI
from PIL import Image

from model_store import ModelStore
from service import errors
from service.admission import Admission, QueueLimits
from service.batcher import Batcher, Lanes
from service.cuda import OnCuda
from service.forward import Forward, OnCpu
from service.lifespan import Lifespan
from service.metrics import Metrics, package_version
from service.routes.health import Probes
from service.routes.home import Home
from service.routes.images import Images
from service.routes.models import Models
from service.routes.problems import Problems
from service.runner import Runner, choose_device, choose_precision
from service.served_models import ServedModel, ServedModels
from service.settings import MEGA, Settings
from service.tiling import Piece, TileSizes
from service.trace import TraceMiddleware
from service.turnstile import Turnstile

GPU_LANES = 2
"""Batches in flight: one is computed while another is copied."""

GPU_TILE_SIDES = (256, 512, 1024)
"""Sides of tiles in output pixels: few shapes, so that tiles of many images fill the batches of each."""

GPU_BATCH_PIXELS = 2 * MEGA
ONE_TILE = 1
"""A budget of one pixel: the most urgent tile always runs, and no other fits beside it."""


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. It starts to work, and stops, with its lifespan.

    Raises ValueError where the device of the settings does not exist.
    """
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own guard, process-wide; the codec's limits are stricter and come first

    metrics = Metrics()
    device = choose_device(settings.device)
    lanes = _lanes(settings, device)
    sizes = TileSizes(settings.tile_values, GPU_TILE_SIDES if device.type == "cuda" else ())
    precision = choose_precision(settings.precision, device)
    forward = _forward(settings, device, lanes)
    runner = Runner(device, precision, forward, lanes.count, sizes, metrics)
    stores = [ModelStore(root) for root in settings.stores]
    models = ServedModels(stores, runner, metrics, settings.store_poll_seconds)

    async def run(model: ServedModel, pieces: Sequence[Piece], alone: bool) -> None:
        await asyncio.wrap_future(runner.submit(model.network, pieces, alone))

    limits = QueueLimits(settings.max_queue_requests, settings.max_queue_pixels)
    admission: Admission[ServedModel] = Admission(limits, lanes.count, metrics)
    batcher = Batcher(run, admission, lanes, metrics)
    codecs = ThreadPoolExecutor(settings.codec_threads, "codec")
    lifespan = Lifespan(settings, models, admission, batcher, runner, codecs)

    app = FastAPI(
        title="Pastiche",
        version=package_version(),
        description="Paints photographs in a style and enlarges them (feed-forward networks, Johnson et al. 2016).",
        lifespan=lifespan,
    )
    app.state.lifespan = lifespan
    app.add_middleware(TraceMiddleware, metrics=metrics)
    app.add_middleware(Turnstile, admission=admission, metrics=metrics, default_timeout=settings.request_timeout)
    errors.install(app)
    app.include_router(Home().router)
    app.include_router(Images(settings, models, admission, batcher, codecs, metrics).router)
    app.include_router(Models(models).router)
    app.include_router(Problems().router)
    app.include_router(Probes(settings, models, runner, lifespan, metrics).router)
    return app


def _forward(settings: Settings, device: torch.device, lanes: Lanes) -> Forward:
    if device.type == "cuda":
        return OnCuda(device, lanes.batch_pixels)
    return OnCpu(settings.threads, lanes.count)


def _lanes(settings: Settings, device: torch.device) -> Lanes:
    if device.type == "cuda":
        return Lanes(GPU_LANES, mergeable=False, batch_pixels=settings.batch_pixels or GPU_BATCH_PIXELS)
    count = min(settings.lanes, settings.threads)
    return Lanes(count, mergeable=count > 1, batch_pixels=settings.batch_pixels or ONE_TILE)
