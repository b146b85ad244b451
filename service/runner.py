"""One batch of tiles on one device. No HTTP, no asyncio.

A device has lanes: threads in each of which one batch runs. On a CPU a lane is a share of the cores, and a batch that
is alone has all of them; on a GPU lanes are batches in flight, one computed while the other is copied.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import get_ident
from time import monotonic, time
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model_store import NetworkSpec, StoredModel, TransformNetwork, for_inference, has_fast_bf16, thumbnail
from service.cost import Cost
from service.errors import DeviceLost, InferenceFailed, OutOfDeviceMemory
from service.forward import Forward
from service.metrics import Metrics
from service.photographs import Pixels
from service.tiling import Canvas, Piece, TileSizes, Tiling

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

CALIBRATION = (1 / 64, 1 / 16)
"""Areas of the pictures by which a network's cost is found, as parts of the largest tile, where shapes are free."""

LACK_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine",
)
"""What torch says when the processor's memory, CUDA's own or cuDNN's does not suffice."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class LoadedNetwork:
    """A network on the device in the runner's precision, how its images are cut, and what its passes cost."""

    def __init__(self, fast: TransformNetwork, sizes: TileSizes, exact: "LoadedNetwork | None" = None) -> None:
        self.fast = fast
        self.exact = exact or self
        """The same in fp32: for pictures of 16 bits, and a second opinion on others."""
        self.tiling = Tiling(fast, sizes)
        self.cost = Cost(0.0, 0.0)


class Runner:
    """Owns the device and its threads. `close` it to end them."""

    def __init__(
        self,
        device: torch.device,
        precision: torch.dtype,
        forward: Forward,
        lanes: int,
        sizes: TileSizes,
        metrics: Metrics,
    ) -> None:
        """`forward` runs on `device`, at most `lanes` batches at a time."""
        self.device = device
        self.precision = precision
        self.lanes = lanes
        self.lost: str | None = None
        self._sizes = sizes
        self._metrics = metrics
        self._forward = forward
        self._began: dict[int, float] = {}
        self._costs: dict[tuple[NetworkSpec, type[np.uint8 | np.uint16]], Cost] = {}
        _compute_fp32_exactly()
        self._lane_threads = ThreadPoolExecutor(lanes, "lane")
        self._loading_thread = ThreadPoolExecutor(1, "loading")
        metrics.device_operation_age.set_function(self.operation_age)

    def submit(self, network: LoadedNetwork, pieces: Sequence[Piece], alone: bool) -> Future[None]:
        """Have a batch run as soon as a lane is free; see `run`."""
        share = 1.0 if alone else 1 / self.lanes
        return self._lane_threads.submit(self._observed, share, self.run, network, pieces, alone)

    def loading(self, model: StoredModel) -> Future[LoadedNetwork]:
        """Have a network loaded beside the batches; see `load`."""
        return self._loading_thread.submit(self._observed, 1 / self.lanes, self.load, model)

    def close(self) -> None:
        """Wait for the running operations, drop those that have not begun and end the threads."""
        for threads in (self._loading_thread, self._lane_threads):
            threads.shutdown(cancel_futures=True)

    def operation_age(self) -> float:
        """Seconds that the longest running operation has taken, 0 while the device is idle."""
        began = list(self._began.values())
        return monotonic() - min(began) if began else 0.0

    def load(self, model: StoredModel) -> LoadedNetwork:
        """Put a network on the device, check that it computes rightly there, warm it up and find what it costs.

        Raises GoldenMismatch where this device, in this precision or in fp32, does not reproduce the recorded output.
        """
        exact = LoadedNetwork(self._proven(model, torch.float32), self._sizes)
        exact.cost = self._cost(exact, np.uint16)
        if self.precision == torch.float32:
            network = LoadedNetwork(exact.fast, self._sizes, exact)
            network.cost = exact.cost
            return network
        network = LoadedNetwork(self._proven(model, self.precision), self._sizes, exact)
        network.cost = self._cost(network, np.uint8)
        return network

    def run(self, network: LoadedNetwork, pieces: Sequence[Piece], alone: bool = False) -> None:
        """Compute tiles whose planes have one shape, and paste them on their canvases.

        Out of memory, the batch is halved, and a single tile runs once more by itself, when nothing is kept for later:
        never in parts, for its bytes are those of its plan. A picture that is not finite is computed again in fp32.
        Raises OutOfDeviceMemory or InferenceFailed where that does not help, and DeviceLost where nothing will.
        """
        if self._fits(network, pieces, alone):
            return
        self._forward.shrink(network.tiling.full(pieces[0].tile))
        if len(pieces) > 1:
            half = len(pieces) // 2
            self.run(network, pieces[:half], alone)
            self.run(network, pieces[half:], alone)
        elif not self._fits(network, pieces, alone, eagerly=True):
            tile = pieces[0].tile
            raise OutOfDeviceMemory(f"{tile.width}×{tile.height} px do not fit into the memory of {self.device}")

    def _fits(self, network: LoadedNetwork, pieces: Sequence[Piece], alone: bool, *, eagerly: bool = False) -> bool:
        """Whether the memory sufficed. Once this returns, no traceback holds the tensors that filled it."""
        try:
            with self._device():
                self._run(network, pieces, alone, eagerly=eagerly)
        except OutOfDeviceMemory:
            self._metrics.out_of_memory.inc()
            return False
        return True

    @contextmanager
    def _device(self) -> Iterator[None]:
        """What fails in the block for want of memory raises OutOfDeviceMemory, a broken device DeviceLost for good.

        CUDA's own lack of memory, of a page-locked buffer say, looks like a broken device, and is none.
        """
        if self.lost:
            raise DeviceLost(self.lost)
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if _lacks_memory(error):
                raise OutOfDeviceMemory(f"the memory of {self.device} does not suffice") from error
            if isinstance(error, torch.AcceleratorError):  # sticky: every later call in this process fails as well
                self.lost = f"the device failed and the service restarts: {type(error).__name__}"
                logger.critical("device %s is lost", self.device, exc_info=error)
                raise DeviceLost(self.lost) from error
            raise

    @torch.inference_mode()
    def _run(self, network: LoadedNetwork, pieces: Sequence[Piece], alone: bool, *, eagerly: bool) -> None:
        planes = [piece.canvas.cut(piece.tile) for piece in pieces]
        with self._forward.place(alone):
            statistics = self._statistics(network, pieces)
            if eagerly:
                outputs = self._forward.eager(network.fast, planes, statistics)
            else:
                full = network.tiling.full(pieces[0].tile)
                outputs = self._forward(network.fast, planes, statistics, full)
        for piece, plane, output in zip(pieces, planes, outputs, strict=True):
            piece.canvas.paste(piece.tile, self._again(network, piece, plane) if output is None else output)

    def _statistics(self, network: LoadedNetwork, pieces: Sequence[Piece]) -> Tensor | None:
        """Of each piece's whole image, computed when its first tile runs, one image at a time; (N, 2, K)."""
        if not network.fast.needs_statistics:
            return None
        for canvas in (piece.canvas for piece in pieces):
            if canvas.statistics is None:
                canvas.statistics = self._measured(network.fast, canvas)
        return torch.cat([piece.canvas.statistics for piece in pieces if piece.canvas.statistics is not None])

    def _measured(self, network: TransformNetwork, canvas: Canvas) -> Tensor:
        """(1, 2, K), of the image's thumbnail."""
        small = self._forward.uploaded(thumbnail(canvas.image, network.spec.thumbnail))
        with self._forward.launching():
            return network.statistics(small)

    def _again(self, network: LoadedNetwork, piece: Piece, plane: Pixels) -> Pixels:
        """One tile in fp32: half precision can overflow where fp32 does not."""
        exact = network.exact.fast
        with self._forward.place(alone=False):
            statistics = self._measured(exact, piece.canvas) if exact.needs_statistics else None
            (output,) = self._forward.eager(exact, [plane], statistics)
        self._metrics.nonfinite_outputs.labels("recovered" if output is not None else "failed").inc()
        if output is None:
            raise InferenceFailed("the network gives values that are not finite for this image; try another model")
        return output

    def _proven(self, model: StoredModel, precision: torch.dtype) -> TransformNetwork:
        """The network on the device, in a precision in which it reproduces the recorded output."""
        with self._device(), torch.inference_mode(), self._forward.place(alone=False), self._forward.launching():
            fast = for_inference(model.network, precision).to(self.device)
            model.check(fast(model.golden.batch().to(self.device)), precision)
        return fast

    def _cost(self, network: LoadedNetwork, depth: type[np.uint8 | np.uint16]) -> Cost:
        """As found for the first network of its architecture, for all of them take the same time."""
        kind = (network.fast.spec, depth)
        if kind not in self._costs:
            self._costs[kind] = self._fitted(network, depth)
        return self._costs[kind].copy()

    def _fitted(self, network: LoadedNetwork, depth: type[np.uint8 | np.uint16]) -> Cost:
        """Fitted to passes of several sizes on one lane, the largest one repeated on all of them.

        Where shapes repeat, these are all there are: none is prepared while somebody waits for it.
        """
        sides = network.tiling.sides or [int((part * network.tiling.most) ** 0.5) for part in CALIBRATION]
        canvases = [Canvas(_picture(side, depth), network.tiling) for side in sides]
        passes = [self._timed(network, canvas, alone=False) for canvas in canvases]
        _, alone = self._timed(network, canvases[-1], alone=True)
        return Cost.fitted(passes, speed_up=passes[-1][1] / alone)

    def _timed(self, network: LoadedNetwork, canvas: Canvas, *, alone: bool) -> tuple[int, float]:
        """Plane pixels and seconds of the second pass over a canvas's first tile: the first pass warms up."""
        tile = canvas.tiles[0]
        pieces = [Piece(canvas, tile)]
        self.run(network, pieces, alone)
        began = monotonic()
        self.run(network, pieces, alone)
        return tile.pixels * network.tiling.full(tile), monotonic() - began

    def _observed(self, share: float, operation: Callable[..., Result], *arguments: object) -> Result:
        """`share` is that of the device which the operation takes."""
        self._began[get_ident()] = began = monotonic()
        self._metrics.device_heartbeat.set(time())
        try:
            return operation(*arguments)
        finally:
            del self._began[get_ident()]
            self._metrics.device_busy.inc((monotonic() - began) * share)
            self._metrics.device_heartbeat.set(time())


def _picture(side: int, depth: type[np.uint8 | np.uint16]) -> Pixels:
    """Noise, square: what a network is warmed up and timed on."""
    shape = (max(side, 1), max(side, 1), 3)
    return np.random.default_rng(0).integers(0, np.iinfo(depth).max, shape, depth, endpoint=True)


def _compute_fp32_exactly() -> None:
    """No TF32 in this process: convolutions rounded to its ten bits miss the tolerance to which fp32 is held."""
    torch.backends.cudnn.allow_tf32 = False


def _lacks_memory(error: Exception) -> bool:
    """Whether memory ran out; only of its own allocator on a GPU does torch say so by the type."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in LACK_OF_MEMORY
    )


def choose_device(name: str) -> torch.device:
    """The device of a setting: `auto` is a GPU if there is one. Raises ValueError where it does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name} does not exist here: {torch.cuda.device_count()} CUDA devices are visible")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of a setting: `auto` is the fastest in which the device computes natively."""
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if has_fast_bf16(device) else torch.float32
