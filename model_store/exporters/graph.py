"""A network as one graph, from an image of any size to its answer: what ONNX and PT2 files are written from."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_shapes

from model_store.errors import ExportFailed
from model_store.exporters.imported_graph import ImportedGraph
from model_store.exporters.thumbnail_graph import ThumbnailGraph
from model_store.golden import FP32_TOLERANCE, as_batch, pattern
from model_store.networks.imported import ImportedNetwork
from model_store.networks.layers import reflect
from model_store.networks.network import Network
from model_store.networks.transform import TransformNetwork

CHECKED_SIDES = ((48, 64), (37, 53), (5, 301), (1, 1))
"""Heights and widths of the images that a graph must reproduce: multiples of 4, odd ones, a strip, a pixel."""

EXAMPLE = (2, 3, 37, 45)
"""The shape of the image that is traced. No two of its sides are equal, and none divides another."""


class ImageGraph(nn.Module):
    """RGB images, float32 (N, 3, H, W) in [0, 1], to (N, 3, H × scale, W × scale) in [0, 1]. It takes nothing else.

    For a local network, images of all sizes are reflected by the most pixels that it asks for with any, which makes a
    simpler graph: what that gives too much is cut off. Others see all of a plane, which has to be as large as they say.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.thumbnail = _thumbnail(network)
        self.imported = ImportedGraph(self.network) if isinstance(self.network, ImportedNetwork) else None

    def forward(self, image: Tensor) -> Tensor:
        if self.imported is not None:
            result: Tensor = self.imported(image)
        else:
            (top, bottom), (left, right) = (self._halos(side) for side in image.shape[-2:])
            result = self.network.transform(reflect(image, left, right, top, bottom), self._statistics(image))
        height, width = (side * self.network.scale for side in image.shape[-2:])
        return result[..., :height, :width].clamp(0.0, 1.0)

    def _halos(self, side: int) -> tuple[int, int]:
        network = self.network
        sides = range(1, network.stride + 1) if network.spec.tileable else [side]
        halos = [network.halos(each) for each in sides]
        return max(before for before, _ in halos), max(after for _, after in halos)

    def _statistics(self, image: Tensor) -> Tensor | None:
        if self.thumbnail is None or not isinstance(self.network, TransformNetwork):
            return None
        return self.network.measure(self.thumbnail(image))


def for_batches_or_one(network: Network, write: Callable[[bool], bytes]) -> bytes:
    """What `write` makes of a graph for batches, or of one for single images where an imported network has no other."""
    try:
        return write(True)
    except ExportFailed:
        if not isinstance(network, ImportedNetwork):
            raise
        return write(False)


def trace(network: Network, label: str, *, batched: bool = True) -> ExportedProgram:
    """The graph of a network for any height and width from 1 on; for any batch, or where not `batched` for one image.

    Raises ExportFailed for a network whose layers depend on the size of the image in ways that are no graph.
    """
    _require_native_thumbnail(network, label)
    sides = {**({0: Dim.DYNAMIC} if batched else {}), 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    example = torch.rand(EXAMPLE)[: None if batched else 1]
    try:
        unguarded = symbolic_shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
        with torch.enable_grad(), unguarded:  # without guards that sides differ, such as those of the traced image
            return torch.export.export(ImageGraph(network), (example,), dynamic_shapes={"image": sides})
    except Exception as error:  # whatever torch raises where it cannot follow
        reason = " ".join(str(error).split())[:200]
        raise ExportFailed(f"{label} cannot become a graph for images of any size: {reason}") from error


@torch.inference_mode()
def answers(network: Network, *, batched: bool = True) -> list[tuple[Tensor, Tensor]]:
    """Images of several sizes, and what the network makes of them. The first is a batch of two where `batched`."""
    images = [as_batch(pattern(height, width)) for height, width in CHECKED_SIDES]
    if batched:
        images[0] = torch.cat([images[0], images[0].flip(-1)])
    return [(image, network(image)) for image in images]


def check(run: Callable[[Tensor], Tensor], answers: Sequence[tuple[Tensor, Tensor]], what: str) -> None:
    """Raise ExportFailed where an exported graph gives another answer than its network, or none."""
    for image, expected in answers:
        try:
            found = run(image)
        except Exception as error:  # whatever the libraries raise that run it
            size = "×".join(map(str, image.shape))
            reason = " ".join(str(error).split())[:200]
            raise ExportFailed(f"{what} is not written: of an image of {size} it makes an error: {reason}") from error
        require_equal(found, expected, what)


def require_equal(found: Tensor, expected: Tensor, what: str) -> None:
    """Raise ExportFailed where an exported graph gives another answer than its network. NaN is another answer."""
    shape = "×".join(map(str, expected.shape))
    if found.shape != expected.shape:
        raise ExportFailed(f"{what} is not written: where the answer is {shape}, it gives {tuple(found.shape)}")
    largest = (found - expected).abs().max().item()
    if not largest <= FP32_TOLERANCE:
        raise ExportFailed(f"{what} is not written: an answer of {shape} differs by {largest:.2e} from the network's")


def _thumbnail(network: Network) -> ThumbnailGraph | None:
    if isinstance(network, TransformNetwork) and network.needs_statistics:
        return ThumbnailGraph(network.spec.thumbnail)
    return None


def _require_native_thumbnail(network: Network, label: str) -> None:
    if isinstance(network, TransformNetwork) and network.needs_statistics and network.spec.form != "native":
        raise ExportFailed(f"{label} measures small images in another way than large ones; its native form does not")
