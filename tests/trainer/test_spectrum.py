from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model_store import SHIPPED_STORE, ModelStore
from trainer.evaluate import luma
from trainer.spectrum import flat_texture, grid_energy, grid_level, texture_energy

SHIPPED = ModelStore(SHIPPED_STORE)
GRIDLESS = [name for name in SHIPPED.names() if not name.startswith("paper-")]
"""All but those of the paper's recipe, which has the grid that the paper reports (§4.2)."""


def texture(side: int = 256, seed: int = 0) -> Tensor:
    """Noise with the 1/f amplitudes of photographs, standard deviation 30."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.fftfreq(side)[None])
    frequency[0, 0] = torch.inf
    plane = torch.fft.ifft2(torch.fft.fft2(torch.randn(side, side, generator=generator)) / frequency).real
    result: Tensor = 128 + 30 * plane / plane.std()
    return result


def grid(side: int, period: int) -> Tensor:
    """A dot of height 1 every `period` pixels of both axes."""
    plane = torch.zeros(side, side)
    plane[::period, ::period] = 1
    return plane


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_a_faint_grid_stands_out(period: int) -> None:
    plain = texture()
    assert grid_level(plain, period) < 3
    height = max(3 * period, 0.4 * period**2)
    assert grid_level(plain + height * grid(256, period), period) > 6


def test_a_grid_that_fades_in_and_out_is_found() -> None:
    waves = torch.sin(torch.arange(256) / 40)[:, None]
    assert grid_level(texture() + 12 * waves * grid(256, 4), 4) > 6


def test_a_grid_of_lines_is_found_on_its_axis() -> None:
    lines = (torch.arange(256) % 4 == 0).float()[None].expand(256, 256)
    assert grid_level(texture() + 3 * lines, 4) > 6
    assert grid_level(texture() + 3 * lines.T, 4) > 6


def test_a_grid_of_another_period_is_not_found() -> None:
    lines = 3 * (torch.arange(256) % 8 < 2).float()[None].expand(256, 256)  # no power at period 2
    assert grid_level(texture() + 2 * lines, 2) < 3
    assert grid_level(texture() + 2 * lines, 8) > 6


@pytest.mark.parametrize("level", [0.0, 123.0, 235.0])
def test_one_colour_has_neither_a_grid_nor_a_texture(level: float) -> None:
    plane = torch.full((128, 128), level)
    assert [grid_level(plane, period) for period in (2, 4, 8, 16)] == [0.0] * 4
    deviation, peak, period = flat_texture(plane, plane)
    assert (deviation, peak) == (0.0, 0.0)
    assert 5 <= period <= 16


def test_other_periods_and_small_planes_are_refused() -> None:
    with pytest.raises(ValueError, match="divisor of 64 from 2 to 16"):
        grid_level(texture(), 3)
    with pytest.raises(ValueError, match="64 pixels a side or more, not 63×80"):
        grid_level(torch.zeros(80, 63), 4)


def made(name: str) -> list[Tensor]:
    """Luma (H, W) of what a shipped style paints of the photographs in its preview, or of the enlargements in it."""
    path, stored = SHIPPED.preview(name), SHIPPED.load(name)
    assert path is not None
    picture = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float() / 255
    if stored.manifest.task == "super-resolution":
        bicubic_enlarged_sharp = picture.chunk(3, dim=2)
        return [luma(each)[0, 0] for each in bicubic_enlarged_sharp[1].chunk(4, dim=3)]
    photographs = picture.chunk(2, dim=2)[0].chunk(4, dim=3)  # above the paintings, which are reduced
    with torch.inference_mode():
        return [luma(painted[None])[0, 0] for painted in stored.network.eval()(torch.cat(photographs))]


@pytest.mark.parametrize("name", GRIDLESS)
def test_shipped_networks_leave_no_grid(name: str) -> None:
    scale = SHIPPED.manifest(name).scale
    for period in (2, 4) if scale == 1 else (2 * scale,):
        assert fmean(grid_level(plane, period) for plane in made(name)) < 6


def stripes(period: int, height: int = 128, width: int = 128) -> Tensor:
    """A vertical wave of amplitude 1, (1, 3, height, width)."""
    return torch.cos(2 * torch.pi * torch.arange(height) / period)[:, None].expand(1, 3, height, width)


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_grid_energy_of_a_wave_is_its_mean_square_whatever_its_phase(shift: int) -> None:
    wave = 0.5 + 0.1 * stripes(4)[:, :, shift : shift + 96]
    assert grid_energy(wave, 4).item() == pytest.approx(0.1**2 / 2, rel=1e-3)
    assert grid_energy(0.1 * stripes(2), 4).item() == pytest.approx(0.1**2, rel=1e-3)


def test_grid_energy_is_that_of_grids_alone() -> None:
    noise = texture()[None, None] / 255
    for image in (torch.full((1, 3, 128, 128), 0.7), stripes(16), stripes(3), noise):
        assert grid_energy(image, 4).item() < 1e-5
    checkerboard = stripes(2) * stripes(2).transpose(2, 3)
    assert grid_energy(checkerboard, 4).item() == pytest.approx(1, rel=1e-3)
    assert grid_energy(noise + 0.05 * stripes(4, 256, 256)[:, :1], 4).item() == pytest.approx(0.05**2 / 2, rel=0.1)


def test_grid_energy_is_that_of_the_given_period() -> None:
    assert grid_energy(0.1 * stripes(8), 4).item() < 1e-6
    assert grid_energy(0.1 * stripes(8), 8).item() == pytest.approx(0.1**2 / 2, rel=1e-3)


def test_grid_energy_has_a_gradient_in_bf16_and_is_zero_for_the_smallest_images() -> None:
    image = (stripes(4, 80, 64).bfloat16() / 4).clone().requires_grad_()
    grid_energy(image, 4).backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert grid_energy(torch.rand(1, 3, 63, 90), 4) == 0


def test_a_weave_beside_a_grid_does_not_lower_its_energy() -> None:
    """Power between the grid's frequencies has no gradient, as it would be raised to lower the loss."""
    amplitude = torch.tensor(0.05, requires_grad=True)
    weave = torch.cos(2 * torch.pi * 11 / 64 * torch.arange(128))[:, None]
    grid_energy(0.5 + 0.1 * stripes(8) + amplitude * weave, 8).backward()
    assert amplitude.grad is not None
    assert amplitude.grad.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("period", [5.5, 8.0, 12.0])
def test_a_weave_in_flat_regions_is_found_with_its_period(period: float) -> None:
    photograph = torch.full((192, 192), 128.0)
    photograph[:, 96:] = texture(192)[:, 96:]
    brush = 20 * torch.randn(192, 192, generator=torch.Generator().manual_seed(1))
    weave = 3 * torch.cos(2 * torch.pi * torch.arange(192) / period).expand(192, 192)
    plain, woven = flat_texture(brush, photograph), flat_texture(brush + weave, photograph)
    assert plain.peak < 6
    assert woven.peak > plain.peak + 3
    assert woven.period == pytest.approx(period, rel=0.1)


def test_the_deviation_of_a_texture_is_that_of_its_periods_in_flat_regions_alone() -> None:
    photograph = torch.zeros(192, 384)
    photograph[:, 128:] = texture(384)[:192, 128:]
    wave = torch.cos(2 * torch.pi * torch.arange(384) / 8).expand(192, 384).clone()
    assert flat_texture(4 * wave, photograph).deviation == pytest.approx(4 / 2**0.5, rel=0.05)
    wave[:, :160] = 0
    assert flat_texture(4 * wave, photograph).deviation < 0.5
    long = torch.cos(2 * torch.pi * torch.arange(384) / 32).expand(192, 384)
    assert flat_texture(4 * long, photograph).deviation < 0.1
    with pytest.raises(ValueError, match="64 pixels a side or more, not 63×80"):
        flat_texture(torch.zeros(80, 63), torch.zeros(80, 63))


def test_a_regular_texture_has_energy_in_flat_regions_alone() -> None:
    photographs = torch.zeros(2, 3, 192, 192)
    photographs[..., 96:] = texture(192)[:, 96:] / 256
    brush = 0.05 * torch.randn(2, 3, 192, 192, generator=torch.Generator().manual_seed(1))
    wave = 0.1 * torch.cos(2 * torch.pi * torch.arange(192) / 8).expand(2, 3, 192, 192)
    plain, woven = (float(texture_energy(images, photographs)) for images in (brush, brush + wave))
    assert woven == pytest.approx(0.1**2 / 2, rel=0.2)
    assert plain < woven / 20
    elsewhere = torch.where(photographs > 0, wave, 0)
    assert float(texture_energy(brush + elsewhere, photographs)) < woven / 20
    assert float(texture_energy(wave[..., :63], photographs[..., :63])) == 0


def test_learning_lowers_the_energy_of_a_regular_texture() -> None:
    images = (0.1 * torch.cos(torch.arange(64) * 2 * torch.pi / 8)).expand(1, 3, 64, 64).clone().requires_grad_()
    before = texture_energy(images, torch.zeros(1, 3, 64, 64))
    before.backward()
    assert images.grad is not None
    with torch.no_grad():
        images -= 100 * images.grad
        after = texture_energy(images, torch.zeros(1, 3, 64, 64))
    assert after < 0.9 * before
