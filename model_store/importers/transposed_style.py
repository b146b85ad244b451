"""The layouts of networks that enlarge by transposed convolutions.

https://github.com/rrmina/fast-neural-style-pytorch, whose two variants have the same keys
"""

from dataclasses import replace

from model_store.importers.style_layout import Pixels, Step, StyleLayout

_BLOCK = "ResidualBlock.{}"

RRMINA = StyleLayout(
    name="rrmina/fast-neural-style-pytorch",
    down=(
        Step("ConvBlock.0.conv_layer", "ConvBlock.0.norm_layer", 9),
        Step("ConvBlock.2.conv_layer", "ConvBlock.2.norm_layer"),
        Step("ConvBlock.4.conv_layer", "ConvBlock.4.norm_layer"),
    ),
    blocks=(
        f"{_BLOCK}.conv1.conv_layer",
        f"{_BLOCK}.conv2.conv_layer",
        f"{_BLOCK}.conv1.norm_layer",
        f"{_BLOCK}.conv2.norm_layer",
    ),
    first_block=0,
    up=(
        Step("DeconvBlock.0.conv_transpose", "DeconvBlock.0.norm_layer", transposed=True),
        Step("DeconvBlock.2.conv_transpose", "DeconvBlock.2.norm_layer", transposed=True),
    ),
    last=Step("DeconvBlock.4.conv_layer", "", 9),
    pixels=Pixels(scale=(255.0, 255.0, 255.0), bgr=True),
    ignored=r".+\.norm_layer\.(running_mean|running_var|num_batches_tracked)",
    assumptions={
        "pixels": "BGR, 0 to 255",
        "normalisation": "instance, epsilon 1e-5",
        "padding": "reflection in every convolution, zeros in the transposed ones",
        "output": "linear",
    },
)

RRMINA_TANH = replace(
    RRMINA,
    name=f"{RRMINA.name}, tanh",
    tanh_centre=(0.0, 0.0, 0.0),
    assumptions={**RRMINA.assumptions, "output": "150 · tanh"},
)
