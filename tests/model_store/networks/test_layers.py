import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from model_store.networks.layers import InstanceNorm, ScaledTanh, TransposedLayer, pad_same, reflect, reflected


@given(side=st.integers(2, 9), before=st.integers(0, 8), after=st.integers(0, 8))
def test_index_map_is_torchs_where_torch_has_one(side: int, before: int, after: int) -> None:
    before, after = before % side, after % side
    row = torch.arange(side).float()[None]
    expected = F.pad(row, (before, after), mode="reflect")
    assert torch.equal(row[:, reflected(side, -before, side + after)], expected)


def test_reflection_by_four_halos_longer_than_the_sides() -> None:
    image = torch.arange(6.0).view(1, 1, 3, 2)
    rows = [0, 1, 2, 1, *[0, 1, 2], 1, 0, 1, 2, 1, 0, 1]
    columns = [1, 0, 1, 0, 1, *[0, 1], 0, 1, 0]
    expected = [[image[0, 0, row, column].item() for column in columns] for row in rows]
    assert reflect(image, left=5, right=3, top=4, bottom=7)[0, 0].tolist() == expected


@given(side=st.integers(2, 6), halo=st.integers(0, 40))
def test_reflection_swings_between_the_borders(side: int, halo: int) -> None:
    row = torch.arange(side).float().expand(1, 1, 1, side)
    period = list(range(side)) + list(range(side - 2, 0, -1))
    expected = [period[i % len(period)] for i in range(-halo, side + halo)]
    assert reflect(row, halo, halo, 0, 0).flatten().tolist() == expected


def test_reflection_of_one_pixel_is_constant() -> None:
    assert torch.equal(reflect(torch.full((1, 3, 1, 1), 0.3), 5, 2, 9, 1), torch.full((1, 3, 11, 8), 0.3))


def test_instance_norm_of_one_pixel_is_its_shift() -> None:
    norm = InstanceNorm(2).eval()
    torch.nn.init.constant_(norm.bias, 0.25)
    assert torch.equal(norm(torch.rand(1, 2, 1, 1)), torch.full((1, 2, 1, 1), 0.25))


def test_instance_norm_of_one_pixel_is_the_limit_of_a_constant_plane() -> None:
    norm = InstanceNorm(1).eval()
    torch.nn.init.constant_(norm.bias, 0.5)
    assert torch.allclose(norm(torch.full((1, 1, 1, 2), 0.7)), norm(torch.full((1, 1, 1, 1), 0.7)))


@given(height=st.integers(1, 12), width=st.integers(1, 12), stride=st.integers(1, 3))
def test_same_padding_makes_as_many_outputs_as_strides_fit(height: int, width: int, stride: int) -> None:
    padded = pad_same(torch.ones(1, 1, height, width), 3, stride)
    output = F.conv2d(padded, torch.ones(1, 1, 3, 3), stride=stride)
    assert output.shape[-2:] == (-(-height // stride), -(-width // stride))


def test_same_padding_puts_the_odd_zero_at_the_far_end() -> None:
    assert pad_same(torch.ones(1, 1, 1, 4), 3, 2)[0, 0, 1].tolist() == [1, 1, 1, 1, 0]
    assert pad_same(torch.ones(1, 1, 1, 5), 3, 2)[0, 0, 1].tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_transposed_convolutions_differ_in_where_their_outputs_lie() -> None:
    zero, same = (TransposedLayer(1, 1, norm="none", padding=padding) for padding in ("zero", "same-zero"))
    same.load_state_dict(zero.state_dict())
    x = torch.rand(1, 1, 4, 5)
    assert torch.allclose(zero(x)[..., :-1, :-1], same(x)[..., 1:, 1:])
    assert zero(x).shape == same(x).shape == (1, 1, 8, 10)


def test_tanh_has_a_centre_for_each_channel() -> None:
    assert ScaledTanh((0.1, 0.2, 0.3))(torch.zeros(1, 3, 1, 1)).flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
