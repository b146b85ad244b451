import logging
import os
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainer.samples import photograph, photographs
from trainer.data import (
    Photographs,
    image_files,
    image_names,
    random_exact_crop,
    random_scaled_crop,
    read_painting,
    read_rgb,
)
from trainer.errors import DataError
from trainer.prefetch import Prefetch


def test_batches_depend_on_the_seed_and_the_step_alone(tmp_path: Path) -> None:
    folder = photographs(tmp_path)
    one = Photographs(folder, 16, 3, random_scaled_crop, seed=1)
    other = Photographs(folder, 16, 3, random_scaled_crop, seed=1, cache_mb=0)
    assert torch.equal(one.batch(7), other.batch(7))
    later = list(one.batches(5, 8))
    assert torch.equal(later[2], other.batch(7))
    assert len(later) == 3
    assert not torch.equal(one.batch(7), Photographs(folder, 16, 3, random_scaled_crop, seed=2).batch(7))


def test_the_parts_of_a_batch_are_the_batch(tmp_path: Path) -> None:
    folder = photographs(tmp_path)
    whole = Photographs(folder, 16, 4, random_scaled_crop, seed=1, zoom=2.0)
    parts = [next(whole.batches(7, 8, places)) for places in (range(1), range(1, 4))]
    assert torch.equal(torch.cat(parts), whole.batch(7))


def test_zoomed_batches_depend_on_the_seed_and_the_step_alone_too(tmp_path: Path) -> None:
    folder = photographs(tmp_path)
    one, other = (Photographs(folder, 16, 2, random_scaled_crop, seed=1, zoom=4.0) for _ in range(2))
    squares = list(one.batches(0, 40))
    assert torch.equal(squares[7], other.batch(7))
    sides = sorted(square.shape[-1] for square in squares)
    assert all(square.shape == (2, 3, square.shape[-1], square.shape[-1]) for square in squares)
    assert 16 <= sides[0] < 20
    assert 28 < sides[20] < 36  # the median factor is 2
    assert 56 < sides[-1] <= 64


def test_photographs_are_larger_from_a_step_on(tmp_path: Path) -> None:
    folder = photographs(tmp_path)
    late = Photographs(folder, 16, 2, random_scaled_crop, seed=1, zoom=4.0, zoom_from=3)
    always = Photographs(folder, 16, 2, random_scaled_crop, seed=1, zoom=4.0)
    assert [late.batch(step).shape[-1] for step in range(3)] == [16, 16, 16]
    assert all(torch.equal(late.batch(step), always.batch(step)) for step in (3, 4))
    assert max(late.batch(step).shape[-1] for step in range(3, 9)) > 16


def test_larger_sides_are_multiples_where_these_are_wanted(tmp_path: Path) -> None:
    squares = Photographs(
        photographs(tmp_path), 20, 1, random_scaled_crop, seed=1, zoom=4.0, zoom_from=3, zoom_multiple=32
    )
    sides = [squares.batch(step).shape[-1] for step in range(23)]
    assert sides[:3] == [20, 20, 20]
    assert set(sides[3:]) == {32, 64, 96} or set(sides[3:]) == {32, 64}


def test_threads_change_no_batch_and_log_a_bad_file_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = photographs(tmp_path, count=7)
    (folder / "bad.png").write_bytes(b"no image")
    one, many = (
        Photographs(folder, 16, 3, random_scaled_crop, seed=1, zoom=2.0, cache_mb=cache_mb, prefetch=Prefetch(workers))
        for workers, cache_mb in ((1, 0), (4, 1))
    )
    with caplog.at_level(logging.WARNING):
        several = list(many.batches(2, 14))
    assert all(torch.equal(found, one.batch(step)) for step, found in enumerate(several, start=2))
    assert len(several) == 12
    assert [record.getMessage()[:7] for record in caplog.records if record.args] == ["skipped"] * 2  # `one` has its own


def test_every_photograph_is_seen_once_an_epoch(tmp_path: Path) -> None:
    for value in range(6):
        Image.new("RGB", (20, 20), (value, 0, 0)).save(tmp_path / f"{value}.png")
    seen = Photographs(tmp_path, 16, 3, random_exact_crop, seed=0)
    for epoch in range(3):
        values = torch.cat([seen.batch(2 * epoch), seen.batch(2 * epoch + 1)])[:, 0, 0, 0]
        assert sorted(values.tolist()) == [0, 1, 2, 3, 4, 5]


def test_unreadable_images_are_skipped_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = photographs(tmp_path, count=2)
    (folder / "broken.jpg").write_bytes(b"no image")
    truncated = photograph(folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(truncated[: len(truncated) // 2])
    seen = Photographs(folder, 16, 4, random_scaled_crop, seed=0)
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            assert seen.batch(step).shape == (4, 3, 16, 16)
    assert {path.name for path in seen.skipped} == {"broken.jpg", "cut.png"}
    assert len(caplog.records) == 2
    assert "broken.jpg" in caplog.text


def test_images_behind_links_are_found_once(tmp_path: Path) -> None:
    photograph(tmp_path / "elsewhere" / "deep" / "a.jpg")
    content = tmp_path / "content"
    (content / "named.jpg").mkdir(parents=True)
    (content / "first").symlink_to(tmp_path / "elsewhere")
    (content / "second").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(content)
    assert image_files(content) == [content / "first" / "deep" / "a.jpg"]


def test_pipes_are_no_images_and_broken_links_are_found(tmp_path: Path) -> None:
    content = photographs(tmp_path, count=1)
    os.mkfifo(content / "pipe.jpg")
    (content / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (content / "beyond.jpg").symlink_to("a" * 300)  # it cannot be looked at, as where that is forbidden
    assert image_files(content) == sorted(path for path in content.iterdir() if path.name != "pipe.jpg")


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"no images in .*; --content takes a folder of images: \.jpg"):
        image_files(tmp_path)
    with pytest.raises(DataError, match="takes a folder"):
        image_files(tmp_path / "none")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 1 images can be used; the last: .*a\.jpg"):
        Photographs(tmp_path, 16, 1, random_scaled_crop, seed=0).batch(0)


def test_scaled_crops_fill_the_square_from_any_size() -> None:
    rng = np.random.default_rng(0)
    for sides in ((3, 200), (200, 3), (16, 16), (15, 40), (300, 400)):
        pixels = rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
        assert random_scaled_crop(pixels, 16, rng).shape == (16, 16, 3)


@pytest.mark.parametrize("sides", [(1, 60_000), (60_000, 1)])
def test_line_of_pixels_is_cut_before_it_is_enlarged(sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    enlarged, resize = [], Image.Image.resize

    def seen(image: Image.Image, size: tuple[int, int], *more: Any, **options: Any) -> Image.Image:
        enlarged.append(size)
        return resize(image, size, *more, **options)

    monkeypatch.setattr(Image.Image, "resize", seen)
    pixels = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    crops = [random_scaled_crop(pixels, 64, np.random.default_rng(seed)) for seed in range(3)]
    assert [max(size) for size in enlarged] == [16 * 64] * 3
    assert not np.array_equal(crops[0], crops[1])  # parts of it all


def test_exact_crops_are_pieces_of_the_photograph() -> None:
    pixels = np.arange(40 * 30 * 3, dtype=np.uint32).reshape(40, 30, 3).view(np.uint8).reshape(40, 30, 12)[..., ::4]
    values = set(map(tuple, pixels.reshape(-1, 3).tolist()))
    crop = random_exact_crop(pixels, 16, np.random.default_rng(3))
    assert crop.shape == (16, 16, 3)
    assert set(map(tuple, crop.reshape(-1, 3).tolist())) <= values


def test_photographs_smaller_than_an_exact_crop_are_skipped(tmp_path: Path) -> None:
    photograph(tmp_path / "small.png", 10, 40)
    photograph(tmp_path / "large.png", 40, 40)
    seen = Photographs(tmp_path, 16, 4, random_exact_crop, seed=0)
    seen.batch(0)
    assert [path.name for path in seen.skipped] == ["small.png"]


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (80, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_painting(tmp_path / "turned.jpg", 80).shape == (80, 40, 3)


@pytest.mark.parametrize(
    ("mode", "warning"), [("RGBA", "transparent"), ("LA", "transparent"), ("L", "grey"), ("CMYK", "CMYK"), ("RGB", "")]
)
def test_paintings_of_every_kind_become_rgb(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, warning: str
) -> None:
    path = tmp_path / ("painting.tif" if mode == "CMYK" else "painting.png")
    Image.new(mode, (80, 64)).save(path)
    with caplog.at_level(logging.WARNING):
        pixels = read_painting(path, 40)
    assert pixels.shape == (32, 40, 3)
    assert (warning in caplog.text) if warning else not caplog.text
    if warning == "transparent":
        assert pixels.min() == 255


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_paintings_with_a_profile_become_srgb(tmp_path: Path, mode: str) -> None:
    profile = bytes(imagecodecs.cms_profile("adobergb"))
    Image.new("RGB", (80, 64), (0, 204, 0)).convert(mode).save(tmp_path / "wide.png", icc_profile=profile)
    Image.new("RGB", (80, 64), (0, 204, 0)).convert(mode).save(tmp_path / "broken.png", icc_profile=b"x" * 200)
    assert read_painting(tmp_path / "broken.png", 80)[0, 0].tolist() == [0, 204, 0]
    red, green, blue = read_painting(tmp_path / "wide.png", 80)[0, 0].tolist()
    assert red == 0  # which is clipped: sRGB has no green as deep
    assert abs(green - 204) < 5
    assert blue == 0


def test_colours_of_a_profile_are_those_of_imagecodecs(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    profile = bytes(imagecodecs.cms_profile("adobergb"))
    Image.fromarray(pixels).save(tmp_path / "wide.png", icc_profile=profile)
    srgb = bytes(imagecodecs.cms_profile("srgb"))
    expected = imagecodecs.cms_transform(pixels, profile, srgb, colorspace="rgb", outcolorspace="rgb", intent=1)
    assert np.abs(read_painting(tmp_path / "wide.png", 80).astype(int) - expected).max() <= 1


def test_files_that_are_not_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("x")
    with pytest.raises(DataError, match=r"x\.jpg cannot be read"):
        read_painting(tmp_path / "x.jpg", 64)
    with pytest.raises(DataError, match=r"none\.jpg"):
        read_painting(tmp_path / "none.jpg", 64)


def test_damaged_files_of_every_kind_are_skipped(tmp_path: Path) -> None:
    folder = photographs(tmp_path, count=2)
    whole = photograph(tmp_path / "model.png").read_bytes()
    rng = np.random.default_rng(0)
    for i in range(40):
        damaged = bytearray(whole[: rng.integers(20, len(whole))])
        damaged[rng.integers(8, len(damaged))] ^= 0xFF
        (folder / f"damaged{i}.png").write_bytes(damaged)
    seen = Photographs(folder, 16, 8, random_scaled_crop, seed=0)
    for step in range(8):
        assert seen.batch(step).shape == (8, 3, 16, 16)
    assert len(seen.skipped) > 20


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_lose_a_photograph(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0garbage")
    assert read_rgb(tmp_path / "a.jpg").shape == (20, 40, 3)


def test_sixteen_bit_grey_keeps_its_tones(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 32_768, dtype=np.uint16)).save(tmp_path / "grey.png")
    assert read_painting(tmp_path / "grey.png", 40).mean() == 128


def test_paintings_too_narrow_for_the_loss_network_are_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "narrow.png", 600, 8)
    with pytest.raises(DataError, match=r"narrow\.png is 600×8 pixels .* 32 or more"):
        read_painting(tmp_path / "narrow.png", 600)


def test_the_digest_is_that_of_the_names_and_of_how_long_the_files_were_at_first(tmp_path: Path) -> None:
    one, other = (photographs(tmp_path / name) for name in ("one", "other"))
    found, same = (Photographs(folder, 16, 1, random_scaled_crop, seed=0) for folder in (one, other))
    digest = found.digest
    assert same.digest == digest
    photograph(other / "1.png", width=90)
    assert same.digest == digest
    replaced = Photographs(other, 16, 1, random_scaled_crop, seed=0)
    assert replaced.digest != digest
    assert replaced.names_digest == found.names_digest
    photograph(other / "more.png")
    assert Photographs(other, 16, 1, random_scaled_crop, seed=0).names_digest != found.names_digest


def test_photographs_may_have_names_of_any_bytes(tmp_path: Path) -> None:
    named = photographs(tmp_path, count=1) / os.fsdecode(b"caf\xe9.png")
    (tmp_path / "0.png").rename(named)
    found = Photographs(tmp_path, 16, 1, random_scaled_crop, seed=0)
    assert found.files == [named]
    assert len(found.digest) == 129
    assert found.batch(0).shape == (1, 3, 16, 16)


def test_images_have_names_of_their_own(tmp_path: Path) -> None:
    def names(*paths: str) -> list[str]:
        return image_names([tmp_path / path for path in paths], tmp_path)

    assert names("a.png", "sub/a.png") == ["a", "sub/a"]
    assert names("a.jpg", "a.png", "b.png") == ["a.jpg", "a.png", "b.png"]
    assert names("a.jpg", "a.png", "a.png.jpg") == ["a.jpg", "a.png", "a.png.jpg"]
