"""Small networks with weights and statistics that make every layer matter."""

import torch

from model_store import NetworkSpec, TransformNetwork

NARROW_STYLE = "c9s1-4,d6,d8,R8*5,u6,u4,c9s1-3"
"""The topology of the paper's style network, a few channels wide."""

NARROW_UPSCALE_4 = "c9s1-6,R6*4,u6,u6,c9s1-3"
"""The topology of the paper's ×4 network, a few channels wide."""


def network(
    architecture: str = NARROW_STYLE,
    norm: str = "batch",
    form: str = "native",
    output: str = "tanh",
    skip: bool = False,
    seed: int = 0,
) -> TransformNetwork:
    """A network in evaluation mode with random weights, scales, shifts and running statistics."""
    torch.manual_seed(seed)
    spec = NetworkSpec.model_validate(
        {"architecture": architecture, "norm": norm, "form": form, "output": output, "skip": skip}
    )
    built = TransformNetwork(spec)
    for key, value in built.state_dict().items():
        if key.endswith(("norm.weight", "running_var")):
            value.uniform_(0.5, 1.5)
        elif key.endswith(("norm.bias", "running_mean")):
            value.normal_(0, 0.2)
    return built.eval()


def in_form(original: TransformNetwork, form: str) -> TransformNetwork:
    """The same weights in another form of padding."""
    other = TransformNetwork(NetworkSpec.model_validate(original.spec.model_dump() | {"form": form}))
    other.load_state_dict(original.state_dict())
    return other.eval()
