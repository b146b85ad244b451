"""Runs the networks of some images, whose tiles share batches."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from threading import Lock

from service.engine.device_assembly import Device
from service.engine.inference_spec import InferenceSpec
from service.engine.tiling import ImageTile, TiledImage
from service.imaging.blending import mix
from service.imaging.pixels import Pixels
from service.models.served_model import ServedModel
from service.pipeline.operation import Plan

Step = tuple[InferenceSpec[ServedModel], Pixels]
"""A network and its input, (H, W, 3)."""

Batch = tuple[ServedModel, list[ImageTile]]
"""Tiles whose planes have one shape."""


class Inference:
    """The networks of several plans on one device, in order for each image, and side by side for all of them.

    Any number of threads may call it.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lock = Lock()
        self._calls = 0

    def run(self, plans: Sequence[Plan], inputs: Sequence[Pixels]) -> list[list[Pixels]]:
        """For each plan what `FrameTransform.postprocess` wants: the outputs of its first networks, or its chain's.

        Raises what the runner raises.
        """
        firsts = [plan.inferences[: len(plan.weights)] for plan in plans]
        chains = [plan.inferences[len(plan.weights) :] for plan in plans]
        outputs = self._run_each(
            [[(spec, image) for spec in first] for first, image in zip(firsts, inputs, strict=True)]
        )
        for number, plan in enumerate(plans):
            if chains[number]:
                outputs[number] = [mix(outputs[number], plan.weights)]
        for position in range(max(map(len, chains), default=0)):
            numbers = [number for number, chain in enumerate(chains) if position < len(chain)]
            results = self._run_each([[(chains[number][position], outputs[number][0])] for number in numbers])
            for number, result in zip(numbers, results, strict=True):
                outputs[number] = result
        return outputs

    def _run_each(self, steps: Sequence[Sequence[Step]]) -> list[list[Pixels]]:
        """The outputs of the steps of each image."""
        results = iter(self._run_all([step for each in steps for step in each]))
        return [[next(results) for _ in each] for each in steps]

    def _run_all(self, steps: Sequence[Step]) -> list[Pixels]:
        images = [TiledImage(pixels, spec.model.tiling, spec.tiles) for spec, pixels in steps]
        batches = _batches([spec.model for spec, _ in steps], images)
        with self._counted() as alone:
            exclusive = alone and len(batches) == 1 and self._device.concurrency.exclusive_batches
            pool = self._device.pool
            _finish([pool.submit(model.network, tiles, exclusive) for model, tiles in batches])
        return [image.result for image in images]

    @contextmanager
    def _counted(self) -> Iterator[bool]:
        """Whether no other call is running."""
        with self._lock:
            self._calls += 1
            alone = self._calls == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._calls -= 1


def _batches(models: Sequence[ServedModel], images: Sequence[TiledImage]) -> list[Batch]:
    """All tiles, in batches of one model and shape."""
    alike: dict[tuple[ServedModel, int, int], list[ImageTile]] = {}
    for model, image in zip(models, images, strict=True):
        for tile in image.tiles:
            alike.setdefault((model, tile.plane_height, tile.plane_width), []).append(ImageTile(image, tile))
    return [
        (model, tiles[begin : begin + size])
        for (model, _, _), tiles in alike.items()
        for size in [model.tiling.max_batch(tiles[0].tile)]
        for begin in range(0, len(tiles), size)
    ]


def _finish(futures: Sequence[Future[None]]) -> None:
    """Wait for all; where one fails, or the wait is interrupted, those that have not begun are cancelled."""
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
