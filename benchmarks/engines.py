"""The forms in which a network can be run, each in a process that waits for its turns.

`python -m benchmarks.engines CASE ENGINE…` builds the engines, writes how far each is from the base, and for each name
on standard input runs that engine and writes the seconds that it took. Everything written is one line of JSON.
"""

import copy
import importlib
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
from benchmarks.clock import timed
from model_store import TransformNetwork, for_inference

CASES = ("style-256", "style-512", "style-1024", "x4-64", "x4-128", "x4-256")

BASE = "eager fp32"
OURS = "for_inference bf16"

SHORT = 0.3
"""Seconds under which a call is timed several times a turn."""

Engine = Callable[[Tensor], Tensor]
Build = Callable[[TransformNetwork, Tensor], Engine]


@dataclass(frozen=True)
class Case:
    """One network on one image: float32 (1, 3, side, side)."""

    network: TransformNetwork
    image: Tensor

    @classmethod
    def of(cls, name: str) -> "Case":
        """The case of a name: network and side."""
        kind, _, side = name.partition("-")
        network = networks.style() if kind == "style" else networks.upscale_4()
        pixels = torch.from_numpy(photos.photo(int(side), int(side), seed=9))
        return cls(network, (pixels.permute(2, 0, 1)[None].float() / 255).contiguous())

    def flops(self, *, fast: bool = False) -> int:
        """Operations of the network as it was trained, or of its fast form."""
        side = self.image.shape[-1]
        return networks.flops(for_inference(self.network) if fast else self.network, side, side)


class Engines:
    """The engines of one process. Use `engines`, which ends it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.differences: Mapping[str, float] = self._line()

    def turn(self, name: str) -> list[float]:
        """Seconds of the calls of one turn."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        times: list[float] = self._line()
        return times

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engines ended with status {self._process.wait()}")
        return json.loads(line)


@contextmanager
def engines(case: str, names: Sequence[str], *, allocator: bool) -> Iterator[Engines]:
    """These engines, in a process with the service's allocator settings or with glibc's own."""
    command = [sys.executable, "-m", "benchmarks.engines", case, *names]
    with subprocess.Popen(
        command, env=machine.environment(allocator), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Engines(process)
        finally:
            process.terminate()


def missing(name: str) -> str | None:
    """What to say where the software of an engine is not installed."""
    if not name.startswith("OpenVINO") or machine.installed("openvino"):
        return None
    return f"{name} is skipped: openvino is not installed (pip install '.[benchmarks]')"


def _eager(network: TransformNetwork, _image: Tensor) -> Engine:
    """What everyone writes: fp32, channels first, nothing folded."""
    return network


def _eager_bf16(network: TransformNetwork, _image: Tensor) -> Engine:
    """The layers in bf16, and otherwise as they were."""
    other = copy.deepcopy(network)
    other.layers.to(torch.bfloat16)
    return other


def _ours(precision: torch.dtype) -> Build:
    return lambda network, _image: for_inference(network, precision)


def _compiled(build: Build) -> Build:
    """`torch.compile` with its default options, for this shape alone."""

    def compiled(network: TransformNetwork, image: Tensor) -> Engine:
        torch.compiler.reset()
        result: Engine = torch.compile(build(network, image), dynamic=False)
        return result

    return compiled


def _openvino(precision: str, build: Build) -> Build:
    """OpenVINO's CPU plugin, told to compute in that precision, for this shape alone."""

    def converted(network: TransformNetwork, image: Tensor) -> Engine:
        openvino: Any = importlib.import_module("openvino")
        with warnings.catch_warnings(action="ignore"):  # it traces, and the shape is meant to be fixed
            model = openvino.convert_model(build(network, image), example_input=image, input=list(image.shape))
        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = openvino.Core().compile_model(model, "CPU", options)
        return lambda picture: torch.from_numpy(compiled([picture.numpy()])[0])

    return converted


ENGINES: Mapping[str, Build] = {
    BASE: _eager,
    "eager bf16": _eager_bf16,
    "for_inference fp32": _ours(torch.float32),
    OURS: _ours(torch.bfloat16),
    "torch.compile fp32": _compiled(_eager),
    "torch.compile of for_inference bf16": _compiled(_ours(torch.bfloat16)),
    "OpenVINO fp32": _openvino("f32", _eager),
    "OpenVINO bf16": _openvino("bf16", _eager),
    "OpenVINO of for_inference bf16": _openvino("bf16", _ours(torch.float32)),
}
"""How each engine is built from the network and an image of the shape that it will run."""


@torch.inference_mode()
def main() -> None:
    """See the module."""
    case = Case.of(sys.argv[1])
    built = {name: _built(name, case) for name in sys.argv[2:]}
    expected = case.network(case.image)
    differences = {name: (engine(case.image) - expected).abs().max().item() for name, engine in built.items()}
    print(json.dumps(differences), flush=True)
    for line in sys.stdin:
        print(json.dumps(_turn(partial(built[line.strip()], case.image))), flush=True)


def _built(name: str, case: Case) -> Engine:
    began = time.monotonic()
    engine = ENGINES[name](case.network, case.image)
    engine(case.image)
    print(f"{sys.argv[1]}: {name} built in {time.monotonic() - began:.1f} s", file=sys.stderr)
    return engine


def _turn(call: Callable[[], object]) -> list[float]:
    """Seconds of one call, of three where they are short. The one before, which warms caches, is not counted."""
    first = timed(call)
    return [timed(call) for _ in range(3 if first < SHORT else 1)]


if __name__ == "__main__":
    main()
