"""The layout of lengstrom/fast-style-transfer: TensorFlow's variables without a name, in the order of their creation.

https://github.com/lengstrom/fast-style-transfer

Each convolution has three: its filter, and the shift and the scale of the normalisation after it. Filters are (height,
width, in, out), those of transposed convolutions (height, width, out, in); there are no biases.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from model_store.importers.style_layout import Pixels, Step, StyleLayout

_TRANSPOSED = ("up1", "up2")
_NAME = re.compile(r"(?:Variable|arr)(?:_(\d+))?")

LENGSTROM = StyleLayout(
    name="lengstrom/fast-style-transfer",
    down=(Step("down1", "down1.norm", 9), Step("down2", "down2.norm"), Step("down3", "down3.norm")),
    blocks=("block{}.first", "block{}.second", "block{}.first.norm", "block{}.second.norm"),
    first_block=1,
    up=(Step("up1", "up1.norm", transposed=True), Step("up2", "up2.norm", transposed=True)),
    last=Step("last", "last.norm", 9),
    pixels=Pixels(scale=(255.0, 255.0, 255.0)),
    form="tensorflow",
    tanh_centre=(0.5, 0.5, 0.5),
    epsilon=1e-3,
    ignored="",
    assumptions={
        "pixels": "RGB, 0 to 255",
        "normalisation": "instance, epsilon 1e-3, after the last layer too",
        "padding": "zeros, as TensorFlow's SAME places them",
        "output": "150 · tanh + 127.5",
    },
)


def from_variables(variables: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The keys and shapes of LENGSTROM for TensorFlow's variables; None where they are not such variables.

    Variables of an optimiser, whose names have a slash, others with names of their own, and single numbers are ignored.
    """
    found = {name: each for name, each in variables.items() if each.dim()}
    numbered = {int(match[1] or 0): found[name] for name in found if (match := _NAME.fullmatch(name))}
    ordered = [numbered[number] for number in sorted(numbered)]
    if len(ordered) < 18 or len(ordered) % 6 or any(each.dim() != 4 for each in ordered[::3]):
        return None
    tensors: dict[str, Tensor] = {}
    for step, first in zip(_steps(len(ordered) // 3), range(0, len(ordered), 3), strict=True):
        weight, shift, scale = ordered[first : first + 3]
        tensors[f"{step}.weight"] = weight.permute(3, 2, 0, 1)
        tensors[f"{step}.bias"] = weight.new_zeros(len(shift))
        tensors |= {f"{step}.norm.weight": scale, f"{step}.norm.bias": shift}
    return tensors


def _steps(count: int) -> list[str]:
    blocks = [f"block{number}.{part}" for number in range(1, (count - 6) // 2 + 1) for part in ("first", "second")]
    return ["down1", "down2", "down3", *blocks, *_TRANSPOSED, "last"]
