import pytest
import torch

from model_store.networks.noise import NOISE_LIMIT, NOISE_PERIOD, noise_pattern, repeated


def test_the_pattern_is_uniform_and_the_same_for_ever() -> None:
    noise = noise_pattern(4)
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    assert float(noise.abs().max()) <= NOISE_LIMIT
    assert noise.flatten()[:2].tolist() == pytest.approx([-0.0129, 0.9288], abs=1e-3)


@pytest.mark.parametrize("begin", [-70, -18, 0, 5, 64])
def test_planes_have_the_part_of_the_pattern_where_they_begin(begin: int) -> None:
    pattern = noise_pattern(2)
    plane = repeated(pattern, begin, 40, 75)
    assert plane.shape == (1, 2, 40, 75)
    for row, column in ((0, 0), (39, 0), (7, 74)):
        wanted = pattern[..., (begin + row) % NOISE_PERIOD, (begin + column) % NOISE_PERIOD]
        assert torch.equal(plane[..., row, column], wanted)
