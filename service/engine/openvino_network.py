"""Local networks computed by OpenVINO on a CPU, behind the interface of a network. https://docs.openvino.ai

Its graph takes planes of any size. What it computes in is pinned to the precision of the service, and its threads are
those of the lane that calls. Statistics of thumbnails are measured by torch, as always.
"""

import copy
import logging
import sys
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_store import Network, TransformNetwork, for_inference
from model_store.networks.layers import NormalizedConv

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
"""OpenVINO's names of precisions."""

TRACED_SIDE = 16
"""Pixels of the image whose plane is traced."""

logger = logging.getLogger(__name__)


class OpenVinoCompiler:
    """Makes networks that OpenVINO computes on `threads` of the processor, which `lanes` share."""

    def __init__(self, threads: int, lanes: int, precision: torch.dtype) -> None:
        """Raises ValueError where OpenVINO is not installed."""
        if not is_installed():
            raise ValueError("cpu_engine needs OpenVINO: pip install 'pastiche[openvino]'")
        self._threads, self._lanes, self._precision = threads, lanes, precision

    def compile(self, network: Network, label: str) -> "OpenVinoNetwork | None":
        """A network as the store has it, for inference; None for one that torch computes, and why is logged."""
        if not (isinstance(network, TransformNetwork) and network.spec.tileable):
            return None
        try:
            return self._compiled(network)
        except Exception:
            logger.warning("%s is computed by torch: OpenVINO cannot take it", label, exc_info=True)
            return None

    def _compiled(self, network: TransformNetwork) -> "OpenVinoNetwork":
        openvino = import_openvino()
        graph, core = _convert(for_inference(network), openvino), openvino.Core()
        precision = {"INFERENCE_PRECISION_HINT": HINTS[self._precision], "ENABLE_CPU_PINNING": False}
        streams = precision | {"INFERENCE_NUM_THREADS": self._threads}
        alone = core.compile_model(graph, "CPU", streams | {"NUM_STREAMS": 1})
        shared = alone if self._lanes == 1 else core.compile_model(graph, "CPU", streams | {"NUM_STREAMS": self._lanes})
        return OpenVinoNetwork(for_inference(network, self._precision), alone, shared, self._threads)


class OpenVinoNetwork(TransformNetwork):
    """A network whose layers OpenVINO computes, one plane at a time."""

    def __init__(self, network: TransformNetwork, alone: Any, shared: Any, threads: int) -> None:
        """`alone` is compiled for a caller with all `threads`, `shared` for lanes that share them."""
        super().__init__(network.spec)
        self.layers, self.output = network.layers, network.output
        self._alone, self._shared, self._threads = alone, shared, threads
        self.eval()

    def _run_layers(self, plane: Tensor, statistics: Tensor | None, noise: Tensor | None = None) -> Tensor:
        assert noise is None, "the graph has the network's own noise"
        compiled = self._alone if torch.get_num_threads() >= self._threads else self._shared
        request = compiled.create_infer_request()
        inputs = [plane] if statistics is None else [plane, statistics]
        request.infer([np.ascontiguousarray(each.float().numpy()) for each in inputs], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor(0).data.copy())


class _Planes(nn.Module):
    """The layers alone, from planes and the statistics of their image to answers."""

    def __init__(self, network: TransformNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            if isinstance(module, NormalizedConv):
                module.fold_affine = False  # weights that change with each image would be reordered each time

    def forward(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:
        return self.network.transform(plane, statistics)


def is_installed() -> bool:
    """Whether there is OpenVINO."""
    return find_spec("openvino") is not None


def import_openvino() -> Any:
    """OpenVINO without `openvino_telemetry`, by which it would tell its makers of each import and of each network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # so it cannot be imported
    import openvino  # noqa: PLC0415 # an extra

    return openvino


def _convert(network: TransformNetwork, openvino: Any) -> Any:
    """OpenVINO's graph of a network for planes (1, 3, H, W) of any size."""
    side = sum(network.halos(TRACED_SIDE)) + TRACED_SIDE
    example, shapes = [torch.zeros(1, 3, side, side)], [[1, 3, -1, -1]]
    if network.needs_statistics:
        example.append(network.statistics(torch.zeros(1, 3, 64, 64)))
        shapes.append(list(example[1].shape))
    with warnings.catch_warnings(action="ignore"), torch.enable_grad():  # it traces, which is deprecated
        traced = torch.jit.trace(_Planes(network), tuple(example), check_trace=False)
        return openvino.convert_model(traced, example_input=tuple(example), input=shapes)
