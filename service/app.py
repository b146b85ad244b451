"""The one place that builds every part of the service and says who knows whom."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI
from PIL import Image

from model_store import ModelStore
from service import errors
from service.batcher import Batcher, QueueLimits
from service.codec import Pixels
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
from service.trace import TraceMiddleware

GPU_BATCH_PIXELS = 4 * MEGA
ONE_IMAGE = 1
"""A budget of one pixel: the oldest image always runs, and no other fits beside it."""


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. It starts to work, and stops, with its lifespan.

    Raises ValueError where the device of the settings does not exist.
    """
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own guard, process-wide; the codec's limits are stricter and come first

    metrics = Metrics()
    device = choose_device(settings.device)
    runner = Runner(device, choose_precision(settings.precision, device), settings.threads, metrics)
    stores = [ModelStore(root) for root in settings.stores]
    models = ServedModels(stores, runner, metrics, settings.store_poll_seconds)

    async def run(model: ServedModel, images: list[Pixels]) -> list[Pixels]:
        return await asyncio.wrap_future(runner.submit(runner.run, model.network, images))

    batch_pixels = settings.batch_pixels or (GPU_BATCH_PIXELS if device.type == "cuda" else ONE_IMAGE)
    limits = QueueLimits(settings.max_queue_requests, settings.max_queue_pixels, batch_pixels)
    batcher = Batcher(run, limits, metrics)
    codecs = ThreadPoolExecutor(settings.codec_threads, "codec")
    lifespan = Lifespan(settings, models, batcher, runner, codecs)

    app = FastAPI(
        title="Pastiche",
        version=package_version(),
        description="Paints photographs in a style and enlarges them (feed-forward networks, Johnson et al. 2016).",
        lifespan=lifespan,
    )
    app.state.lifespan = lifespan
    app.add_middleware(TraceMiddleware, metrics=metrics)
    errors.install(app)
    app.include_router(Home().router)
    app.include_router(Images(settings, models, batcher, codecs, metrics).router)
    app.include_router(Models(models).router)
    app.include_router(Problems().router)
    app.include_router(Probes(settings, models, runner, lifespan, metrics).router)
    return app
