from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainer.samples import photographs
from trainer.data import low_resolution
from trainer.evaluate import MAX_PSNR, bicubic, evaluate, luma, psnr, score_image, ssim


def test_luma_is_bt601_of_limited_range() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).T[None, :, :, None]
    assert luma(colours).flatten().tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966])


def test_psnr_of_a_known_error() -> None:
    plane = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    assert psnr(plane, plane + 255) == pytest.approx(0)
    assert psnr(plane, plane + 25.5) == pytest.approx(20)


def test_ssim_of_known_planes() -> None:
    generator = torch.Generator().manual_seed(0)
    plane = 255 * torch.rand(1, 1, 32, 32, generator=generator, dtype=torch.float64)
    assert ssim(plane, plane) == pytest.approx(1)
    flat = torch.full_like(plane, 100.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(flat, flat + 20) == pytest.approx(
        (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    )  # the luminance term alone
    assert ssim(plane, 255 - plane) < 0


def test_reduction_is_pillows_bicubic() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(pixels).resize((16, 12), Image.Resampling.BICUBIC)).astype(int)
    ours = low_resolution(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255, 4)
    difference = (ours[0].permute(1, 2, 0) * 255).round().numpy().astype(int) - pillow
    assert np.abs(difference).max() <= 1


def test_blur_removes_detail_before_the_reduction() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert low_resolution(image, 2, blur=1.0).std() < 0.8 * low_resolution(image, 2).std()


def test_a_better_network_scores_better(tmp_path: Path) -> None:
    folder = photographs(tmp_path, 2, 61, 47)  # not multiples of the scale

    def constant(low: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 3, low.shape[2] * 2, low.shape[3] * 2), 0.5)

    good, bad = evaluate(bicubic(2), folder, 2), evaluate(constant, folder, 2)
    assert good["psnr"] > bad["psnr"] + 10
    assert good["ssim"] > bad["ssim"]


def test_low_resolution_images_have_eight_bits() -> None:
    low = low_resolution(torch.rand(1, 3, 32, 32), 4) * 255
    assert torch.allclose(low, low.round(), atol=1e-4)


def test_borders_do_not_count(tmp_path: Path) -> None:
    folder = photographs(tmp_path, 1, 64, 48)

    def framed(low: torch.Tensor) -> torch.Tensor:
        enlarged = bicubic(2)(low)
        frame = torch.ones_like(enlarged)
        frame[..., 2:-2, 2:-2] = 0
        return torch.where(frame == 1, 0.0, enlarged)

    assert evaluate(framed, folder, 2) == evaluate(bicubic(2), folder, 2)


def test_an_exact_result_has_a_finite_psnr() -> None:
    plane = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    assert psnr(plane, plane) == MAX_PSNR


def test_an_image_of_one_colour_has_finite_scores() -> None:
    """A manifest holds no others."""
    white = torch.ones(1, 3, 128, 128)
    assert score_image(bicubic(2), white, 2) == {"psnr": 100.0, "ssim": 1.0, "grid": 0.0}


def test_a_grid_of_the_scales_period_is_found(tmp_path: Path) -> None:
    folder = photographs(tmp_path, 2, 160, 144)

    def gridded(low: torch.Tensor) -> torch.Tensor:
        enlarged = bicubic(4)(low)
        enlarged[..., ::4, ::4] += 0.03
        return enlarged

    assert evaluate(gridded, folder, 4)["grid"] > evaluate(bicubic(4), folder, 4)["grid"] + 6


def test_a_pattern_between_the_scales_frequencies_is_found(tmp_path: Path) -> None:
    folder = photographs(tmp_path, 2, 320, 272)

    def woven(low: torch.Tensor) -> torch.Tensor:
        enlarged = bicubic(8)(low)
        return enlarged + 0.01 * torch.cos(torch.arange(enlarged.shape[-1]) * 2 * torch.pi * 5 / 16)

    assert evaluate(woven, folder, 8)["grid"] > evaluate(bicubic(8), folder, 8)["grid"] + 6


@pytest.mark.parametrize(("side", "scale"), [(60, 4), (120, 3)])
def test_small_images_and_odd_scales_have_no_grid_score(tmp_path: Path, side: int, scale: int) -> None:
    assert evaluate(bicubic(scale), photographs(tmp_path, 1, side, side), scale).keys() == {"psnr", "ssim"}
