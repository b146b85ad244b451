"""One batch on one device. No HTTP, no asyncio.

Everything that touches the device happens in one thread, in the order it was asked for, so that networks need no locks
and a forward pass has all processor threads to itself.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, time
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model_store import StoredModel, TransformNetwork, for_inference, has_fast_bf16
from service.codec import Pixels
from service.errors import DeviceLost, InferenceFailed, OutOfDeviceMemory
from service.metrics import Metrics

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class LoadedNetwork:
    """A network on the device in the runner's precision, and the same in fp32 on the host as a second opinion."""

    def __init__(self, fast: TransformNetwork, reference: TransformNetwork) -> None:
        self.fast = fast
        self.reference = reference


class Runner:
    """Owns the device and its thread. `close` it to end the thread."""

    def __init__(self, device: torch.device, precision: torch.dtype, threads: int, metrics: Metrics) -> None:
        self.device = device
        self.precision = precision
        self.lost: str | None = None
        self._metrics = metrics
        self._began: float | None = None
        _compute_fp32_exactly()
        # Threads of OpenMP belong to the thread that starts them: one device thread, one team of them.
        self._thread = ThreadPoolExecutor(1, "device", torch.set_num_threads, (threads,))
        metrics.device_operation_age.set_function(self.operation_age)

    def submit(self, operation: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Have an operation done in the device's thread, after those submitted before it."""
        return self._thread.submit(self._observed, operation, *arguments)

    def close(self) -> None:
        """Wait for the running operation, drop those that have not begun and end the thread."""
        self._thread.shutdown(cancel_futures=True)

    def operation_age(self) -> float:
        """Seconds that the running operation has taken, 0 while the device is idle."""
        began = self._began
        return 0.0 if began is None else monotonic() - began

    def load(self, model: StoredModel) -> LoadedNetwork:
        """Put a network on the device, check that it computes rightly there, and warm it up.

        Raises GoldenMismatch where this device, in this precision, does not reproduce the recorded output.
        """
        network = LoadedNetwork(self._placed(model.network, self.precision), model.network)
        with torch.inference_mode():
            model.check(network.fast(model.golden.batch().to(self.device)), self.precision)
        self.run(network, [model.golden.input.numpy()])
        return network

    def run(self, network: LoadedNetwork, images: Sequence[Pixels]) -> list[Pixels]:
        """What the network makes of images of one shape: uint8 (H, W, 3) in and (H × scale, W × scale, 3) out.

        Out of memory, the batch is halved. A picture that is not finite is computed again in fp32. Raises
        OutOfDeviceMemory or InferenceFailed where that does not help, and DeviceLost where nothing will.
        """
        if self.lost:
            raise DeviceLost(self.lost)
        try:
            return self._forward(network, images)
        except torch.AcceleratorError as error:  # sticky: every later call in this process fails as well
            self.lost = f"the device failed and the service restarts: {type(error).__name__}"
            logger.critical("device %s is lost", self.device, exc_info=error)
            raise DeviceLost(self.lost) from error
        except (MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            self._metrics.out_of_memory.inc()
        # Outside the handler, where the traceback no longer holds the tensors that filled the memory.
        return self._in_halves(network, images)

    def _in_halves(self, network: LoadedNetwork, images: Sequence[Pixels]) -> list[Pixels]:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(images) == 1:
            height, width, _ = images[0].shape
            raise OutOfDeviceMemory(f"{width}×{height} px do not fit into the memory of {self.device}; send fewer")
        half = len(images) // 2
        return self.run(network, images[:half]) + self.run(network, images[half:])

    @torch.inference_mode()
    def _forward(self, network: LoadedNetwork, images: Sequence[Pixels]) -> list[Pixels]:
        batch = self._to_device(images)
        output = network.fast(batch)
        finite = torch.isfinite(output.sum((1, 2, 3))).tolist()
        if not all(finite):
            output = torch.stack(
                [output[i] if sound else self._again(network, batch[i]) for i, sound in enumerate(finite)]
            )
        return list(_to_bytes(output).permute(0, 2, 3, 1).contiguous().cpu().numpy())

    def _to_device(self, images: Sequence[Pixels]) -> Tensor:
        """uint8 (H, W, 3) images as float32 (N, 3, H, W) in [0, 1], channels last: bytes cross the bus, not floats."""
        host = torch.from_numpy(np.stack(images))
        if self.device.type == "cuda":
            host = host.pin_memory()
        return host.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)

    def _again(self, network: LoadedNetwork, image: Tensor) -> Tensor:
        """One image, (3, H, W), in fp32: half precision can overflow where fp32 does not."""
        exact = network.fast if self.precision == torch.float32 else self._placed(network.reference, torch.float32)
        output: Tensor = exact(image[None])[0]
        sound = bool(torch.isfinite(output).all())
        self._metrics.nonfinite_outputs.labels("recovered" if sound else "failed").inc()
        if not sound:
            raise InferenceFailed("the network gives values that are not finite for this image; try another model")
        return output

    def _placed(self, network: TransformNetwork, precision: torch.dtype) -> TransformNetwork:
        return for_inference(network, precision).to(self.device)

    def _observed(self, operation: Callable[..., Result], *arguments: object) -> Result:
        self._began = began = monotonic()
        self._metrics.device_heartbeat.set(time())
        try:
            return operation(*arguments)
        finally:
            self._began = None
            self._metrics.device_busy.inc(monotonic() - began)
            self._metrics.device_heartbeat.set(time())


def _compute_fp32_exactly() -> None:
    """No TF32 in this process: convolutions rounded to its ten bits miss the tolerance to which fp32 is held."""
    torch.backends.cudnn.allow_tf32 = False


def _lacks_memory(error: Exception) -> bool:
    """Whether memory ran out; of the processor's, torch says so in words only."""
    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


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


def _to_bytes(output: Tensor) -> Tensor:
    """[0, 1] → uint8, rounded."""
    return output.mul(255).round_().clamp_(0, 255).to(torch.uint8)
