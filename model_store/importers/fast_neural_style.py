"""The layouts of PyTorch's own example and of its relatives: reflection in every convolution, no tanh.

https://github.com/pytorch/examples/tree/main/fast_neural_style
https://github.com/abhiskk/fast-neural-style
https://github.com/gordicaleksa/pytorch-neural-style-johnson
"""

from dataclasses import replace

from model_store.importers.style_layout import Pixels, Step, StyleLayout

_REFLECTING = {"padding": "reflection in every convolution", "output": "linear"}

PYTORCH_EXAMPLES = StyleLayout(
    name="pytorch/examples fast_neural_style",
    down=(Step("conv1.conv2d", "in1", 9), Step("conv2.conv2d", "in2"), Step("conv3.conv2d", "in3")),
    blocks=("res{}.conv1.conv2d", "res{}.conv2.conv2d", "res{}.in1", "res{}.in2"),
    first_block=1,
    up=(Step("deconv1.conv2d", "in4"), Step("deconv2.conv2d", "in5")),
    last=Step("deconv3.conv2d", "", 9),
    pixels=Pixels(scale=(255.0, 255.0, 255.0)),
    assumptions={"pixels": "RGB, 0 to 255", "normalisation": "instance, epsilon 1e-5", **_REFLECTING},
)

ABHISKK = replace(
    PYTORCH_EXAMPLES,
    name="abhiskk/fast-neural-style",
    pixels=Pixels(scale=(255.0, 255.0, 255.0), bgr=True),
    epsilon=1e-9,
    scale_key="scale",
    shift_key="shift",
    assumptions={"pixels": "BGR, 0 to 255", "normalisation": "instance, epsilon 1e-9", **_REFLECTING},
)

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, as torchvision has them."""

GORDICALEKSA = replace(
    PYTORCH_EXAMPLES,
    name="gordicaleksa/pytorch-neural-style-johnson",
    up=(Step("up1.conv2d.conv2d", "in4"), Step("up2.conv2d.conv2d", "in5")),
    last=Step("up3.conv2d", "", 9),
    pixels=Pixels(
        scale=(1 / _DEVIATION[0], 1 / _DEVIATION[1], 1 / _DEVIATION[2]),
        shift=(-_MEAN[0] / _DEVIATION[0], -_MEAN[1] / _DEVIATION[1], -_MEAN[2] / _DEVIATION[2]),
    ),
    assumptions={
        "pixels": "RGB, normalised by ImageNet's mean and deviation",
        "normalisation": "instance, epsilon 1e-5",
        **_REFLECTING,
    },
)
