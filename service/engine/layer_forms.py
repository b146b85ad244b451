"""Chooses the forms of a network's thin layers by measuring each of them on the device; see `model_store.LayerForm`.

On a processor nothing is measured: there the usual forms were the fastest, or within a twentieth of it, in every
precision (`benchmarks/RESULTS.md`), and a choice that chance can change would change ETags.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from model_store import LayerForm, Network, thin_layers

FASTER = 0.9
"""Share of the usual form's time that another one may take where it is chosen: less would be chosen by chance."""

SIDE = 1024
"""Of the planes on which layers are timed, in pixels."""

WARM_UP_RUNS = 3
RUNS = 5
"""Timed runs of each form, of which the fastest counts."""

HEAD_START = 4_000_000
"""Cycles of the GPU, 2 ms or so, in which a layer's kernels are launched: a graph launches them at once, and Python can
take longer for that than they take."""

LayerSeconds = Callable[[nn.Module, Tensor], float]
"""Seconds that a layer takes for features (1, C, H, W) on the CPU, both of which are first moved to the device."""


def choose_forms(network: Network, precision: torch.dtype, seconds: LayerSeconds) -> dict[int, LayerForm]:
    """By position, the forms of thin layers that are faster than the usual ones."""
    layers = thin_layers(network, precision)
    chosen = {position: _fastest(forms, precision, seconds) for position, forms in layers.items()}
    return {position: form for position, form in chosen.items() if form is not next(iter(layers[position]))}


def seconds_on_gpu(device: torch.device) -> LayerSeconds:
    """Measures by CUDA's events, on the current stream: how long the device works, as in a CUDA graph."""

    @torch.inference_mode()
    def seconds(layer: nn.Module, features: Tensor) -> float:
        layer.to(device)
        plane = features.to(device)
        for _ in range(WARM_UP_RUNS):
            layer(plane)
        return min(_once(layer, plane) for _ in range(RUNS))

    return seconds


def _once(layer: nn.Module, plane: Tensor) -> float:
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(HEAD_START)  # noqa: SLF001 # torch has no other way to hold a stream
    began.record()
    layer(plane)
    ended.record()
    ended.synchronize()
    milliseconds: float = began.elapsed_time(ended)
    return milliseconds / 1000


def _fastest(forms: Mapping[LayerForm, nn.Module], precision: torch.dtype, seconds: LayerSeconds) -> LayerForm:
    """The usual form, which comes first, unless another one is clearly faster."""
    usual = next(iter(forms))
    features = torch.rand(1, _channels(forms[LayerForm.PLAIN]), SIDE, SIDE).to(precision)
    features = features.to(memory_format=torch.channels_last)
    measured = {form: seconds(layer, features) for form, layer in forms.items()}
    best = min(measured, key=measured.__getitem__)
    return best if measured[best] < FASTER * measured[usual] else usual


def _channels(layer: nn.Module) -> int:
    """Of the input of a plain layer."""
    return next(module.in_channels for module in layer.modules() if isinstance(module, nn.Conv2d))
