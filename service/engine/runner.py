"""Runs batches of tiles on one device. No HTTP, no asyncio.

A device has lanes: threads in each of which one batch runs. On a CPU a lane is a share of the cores, and an exclusive
batch has all of them. On a GPU lanes are batches in flight: one is computed while another is copied.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import get_ident
from time import monotonic, time
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor

from model_store import Network, TransformNetwork, thumbnail
from service.engine.backend import Backend
from service.engine.loaded_model import LoadedNetwork
from service.engine.tiling import ImageTile, TiledImage
from service.errors import DeviceLost, InferenceFailed, OutOfDeviceMemory
from service.imaging.pixels import Pixels
from service.telemetry.metrics import Metrics

OUT_OF_MEMORY_MESSAGES = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "unable to find an engine",
)
"""Parts of torch's messages where the memory of the processor, of CUDA or of its libraries does not suffice: cuDNN
9 says ALLOCATION_FAILED, the others ALLOC_FAILED."""

MAX_FOREIGN_ERRORS = 32
"""Errors of another GPU that one batch may meet: each event of the lost one, in memory that all share, raises one."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Runner:
    """Owns the device and its threads. `close` ends them."""

    def __init__(self, device: torch.device, backend: Backend, lanes: int, metrics: Metrics) -> None:
        """`backend` runs on `device`, at most `lanes` batches at a time."""
        self.device = device
        self.backend = backend
        self.lanes = lanes
        self.lost: str | None = None
        """Why the device computes no more; None while it works."""
        self._metrics = metrics
        self._name = str(device)
        self._foreign_errors = 0
        self._fatal: list[Exception] = []
        """Errors of the lost device, and by their frames its tensors: CUDA would fail to free them, which can abort."""
        self._began: dict[int, float] = {}
        self._lane_threads = ThreadPoolExecutor(lanes, f"lane-{device}")
        self._loading_thread = ThreadPoolExecutor(1, f"loading-{device}")
        metrics.device_available.labels(self._name).set_function(lambda: self.lost is None)
        metrics.device_operation_age.labels(self._name).set_function(self.operation_age)
        metrics.device_busy.labels(self._name)
        metrics.out_of_memory.labels(self._name)

    def submit_operation(self, operation: Callable[[], T], *, exclusive: bool = False) -> Future[T]:
        """Call a function in a lane's thread, as soon as one is free; it counts as the device's work."""
        share = 1.0 if exclusive else 1 / self.lanes
        return self._lane_threads.submit(self._observed, share, operation)

    def submit_beside(self, operation: Callable[[], T]) -> Future[T]:
        """Call a function beside the batches, in a thread of its own; it counts as the device's work."""
        return self._loading_thread.submit(self._observed, 1 / self.lanes, operation)

    def close(self) -> None:
        """Wait for the running operations, cancel those that have not begun, end the threads."""
        for threads in (self._loading_thread, self._lane_threads):
            threads.shutdown(cancel_futures=True)

    def operation_age(self) -> float:
        """Seconds that the longest running operation has taken, 0 while the device is idle."""
        began = list(self._began.values())
        return monotonic() - min(began) if began else 0.0

    def run(self, network: LoadedNetwork, tiles: Sequence[ImageTile], exclusive: bool = False) -> None:
        """Compute tiles whose planes have one shape, and paste their outputs into their images.

        Where memory runs out the batch is halved; a single tile is tried once more with the least memory, never in
        parts, which would change its bytes. An output that is not finite is computed again in fp32. Raises
        OutOfDeviceMemory or InferenceFailed where that does not help, DeviceLost where the device has failed.
        """
        if self._try_run(network, tiles, exclusive):
            return
        self.backend.reduce_memory(network.tiling.fixed_batch(tiles[0].tile))
        if len(tiles) > 1:
            half = len(tiles) // 2
            self.run(network, tiles[:half], exclusive)
            self.run(network, tiles[half:], exclusive)
        elif not self._try_run(network, tiles, exclusive, eager=True):
            tile = tiles[0].tile
            raise OutOfDeviceMemory(f"{tile.width}×{tile.height} px do not fit into the memory of {self.device}")

    def run_whole(self, network: LoadedNetwork, tiles: Sequence[ImageTile], exclusive: bool = False) -> None:
        """As `run`, but in one batch or not at all, and later batches stay as large as they are.

        Raises OutOfDeviceMemory where the batch does not fit; what was kept for it is freed.
        """
        if not self._try_run(network, tiles, exclusive):
            self.backend.reduce_memory(1)
            raise OutOfDeviceMemory(f"{len(tiles)} planes at once do not fit into the memory of {self.device}")

    def _try_run(
        self, network: LoadedNetwork, tiles: Sequence[ImageTile], exclusive: bool, *, eager: bool = False
    ) -> bool:
        """Whether memory sufficed. After it has returned, no traceback keeps the tensors that filled the memory."""
        while True:
            try:
                with self.translated_errors():
                    self._run_batch(network, tiles, exclusive, eager=eager)
            except OutOfDeviceMemory:
                self._metrics.out_of_memory.labels(self._name).inc()
                return False
            except torch.AcceleratorError:  # another device's
                continue
            self._foreign_errors = 0
            return True

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Lack of memory in the block raises OutOfDeviceMemory; a failed device raises DeviceLost from then on.

        Where CUDA itself lacks memory, for a page-locked buffer say, torch raises the error of a failed device. That of
        another GPU is raised as it is, AcceleratorError; after MAX_FOREIGN_ERRORS in a row it counts as this device's.
        """
        if self.lost:
            raise DeviceLost(self.lost)
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if _is_out_of_memory(error):
                raise OutOfDeviceMemory(f"the memory of {self.device} does not suffice") from error
            if isinstance(error, torch.AcceleratorError) and not self._is_foreign():
                self._fatal.append(error)
                self.lost = f"{self.device} failed: {type(error).__name__}"
                logger.critical("device %s is lost", self.device, exc_info=error)
                raise DeviceLost(self.lost) from error
            raise

    def _is_foreign(self) -> bool:
        """Whether an error of CUDA is another device's: this one's is sticky, and every later call fails as well."""
        self._foreign_errors += 1
        return self._foreign_errors <= MAX_FOREIGN_ERRORS and self.backend.still_works()

    @torch.inference_mode()
    def _run_batch(self, network: LoadedNetwork, tiles: Sequence[ImageTile], exclusive: bool, *, eager: bool) -> None:
        planes = [image_tile.cut() for image_tile in tiles]
        with self.backend.lane(exclusive):
            statistics = self._statistics(network, tiles)
            if eager:
                outputs = self.backend.run_eager(network.network, planes, statistics)
            else:
                fixed_batch = network.tiling.fixed_batch(tiles[0].tile)
                outputs = self.backend.run(network.network, planes, statistics, fixed_batch)
        for image_tile, plane, output in zip(tiles, planes, outputs, strict=True):
            image_tile.paste(self._rerun_in_fp32(network, image_tile, plane) if output is None else output)

    def _statistics(self, network: LoadedNetwork, tiles: Sequence[ImageTile]) -> Tensor | None:
        """The thumbnail statistics of each tile's image, (N, 2, K); computed when its first tile runs here."""
        if not _needs_statistics(network.network):
            return None
        for image in (image_tile.image for image_tile in tiles):
            if self.device not in image.statistics:
                image.statistics[self.device] = self._measure_statistics(network.network, image)
        return torch.cat([each.image.statistics[self.device] for each in tiles])

    def _measure_statistics(self, network: TransformNetwork, image: TiledImage) -> Tensor:
        """(1, 2, K), of the image's thumbnail."""
        return self.backend.statistics(network, thumbnail(image.image, network.spec.thumbnail))

    def _rerun_in_fp32(self, network: LoadedNetwork, image_tile: ImageTile, plane: Pixels) -> Pixels:
        """The output of one tile in fp32, which does not overflow where half precision does."""
        fp32 = network.fp32
        with self.backend.lane(exclusive=False):
            statistics = self._measure_statistics(fp32, image_tile.image) if _needs_statistics(fp32) else None
            (output,) = self.backend.run_eager(fp32, [plane], statistics)
        self._metrics.nonfinite_outputs.labels("recovered" if output is not None else "failed").inc()
        if output is None:
            raise InferenceFailed("the network gives values that are not finite for this image; try another model")
        return output

    def _observed(self, share: float, operation: Callable[[], T]) -> T:
        """The operation's result; its time, and the `share` of the device that it takes, are added to the metrics."""
        self._began[get_ident()] = began = monotonic()
        self._metrics.device_heartbeat.labels(self._name).set(time())
        try:
            return operation()
        except StopIteration as error:  # no future can carry it to asyncio, and whoever waits would wait for ever
            raise RuntimeError("an operation of the device ended with StopIteration") from error
        finally:
            del self._began[get_ident()]
            self._metrics.device_busy.labels(self._name).inc((monotonic() - began) * share)
            self._metrics.device_heartbeat.labels(self._name).set(time())


def _needs_statistics(network: Network) -> TypeGuard[TransformNetwork]:
    return network.needs_statistics


def _is_out_of_memory(error: Exception) -> bool:
    """Only for its own allocator on a GPU does torch raise an exception of that type."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        message in str(error) for message in OUT_OF_MEMORY_MESSAGES
    )
