import torch
from torch import Tensor

from model_store import TransformNetwork
from service.engine.backend import forward_integers
from tests.networks import network


def test_values_are_clamped_and_rounded() -> None:
    class Fixed(TransformNetwork):
        def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:  # noqa: ARG002
            values = torch.tensor([-3.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.2, 900.0])
            return values.expand(len(plane), 3, 1, -1).clone()

    pixels, finite = forward_integers(Fixed(network().spec), torch.zeros(2, 9, 9, 3, dtype=torch.uint8), None)
    assert pixels.tolist() == [[[[value] * 3 for value in (0, 0, 1, 254, 255, 255)]]] * 2
    assert finite.tolist() == [True, True]


def test_sixteen_bits_are_clamped_and_rounded() -> None:
    class Fixed(TransformNetwork):
        def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:  # noqa: ARG002
            values = torch.tensor([-3.0, 0.4 / 65_535, 0.6 / 65_535, 0.5, 1.0, 900.0])
            return values.expand(len(plane), 3, 1, -1).clone()

    pixels, _ = forward_integers(Fixed(network().spec), torch.zeros(1, 9, 9, 3, dtype=torch.uint16), None)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 1, 32_768, 65_535, 65_535]
