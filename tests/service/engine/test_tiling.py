import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from model_store import (
    STYLE,
    UPSCALE_4,
    UPSCALE_8,
    Architecture,
    ImportedNetwork,
    ImportedSpec,
    Network,
    NetworkSpec,
    TransformNetwork,
    for_inference,
    reflected,
)
from model_store.networks.layers import reflect
from service.engine.tiling import Tile, TiledImage, TileSizes, Tiling, cut_reflected
from service.imaging.codecs import Pixels
from tests.networks import NARROW_STYLE, NARROW_UPSCALE_4, in_form, network
from tests.service.imaging.codecs.samples import deep_photo
from tests.service.imaging.images import photo

NARROW_UPSCALE_2 = "c9s1-4,R4*4,u4,c9s1-3"

POINTWISE = "c1s1-3"
"""A pixel of its output depends on that pixel alone: planes are tiles."""

SIDES = st.floats(0, 1)
"""Parts of the logarithm of the largest side."""


def served(architecture: str, norm: str, *, skip: bool = False, noise_channels: int = 0) -> TransformNetwork:
    """A network as it is served, in fp32."""
    return for_inference(network(architecture, norm, skip=skip, thumbnail=32, noise_channels=noise_channels))


NETWORKS = {
    "style, batch norm": served(NARROW_STYLE, "batch"),
    "style, batch norm, skip": served(NARROW_STYLE, "batch", skip=True),
    "style, no norm": served(NARROW_STYLE, "none"),
    "style, thumbnail norm": served(NARROW_STYLE, "thumbnail"),
    "x2, batch norm, skip": served(NARROW_UPSCALE_2, "batch", skip=True),
    "x4, no norm, skip": served(NARROW_UPSCALE_4, "none", skip=True),
    "x4, thumbnail norm": served(NARROW_UPSCALE_4, "thumbnail"),
    "x4, noise": served("c3s1-6,R6*2,c3s1-48,p4", "none", skip=True, noise_channels=2),
    "style, noise": served("c3s1-4,d6,R6,u4,c3s1-3", "thumbnail", noise_channels=1),
}


class Doubling:
    """Enlarges ×2 by two convolutions with zero padding, the second one after a mean over windows of four pixels."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 12, 3, padding=1))

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % 4, 0, -height % 4), "replicate")
        means = F.interpolate(F.avg_pool2d(padded, 4), scale_factor=4.0)[..., :height, :width]
        return F.pixel_shuffle(self.model(image + means), 2)


def imported() -> ImportedNetwork:
    """It sees two pixels of the mean, which sees three more."""
    facts = {"halo": 5, "stride": 4, "values_per_pixel": 24, "half_precision": True, "parameters": 556, "scale": 2}
    spec = facts | {"package": "spandrel", "architecture": "Doubling", "tiles": "exact"}
    return ImportedNetwork(ImportedSpec.model_validate(spec), Doubling())


def floats(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255


def statistics(subject: Network) -> Tensor | None:
    """Constants for the tiles of any image: those of a thumbnail of several pixels, which do not magnify rounding."""
    if not isinstance(subject, TransformNetwork) or not subject.needs_statistics:
        return None
    return subject.statistics(floats(photo(9, 32, 32)))


@torch.inference_mode()
def whole(subject: Network, image: Pixels) -> Tensor:
    """The whole image's output (H, W, 3), before it is clamped and rounded."""
    height, width, _ = image.shape
    (left, right), (top, bottom) = subject.halos(width), subject.halos(height)
    output = subject.transform(reflect(floats(image), left, right, top, bottom), statistics(subject))
    return output[0, :, : height * subject.scale, : width * subject.scale].permute(1, 2, 0)


@torch.inference_mode()
def stitched(subject: Network, image: Pixels, sizes: TileSizes) -> Tensor:
    """The same, tile by tile into a result that holds floats instead of integers."""
    tiled = TiledImage(image, Tiling(subject, sizes))
    tiled.result = np.full(tiled.result.shape, np.nan, np.float32)
    for tile in tiled.tiles:
        output = subject.transform(floats(tiled.cut(tile)), statistics(subject))
        tiled.paste(tile, output[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(tiled.result)


def largest_difference(subject: Network, image: Pixels, sizes: TileSizes) -> float:
    return (stitched(subject, image, sizes) - whole(subject, image)).abs().max().item()


def values_per_pixel(subject: TransformNetwork) -> float:
    return Architecture.parse(subject.spec.architecture).values_per_pixel


def in_parts(subject: TransformNetwork, height: int, width: int, count: int) -> TileSizes:
    """Sizes by which such an image has about so many tiles."""
    return TileSizes(math.ceil(height * width / count * values_per_pixel(subject)))


def in_squares(subject: TransformNetwork, height: int, width: int, across: int) -> TileSizes:
    """Two sides to choose from: of about so many tiles on the longer side of the image, and of twice as many."""
    side = 16 * math.ceil(max(height, width) * subject.scale / across / 16)
    return TileSizes(
        math.ceil((side / subject.scale) ** 2 * values_per_pixel(subject)), (max(side // 32 * 16, 16), side)
    )


def size(height: float, width: float, scale: int) -> tuple[int, int]:
    """From 1×1 to 1000×750 output pixels, as often small as large."""
    return math.floor((1000 // scale) ** height), math.floor((750 // scale) ** width)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(sorted(NETWORKS)), height=SIDES, width=SIDES, count=st.integers(1, 30))
@example(name="style, batch norm", height=1, width=1, count=5)
@example(name="style, thumbnail norm", height=0, width=1, count=9)
@example(name="x4, no norm, skip", height=0, width=0, count=1)
def test_tiles_give_the_whole_image(name: str, height: float, width: float, count: int) -> None:
    subject = NETWORKS[name]
    sides = size(height, width, subject.scale)
    assert largest_difference(subject, photo(1, *sides), in_parts(subject, *sides, count)) <= 1e-5


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(sorted(NETWORKS)), height=SIDES, width=SIDES, across=st.integers(1, 4))
def test_square_tiles_give_the_whole_image(name: str, height: float, width: float, across: int) -> None:
    subject = NETWORKS[name]
    sides = size(height * 0.9, width * 0.9, subject.scale)
    assert largest_difference(subject, photo(2, *sides), in_squares(subject, *sides, across)) <= 1e-5


@pytest.mark.parametrize(
    ("architecture", "height", "width", "count"), [(STYLE, 150, 203, 4), (STYLE, 1, 90, 3), (UPSCALE_4, 45, 61, 4)]
)
def test_tiles_of_the_papers_networks_give_the_whole_image(
    architecture: str, height: int, width: int, count: int
) -> None:
    subject = served(architecture, "batch", skip=True)
    sizes = in_parts(subject, height, width, count)
    assert len(Tiling(subject, sizes).plan(height, width)) >= count
    assert largest_difference(subject, photo(3, height, width), sizes) <= 1e-5


def test_comparison_with_the_whole_image_can_fail() -> None:
    """A network that is not local, cut all the same, gives another picture."""
    local, same = NETWORKS["style, batch norm"], in_form(network(), "same")
    assert largest_difference(local, photo(1, 60, 90), in_parts(local, 60, 90, 4)) <= 1e-5
    tiled = TiledImage(photo(1, 60, 90), Tiling(local, in_parts(local, 60, 90, 4)))
    with torch.inference_mode():
        expected = same(floats(photo(1, 60, 90)))[0].permute(1, 2, 0)
        first = tiled.tiles[0]
        part = same(floats(photo(1, 60, 90)[: first.height, : first.width]))[0].permute(1, 2, 0)
    assert len(tiled.tiles) > 1
    assert (part - expected[: first.height, : first.width]).abs().max() > 1e-3


plans = given(
    name=st.sampled_from(sorted(NETWORKS)),
    height=st.integers(1, 3000),
    width=st.integers(1, 2000),
    count=st.integers(1, 200),
    squares=st.booleans(),
)


def planned(name: str, height: int, width: int, count: int, squares: bool) -> tuple[Tiling, list[Tile]]:
    subject = NETWORKS[name]
    cut = in_squares if squares else in_parts
    tiling = Tiling(subject, cut(subject, height, width, math.isqrt(count) + 1 if squares else count))
    return tiling, tiling.plan(height, width)


@settings(max_examples=100, deadline=None)
@plans
def test_plan_covers_every_pixel_once(name: str, height: int, width: int, count: int, squares: bool) -> None:
    covered = np.zeros((height, width), np.uint8)
    for tile in planned(name, height, width, count, squares)[1]:
        assert tile.top + tile.height <= height
        assert tile.left + tile.width <= width
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert (covered.min(), covered.max()) == (1, 1)


@settings(max_examples=100, deadline=None)
@plans
def test_tiles_keep_to_the_grid_and_to_the_bound(name: str, height: int, width: int, count: int, squares: bool) -> None:
    tiling, tiles = planned(name, height, width, count, squares)
    stride = NETWORKS[name].stride
    for tile in tiles:
        assert tile.top % stride == tile.left % stride == 0
        assert tile.height * tile.width <= tiling.max_tile_pixels
        assert tile.plane_height >= tile.height
        assert tile.plane_width >= tile.width


@settings(max_examples=100, deadline=None)
@plans
def test_plan_is_a_function_of_its_arguments(name: str, height: int, width: int, count: int, squares: bool) -> None:
    first, second = (planned(name, height, width, count, squares)[1] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("height", "width"), [(10**7, 1), (1, 10**7), (65_500, 1500), (3, 10**6), (9999, 10**4)])
@pytest.mark.parametrize("architecture", [STYLE, UPSCALE_4])
def test_memory_of_a_pass_is_bounded_for_every_shape(architecture: str, height: int, width: int) -> None:
    """Margins are most of the plane of a thin tile: planes are compared with that of the largest square."""
    subject = network(architecture, "none")
    tiling = Tiling(subject, TileSizes(64 * 10**6))
    side = math.isqrt(tiling.max_tile_pixels)
    square = (side + sum(subject.halos(side))) ** 2
    tiles = tiling.plan(height, width)
    assert max(tile.pixels for tile in tiles) <= 2 * square
    assert len(tiles) <= 5 * (height + 110) * (width + 110) / tiling.max_tile_pixels


def test_image_that_fits_is_one_tile() -> None:
    tiling = Tiling(network(STYLE, "none"), TileSizes(64 * 10**6))
    assert len(tiling.plan(1080, 1200)) == 1
    assert len(tiling.plan(1200, 1200)) > 1


def test_parts_are_nearly_equal() -> None:
    subject = NETWORKS["style, batch norm"]
    tiles = Tiling(subject, in_parts(subject, 1000, 1500, 24)).plan(1000, 1500)
    whole_ones = {(tile.height, tile.width) for tile in tiles}
    assert len(tiles) <= 30
    assert min(height * width for height, width in whole_ones) > 0.7 * 1000 * 1500 / len(tiles)


@pytest.mark.parametrize("name", ["style, batch norm", "x2, batch norm, skip", "x4, no norm, skip"])
def test_sides_gives_its_shapes_only(name: str) -> None:
    subject, sides = NETWORKS[name], (64, 128, 256)
    tiling = Tiling(subject, TileSizes(64 * 10**6, sides))
    planes = {sum(subject.halos(side // subject.scale)) + side // subject.scale for side in sides}
    seen = set()
    for height in (1, 40, 64, 65, 130, 250, 700):
        for width in (1, 63, 127, 300, 1100):
            shapes = {(tile.plane_height, tile.plane_width) for tile in tiling.plan(height, width)}
            assert len(shapes) == 1  # one of them for each image
            seen |= shapes
    assert seen <= {(side, side) for side in planes}
    assert len(seen) > 1


def test_sides_leaves_out_what_is_too_large_or_off_the_grid() -> None:
    subject = NETWORKS["style, batch norm"]
    tiling = Tiling(subject, TileSizes(math.ceil(100**2 * values_per_pixel(subject)), (62, 64, 128)))
    assert {tile.plane_width for tile in tiling.plan(500, 500)} == {64 + sum(subject.halos(64))}


@pytest.mark.parametrize("sides", [(1024,), (3, 1000)])
@pytest.mark.parametrize("name", ["style, batch norm", "x4, no norm, skip"])
def test_shapes_repeat_though_no_side_of_the_sides_fits(name: str, sides: tuple[int, ...]) -> None:
    subject = NETWORKS[name]
    tiling = Tiling(subject, TileSizes(math.ceil(70**2 * values_per_pixel(subject)), sides))
    plans = [tiling.plan(height, width) for height in (1, 69, 200) for width in (3, 70, 333)]
    assert len({(tile.plane_height, tile.plane_width) for tiles in plans for tile in tiles}) == 1
    assert tiling.sides == [70 // subject.geometry.stride * subject.geometry.stride]
    assert (
        stitched(subject, photo(8, 90, 111), TileSizes(2**14, sides)) - whole(subject, photo(8, 90, 111))
    ).abs().max() <= 1e-5


@pytest.mark.parametrize("architecture", [STYLE, UPSCALE_4, UPSCALE_8])
@pytest.mark.parametrize("batch_values", [10**6, 128 * 10**6, 10**9])
@pytest.mark.parametrize("side", [256, 512])
def test_memory_of_a_batch_is_bounded_for_every_network(architecture: str, batch_values: int, side: int) -> None:
    subject = TransformNetwork(NetworkSpec(architecture=architecture, norm="none"))
    tiling = Tiling(subject, TileSizes(64 * 10**6, (side,), batch_values))
    tile = tiling.plan(100, 100)[0]
    values = tile.pixels * values_per_pixel(subject)
    most = tiling.max_batch(tile)
    assert most == tiling.fixed_batch(tile) >= 1
    assert most == 1 or most * values <= batch_values
    assert (most + 1) * values > batch_values


def test_passes_are_filled_up_only_where_shapes_repeat() -> None:
    subject, batch = NETWORKS["style, batch norm"], 10**7
    free, whole = (
        Tiling(subject, TileSizes(10**6, (), batch)),
        Tiling(network(norm="instance"), TileSizes(10**6, (64,), batch)),
    )
    for tiling in (free, whole):
        tile = tiling.plan(50, 60)[0]
        assert tiling.max_batch(tile) > 1
        assert tiling.fixed_batch(tile) == 1
    assert Tiling(subject, TileSizes(10**6)).max_batch(free.plan(50, 60)[0]) == 1


@pytest.mark.parametrize("sides", [(), (64, 128)])
@pytest.mark.parametrize(("norm", "form"), [("instance", "native"), ("batch", "same"), ("batch", "paper")])
def test_network_that_is_not_local_gets_the_image_whole(norm: str, form: str, sides: tuple[int, ...]) -> None:
    subject = network(norm=norm, form=form)
    image = photo(4, 61, 83)
    sizes = TileSizes(2**16, sides)
    assert len(Tiling(subject, sizes).plan(3000, 2000)) == 1
    assert (stitched(subject, image, sizes) - whole(subject, image)).abs().max() == 0


def test_plane_inside_the_image_is_not_copied() -> None:
    subject, image = NETWORKS["x4, no norm, skip"], photo(5, 200, 300)
    tiled = TiledImage(image, Tiling(subject, TileSizes(2**16)))
    shared = [np.shares_memory(tiled.cut(tile), image) for tile in tiled.tiles]
    assert any(shared)
    assert not all(shared)  # at the border it is reflected


def test_result_larger_than_its_tile_is_cropped() -> None:
    tiled = TiledImage(photo(6, 8, 8), Tiling(network(POINTWISE, "none"), TileSizes(2**16)))
    (tile,) = tiled.tiles
    tiled.paste(tile, np.pad(photo(7, 8, 8), ((0, 3), (0, 5), (0, 0))))
    assert np.array_equal(tiled.result, photo(7, 8, 8))
    assert tiled.result.flags.c_contiguous


@pytest.mark.parametrize("scale", [1, 4])
def test_tiles_are_cut_and_pasted_from_many_threads(scale: int) -> None:
    """A network that changes nothing: what is put together is the image."""
    subject = network(NARROW_STYLE if scale == 1 else NARROW_UPSCALE_4, "none")
    image = np.random.default_rng(0).integers(0, 256, (301, 403, 3), np.uint8)
    tiled = TiledImage(image, Tiling(subject, in_parts(subject, 301, 403, 100)))
    before = subject.halos(1)[0]

    def run(tile: Tile) -> None:
        inside = tiled.cut(tile)[before : before + tile.height, before : before + tile.width]
        tiled.paste(tile, inside.repeat(scale, axis=0).repeat(scale, axis=1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, tiled.tiles))
    assert len(tiled.tiles) >= 100
    assert np.array_equal(tiled.result, image.repeat(scale, axis=0).repeat(scale, axis=1))


def test_result_has_the_depth_of_the_image() -> None:
    subject = network(NARROW_STYLE, "none")
    deep = deep_photo(1, 60, 90)
    tiled = TiledImage(deep, Tiling(subject, in_parts(subject, 60, 90, 4)))
    before = subject.halos(1)[0]
    for tile in tiled.tiles:
        tiled.paste(tile, tiled.cut(tile)[before : before + tile.height, before : before + tile.width])
    assert tiled.result.dtype == np.uint16
    assert np.array_equal(tiled.result, deep)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), tile_pixels=st.integers(16, 900))
def test_tiles_of_an_imported_network_end_where_the_image_does(height: int, width: int, tile_pixels: int) -> None:
    subject, image = imported(), photo(5, height, width)
    assert largest_difference(subject, image, TileSizes(24 * tile_pixels)) < 1e-6


def test_planes_of_an_imported_network_lie_in_the_image_and_begin_at_its_windows() -> None:
    tiles = Tiling(imported(), TileSizes(24 * 20**2)).plan(70, 50)
    assert len(tiles) > 4
    for tile in tiles:
        top, left = tile.top - tile.skipped_rows, tile.left - tile.skipped_columns
        assert (top % 4, left % 4) == (0, 0)
        assert top >= max(0, tile.top - 8)
        assert 0 <= left <= left + tile.plane_width <= 50
        assert 0 <= top <= top + tile.plane_height <= 70


def test_an_imported_network_has_tiles_of_any_shape_on_every_device() -> None:
    assert Tiling(imported(), TileSizes(2**20, (256, 512), 2**22)).sides == []


@given(
    sides=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    corner=st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_plane_beyond_the_image_is_its_reflection(
    sides: tuple[int, int], corner: tuple[int, int], shape: tuple[int, int]
) -> None:
    """Pixel by pixel, by the definition; where the image is small, it is reflected again and again."""
    image = np.arange(3 * math.prod(sides), dtype=np.uint16).reshape(*sides, 3)
    rows, columns = (
        reflected(side, begin, begin + length).numpy() for side, begin, length in zip(sides, corner, shape, strict=True)
    )
    expected = [[image[row, column] for column in columns] for row in rows]
    assert np.array_equal(cut_reflected(image, *corner, *shape), expected)
