"""Photos made by a formula."""

import io

import numpy as np
from PIL import Image

from benchmarks import photos


def test_same_seed_same_bytes() -> None:
    assert photos.jpeg(photos.photo(96, 64, 3)) == photos.jpeg(photos.photo(96, 64, 3))
    assert not np.array_equal(photos.photo(96, 64, 3), photos.photo(96, 64, 4))


def test_photo_has_edges_and_texture() -> None:
    picture = photos.photo(256, 192).astype(float)
    steps = np.abs(np.diff(picture, axis=1))
    assert picture.shape == (192, 256, 3)
    assert picture.std() > 30
    assert np.median(steps) < 10 < np.percentile(steps, 99) / 4


def test_uniform_photo_is_about_100_kb() -> None:
    assert all(80_000 < len(photo) < 120_000 for photo in photos.uniform(512, 2))


def test_mixed_sizes_span_the_range_with_no_side_under_it() -> None:
    sizes = photos.mixed_sides()
    longer = sorted(max(size) for size in sizes)
    assert (longer[0], longer[-1], len(sizes)) == (256, 1536, 24)
    assert min(min(size) for size in sizes) == 256
    assert sizes == photos.mixed_sides()


def test_mixed_photos_have_these_sizes() -> None:
    files = photos.mixed(3, 64, 128)
    assert [Image.open(io.BytesIO(file)).size for file in files] == photos.mixed_sides(3, 64, 128)


def test_large_picture_continues_its_tile_without_seams() -> None:
    side = photos.TILE
    picture = photos.large(side + 40, 30)
    assert picture.shape == (30, side + 40, 3)
    assert np.array_equal(picture[:, side:], picture[:, side - 40 : side][:, ::-1])
