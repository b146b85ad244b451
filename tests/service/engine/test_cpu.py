from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import Tensor

from model_store import TransformNetwork, for_inference, thumbnail
from service.engine.cpu import CpuBackend
from service.engine.tiling import TiledImage, TileSizes, Tiling
from service.imaging.codecs import Pixels
from tests.networks import NARROW_UPSCALE_4, network
from tests.service.imaging.codecs.samples import deep_photo
from tests.service.imaging.images import photo
from tests.service.live import same

WHOLE = TileSizes(10**9)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def planes(subject: TransformNetwork, *images: Pixels) -> list[Pixels]:
    tiled = [TiledImage(image, Tiling(subject, WHOLE)) for image in images]
    return [image.cut(image.tiles[0]) for image in tiled]


def statistics(subject: TransformNetwork, *images: Pixels) -> Tensor:
    return torch.cat([subject.statistics(thumbnail(image, subject.spec.thumbnail)) for image in images])


def painted(subject: TransformNetwork, image: Pixels) -> Pixels:
    output = subject(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    result: Pixels = (output[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return result


@pytest.mark.parametrize("architecture", [network().spec.architecture, NARROW_UPSCALE_4])
def test_bytes_are_those_of_the_network(architecture: str) -> None:
    subject = network(architecture, skip=True)
    (result,) = CpuBackend(1, 1).run(for_inference(subject), planes(subject, photo()), None)
    expected = painted(subject, photo())
    assert result is not None
    assert result.dtype == np.uint8
    assert same(result[: len(expected), : expected.shape[1]], expected)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_bytes_do_not_depend_on_batch_mates(precision: torch.dtype) -> None:
    subject, backend = for_inference(network(), precision), CpuBackend(1, 1)
    images = planes(subject, *(photo(seed) for seed in range(5)))
    together = backend.run(subject, images, None)
    for image, result in zip(images, together, strict=True):
        (alone,) = backend.run(subject, [image], None)
        assert np.array_equal(np.array(result), np.array(alone))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", ["batch", "thumbnail"])
def test_bytes_do_not_depend_on_the_number_of_threads(precision: torch.dtype, norm: str) -> None:
    subject, backend = for_inference(network(norm=norm, thumbnail=64), precision), CpuBackend(2, 2)
    image = photo(1, 150, 203)
    before, results = torch.get_num_threads(), []
    for exclusive in (False, True):
        with backend.lane(exclusive):
            assert torch.get_num_threads() == (2 if exclusive else 1)
            own = statistics(subject, image) if norm == "thumbnail" else None
            results += backend.run(subject, planes(subject, image), own)
    torch.set_num_threads(before)
    assert np.array_equal(np.array(results[0]), np.array(results[1]))


@pytest.mark.parametrize(
    ("threads", "lanes", "shares"), [(5, 2, [3, 2]), (7, 3, [3, 2, 2]), (4, 2, [2, 2]), (1, 2, [1, 1]), (3, 1, [3])]
)
def test_lanes_share_all_threads(threads: int, lanes: int, shares: list[int]) -> None:
    before, backend = torch.get_num_threads(), CpuBackend(threads, lanes)
    for _ in range(2):  # what a lane takes, it gives back
        with ExitStack() as stack:
            seen = []
            for _ in [*shares, "one more, as for a network that is loaded"]:
                stack.enter_context(backend.lane(exclusive=False))
                seen.append(torch.get_num_threads())
        assert seen == [*shares, min(shares)]
        with backend.lane(exclusive=True):
            assert torch.get_num_threads() == threads
    torch.set_num_threads(before)


def test_every_plane_has_its_own_statistics() -> None:
    subject = for_inference(network(norm="thumbnail", thumbnail=16))
    images = [photo(seed, 40, 52) for seed in range(3)]
    results = CpuBackend(1, 1).run(subject, planes(subject, *images), statistics(subject, *images))
    for image, result in zip(images, results, strict=True):
        assert result is not None
        assert same(result[:40, :52], painted(subject, image))
    exchanged = CpuBackend(1, 1).run(subject, planes(subject, *images), statistics(subject, *images[::-1]))
    assert not np.array_equal(np.array(exchanged[0]), np.array(results[0]))


class Broken(TransformNetwork):
    """Gives a single value that is no number, or too large for one, for planes that are black."""

    value = torch.nan

    def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:
        result = super().transform(plane, statistics)
        result[plane.amax((1, 2, 3)) == 0, 1, 3, 5] = self.value
        return result


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_value_that_is_not_finite_is_seen_before_it_is_clamped(value: float) -> None:
    subject = Broken(network().spec).eval()
    subject.value = value
    black = np.zeros((24, 32, 3), np.uint8)
    results = CpuBackend(1, 1).run(subject, planes(subject, photo(1), black, photo(2)), None)
    assert [result is None for result in results] == [False, True, False]


@pytest.mark.parametrize("architecture", [network().spec.architecture, NARROW_UPSCALE_4])
def test_sixteen_bits_come_out_as_exact_as_they_went_in(architecture: str) -> None:
    """To a level of 65536 that of the network in fp32; had they passed through 8 bits, they would be off by 128."""
    subject = network(architecture, skip=True)
    image = deep_photo()
    (result,) = CpuBackend(1, 1).run(for_inference(subject), planes(subject, image), None)
    expected = subject(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 65_535)[0].permute(1, 2, 0)
    assert result is not None
    assert result.dtype == np.uint16
    difference = result[: len(expected), : expected.shape[1]] - expected.numpy() * 65_535
    assert np.abs(difference).max() <= 4
    assert len(np.unique(result & 255)) > 100
