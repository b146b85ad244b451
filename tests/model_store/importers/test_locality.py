import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.importers.locality import MOST_EXACT_HALO, measure_locality


def convolutions(count: int, kernel: int = 3) -> nn.Module:
    """Zero-padded convolutions that see `count` · (kernel - 1) / 2 pixels."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 3, kernel, padding=kernel // 2) for _ in range(count)]
    for layer in layers:
        nn.init.dirac_(layer.weight)
        layer.weight.data += torch.randn_like(layer.weight) / 20
    return nn.Sequential(*layers)


def test_a_chain_of_convolutions_sees_the_sum_of_their_reaches() -> None:
    found = measure_locality(convolutions(5), 1, 1)
    assert (found.tiles, found.halo, found.stride, found.seam) == ("exact", 5, 1, 0.0)


def test_weights_that_are_zero_count() -> None:
    network = convolutions(3)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    assert measure_locality(network, 1, 1).halo == 3


def test_the_scale_is_taken_out() -> None:
    inner = convolutions(4)

    def enlarge(image: Tensor) -> Tensor:
        enlarged: Tensor = F.interpolate(inner(image), scale_factor=3.0, mode="nearest")
        return enlarged

    assert measure_locality(enlarge, 3, 1).halo == 4


def test_windows_are_seen_whole_from_each_of_their_pixels() -> None:
    def mean_of_windows(image: Tensor) -> Tensor:
        return image + F.interpolate(F.avg_pool2d(image, 8), scale_factor=8.0, mode="nearest")

    found = measure_locality(mean_of_windows, 1, 8)
    assert (found.tiles, found.halo, found.stride) == ("exact", 7, 8)


def test_squares_that_a_network_does_not_tell_of_are_found() -> None:
    def mean_of_squares(image: Tensor) -> Tensor:
        means = F.avg_pool2d(image, 4, ceil_mode=True)
        return 0.5 * image + 0.5 * F.interpolate(means, scale_factor=4.0)[..., : image.shape[-2], : image.shape[-1]]

    found = measure_locality(mean_of_squares, 1, 1)
    assert (found.tiles, found.halo, found.stride) == ("exact", 3, 4)


def test_a_network_that_sees_everything_has_a_seam() -> None:
    def brightened(image: Tensor) -> Tensor:
        return 0.5 * image + 0.1 * image.mean((2, 3), keepdim=True)

    found = measure_locality(brightened, 1, 1)
    assert found.tiles == "overlapping"
    assert 0 < found.seam < 8


def test_images_stay_whole_where_a_seam_would_be_seen() -> None:
    def brightest_first(image: Tensor) -> Tensor:
        return image / image[..., :1].mean().clamp_min(0.05)

    assert measure_locality(brightest_first, 1, 1).tiles == "none"


def test_a_network_that_sees_far_overlaps_by_as_little_as_leaves_no_visible_seam() -> None:
    network = convolutions(MOST_EXACT_HALO + 6)
    for weight in network.parameters():
        if weight.dim() == 4:
            nn.init.dirac_(weight)
    found = measure_locality(network, 1, 1)
    assert (found.tiles, found.halo, found.seam) == ("overlapping", 32, 0.0)


def test_statistics_of_the_plane_are_not_mistaken_for_locality() -> None:
    def normalized(image: Tensor) -> Tensor:
        """Which forgets what is no number, so that probing alone shows nothing."""
        return torch.nan_to_num(image) / torch.nan_to_num(image).amax((2, 3), keepdim=True).clamp_min(0.5)

    assert measure_locality(normalized, 1, 1).tiles != "exact"
