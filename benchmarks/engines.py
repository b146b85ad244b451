"""Engines: the forms in which a network can be run, in a child process that runs one of them at a time.

`python -m benchmarks.engines CASE ENGINE…` builds the engines, writes how far each is from the base, and for each name
on standard input runs that engine and writes the seconds that it took. Everything written is one line of JSON.
"""

import copy
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import machine, networks, photos
from benchmarks.clock import time_call
from benchmarks.errors import BenchmarkError
from model_store import TransformNetwork, for_inference
from service.engine.openvino_network import import_openvino

CASES = ("style-256", "style-512", "style-1024", "x4-64", "x4-128", "x4-256")

BASE = "eager fp32"
OURS = "for_inference bf16"

SHORT_SECONDS = 0.3
"""Calls shorter than this, in seconds, are repeated within a turn."""

Engine = Callable[[Tensor], Tensor]
Build = Callable[[TransformNetwork, Tensor], Engine]


@dataclass(frozen=True)
class Case:
    """One network on one image: float32 (1, 3, side, side)."""

    network: TransformNetwork
    image: Tensor

    @classmethod
    def of(cls, name: str) -> "Case":
        """Parse a name of CASES: network and side."""
        kind, _, side = name.partition("-")
        network = networks.style() if kind == "style" else networks.upscale_4()
        pixels = torch.from_numpy(photos.photo(int(side), int(side), seed=9))
        return cls(network, (pixels.permute(2, 0, 1)[None].float() / 255).contiguous())

    def flops(self, *, fast: bool = False) -> int:
        """Floating-point operations of the trained network, or with `fast` of its form for inference."""
        side = self.image.shape[-1]
        return networks.flops(for_inference(self.network) if fast else self.network, side, side)


class Engines:
    """The engines in one child process. Make them with `engines`, which ends it.

    `differences` is the largest difference of each engine's output from that of the base.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.differences: Mapping[str, float] = self._read_line()

    def run_turn(self, name: str) -> list[float]:
        """Run an engine once, or a few times if a call is short. Returns the seconds of each call."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        times: list[float] = self._read_line()
        return times

    def _read_line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"the engines ended with status {self._process.wait()}")
        return json.loads(line)


@contextmanager
def engines(case: str, names: Sequence[str], *, allocator: bool) -> Iterator[Engines]:
    """Start a process with these engines, with the allocator settings of the service or with glibc's own."""
    command = [sys.executable, "-m", "benchmarks.engines", case, *names]
    with subprocess.Popen(
        command, env=machine.environment(allocator), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Engines(process)
        finally:
            process.terminate()


def missing(name: str) -> str | None:
    """A message if the software of an engine is not installed, else None."""
    if not name.startswith("OpenVINO") or machine.installed("openvino"):
        return None
    return f"{name} is skipped: openvino is not installed (pip install '.[benchmarks]')"


def _eager(network: TransformNetwork, _image: Tensor) -> Engine:
    """The network as trained: fp32, channels first, nothing folded."""
    return network


def _eager_bf16(network: TransformNetwork, _image: Tensor) -> Engine:
    """The network as trained, with its layers in bf16."""
    other = copy.deepcopy(network)
    other.layers.to(torch.bfloat16)
    return other


def _for_inference(precision: torch.dtype) -> Build:
    return lambda network, _image: for_inference(network, precision)


def _compiled(build: Build) -> Build:
    """`torch.compile` with its default options, for a fixed shape."""

    def compiled(network: TransformNetwork, image: Tensor) -> Engine:
        torch.compiler.reset()
        result: Engine = torch.compile(build(network, image), dynamic=False)
        return result

    return compiled


def _openvino(precision: str, build: Build) -> Build:
    """OpenVINO's CPU plugin, set to compute in this precision, for a fixed shape."""

    def converted(network: TransformNetwork, image: Tensor) -> Engine:
        openvino = import_openvino()
        with warnings.catch_warnings(action="ignore"):  # tracing warns that the shape is fixed, which is intended
            model = openvino.convert_model(build(network, image), example_input=image, input=list(image.shape))
        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = openvino.Core().compile_model(model, "CPU", options)
        return lambda picture: torch.from_numpy(compiled([picture.numpy()])[0])

    return converted


ENGINES: Mapping[str, Build] = {
    BASE: _eager,
    "eager bf16": _eager_bf16,
    "for_inference fp32": _for_inference(torch.float32),
    OURS: _for_inference(torch.bfloat16),
    "torch.compile fp32": _compiled(_eager),
    "torch.compile of for_inference bf16": _compiled(_for_inference(torch.bfloat16)),
    "OpenVINO fp32": _openvino("f32", _eager),
    "OpenVINO bf16": _openvino("bf16", _eager),
    "OpenVINO of for_inference bf16": _openvino("bf16", _for_inference(torch.float32)),
}
"""Functions that build each engine from a network and an image of the fixed shape."""


@torch.inference_mode()
def main() -> None:
    """Serve turns on standard input; see the module."""
    case = Case.of(sys.argv[1])
    built = {name: _build_engine(name, case) for name in sys.argv[2:]}
    expected = case.network(case.image)
    differences = {name: (engine(case.image) - expected).abs().max().item() for name, engine in built.items()}
    print(json.dumps(differences), flush=True)
    for line in sys.stdin:
        print(json.dumps(_time_turn(partial(built[line.strip()], case.image))), flush=True)


def _build_engine(name: str, case: Case) -> Engine:
    began = time.monotonic()
    engine = ENGINES[name](case.network, case.image)
    engine(case.image)
    print(f"{sys.argv[1]}: {name} built in {time.monotonic() - began:.1f} s", file=sys.stderr)
    return engine


def _time_turn(call: Callable[[], object]) -> list[float]:
    """Seconds of one call, or of three short ones, after a call that warms the caches and is not counted."""
    first = time_call(call)
    return [time_call(call) for _ in range(3 if first < SHORT_SECONDS else 1)]


if __name__ == "__main__":
    main()
