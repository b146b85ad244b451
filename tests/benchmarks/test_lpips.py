from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from benchmarks.lpips import SLICES, Lpips

CHANNELS = (64, 128, 256, 384, 384, 512, 512)


def lpips_file(path: Path) -> Path:
    """Random weights; those of the channels are positive, as Zhang et al. trained them."""
    torch.manual_seed(0)
    weights = {f"features.{name}": tensor for name, tensor in squeezenet1_1().features.state_dict().items()}
    save_file(weights | {f"lin{index}": torch.rand(channels) for index, channels in enumerate(CHANNELS)}, path)
    return path


def test_the_distance_is_zero_for_equal_images_and_grows_with_noise(tmp_path: Path) -> None:
    lpips = Lpips(lpips_file(tmp_path / "lpips.safetensors"))
    image, noise = torch.rand(1, 3, 48, 40), torch.randn(1, 3, 48, 40)
    near, far = (image + strength * noise for strength in (0.02, 0.2))
    assert lpips(image, image) == 0
    assert 0 < lpips(image, near) < lpips(image, far)
    assert lpips(image, far) == pytest.approx(lpips(far, image))


def test_seven_features_are_compared(tmp_path: Path) -> None:
    file = lpips_file(tmp_path / "lpips.safetensors")
    assert len(Lpips(file).channels) == len(SLICES) == 7
