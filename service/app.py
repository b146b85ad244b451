"""The one place that builds every part of the service and says who knows whom."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from PIL import Image

from model_store import ModelStore
from service import errors
from service.admission import Admission, QueueLimits
from service.batcher import Batcher, Lanes
from service.commissions import Commissions
from service.cuda import OnCuda
from service.desk import Desk
from service.forward import Forward, OnCpu
from service.identity import made_with
from service.lifespan import Lifespan
from service.metrics import Metrics, package_version
from service.normal_form import NormalForm
from service.routes.edits import PATH as EDITS
from service.routes.edits import Edits, openai_error
from service.routes.estimates import Estimates
from service.routes.health import Probes
from service.routes.home import Home
from service.routes.images import Images
from service.routes.jobs import Jobs
from service.routes.models import Models
from service.routes.parameters import refuse_unknown
from service.routes.problems import Problems
from service.runner import Runner, choose_device, choose_precision
from service.served_models import ServedModel, ServedModels
from service.settings import MEGA, Settings
from service.sharing import SharedStudio
from service.studio import Studio
from service.tiling import Piece, TileSizes
from service.trace import TraceMiddleware
from service.turnstile import Turnstile

GPU_LANES = 2
"""Batches in flight: one is computed while another is copied."""

GPU_TILE_SIDES = (256, 512, 1024)
"""Sides of tiles in output pixels: few shapes, so that tiles of many images fill the batches of each."""

GPU_BATCH_VALUES = 128 * MEGA
"""256 MB of planes in half precision, whatever the network: 2.7 megapixels of the paper's style network."""


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. It starts to work, and stops, with its lifespan.

    Raises ValueError where the device of the settings does not exist.
    """
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own guard, process-wide; ours are stricter and come first

    metrics = Metrics()
    device = choose_device(settings.device)
    lanes = _lanes(settings, device)
    sizes = _sizes(settings, device)
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
    studio = Studio(settings, admission, batcher, codecs, metrics)
    shared = SharedStudio(studio, made_with(device, precision, sizes), metrics, coalesce=settings.coalesce)
    desk = Desk(settings, models)
    commissions = Commissions(settings, desk, shared, metrics)
    lifespan = Lifespan(settings, models, admission, batcher, runner, codecs, commissions)

    app = FastAPIOffline(
        redoc_url=None,
        title="Pastiche",
        version=package_version(),
        description="Paints photographs in a style and enlarges them (feed-forward networks, Johnson et al. 2016).",
        lifespan=lifespan,
        redirect_slashes=False,
        dependencies=[Depends(refuse_unknown)],
    )
    app.state.lifespan = lifespan
    app.state.turnstile = Turnstile(admission.refusals, metrics, settings.request_timeout, settings.max_request_timeout)
    app.add_middleware(NormalForm)
    app.add_middleware(TraceMiddleware, metrics=metrics)
    errors.install(app, {EDITS: openai_error})
    app.include_router(Home().router)
    jobs = Jobs(settings, desk, studio, commissions)
    app.include_router(Images(settings, desk, admission, studio, shared, jobs).router)
    app.include_router(jobs.router)
    app.include_router(Edits(settings, models, desk, shared, jobs).router)
    app.include_router(Estimates(desk, studio).router)
    app.include_router(Models(models).router)
    app.include_router(Problems().router)
    app.include_router(Probes(settings, models, runner, lifespan, metrics).router)
    return app


def _forward(settings: Settings, device: torch.device, lanes: Lanes) -> Forward:
    if device.type == "cuda":
        return OnCuda(device)
    return OnCpu(settings.threads, lanes.count)


def _lanes(settings: Settings, device: torch.device) -> Lanes:
    if device.type == "cuda":
        return Lanes(GPU_LANES, mergeable=False)
    count = min(settings.lanes, settings.threads)
    return Lanes(count, mergeable=count > 1)


def _sizes(settings: Settings, device: torch.device) -> TileSizes:
    """On a CPU, where batches gain nothing, one tile runs at a time."""
    if device.type == "cuda":
        return TileSizes(settings.tile_values, GPU_TILE_SIDES, settings.batch_values or GPU_BATCH_VALUES)
    return TileSizes(settings.tile_values, batch_values=settings.batch_values or 0)
