from pathlib import Path

import pytest

from client.files import Item, UsageError, plan


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")


def test_folders_keep_their_shape(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    touch(photos / "b.JPG", photos / "2024" / "a.png", photos / "notes.txt", photos / ".a.jpg")
    assert plan([photos], out) == [
        Item(photos / "2024" / "a.png", out / "2024" / "a"),
        Item(photos / "b.JPG", out / "b"),
    ]


def test_results_that_would_meet_keep_their_whole_names(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg", tmp_path / "in" / "a.png", tmp_path / "in" / "b.jpg")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert [item.result("image/webp").name for item in planned] == ["a.jpg.webp", "a.png.webp", "b.webp"]


def test_single_image_may_become_a_file_of_any_name(tmp_path: Path) -> None:
    touch(tmp_path / "in.heic")
    (item,) = plan([tmp_path / "in.heic"], tmp_path / "out.jpg")
    assert item.result("image/png") == tmp_path / "out.jpg"
    (item,) = plan([tmp_path / "in.heic"], tmp_path / "out")
    assert item.result("image/jpeg") == tmp_path / "out" / "in.jpg"
    assert item.result("image/avif") == tmp_path / "out" / "in.avif"


def test_results_of_an_earlier_run_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "painted" / "a.jpg")
    assert [item.source for item in plan([tmp_path], tmp_path / "painted")] == [tmp_path / "a.jpg"]


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "other" / "a.jpg", tmp_path / "texts" / "a.txt")
    faults = [
        ([tmp_path / "absent"], tmp_path / "out", "neither a file nor a folder"),
        ([tmp_path / "texts"], tmp_path / "out", "holds no images"),
        ([tmp_path / "other"], tmp_path / "a.jpg", "is a file"),
        ([tmp_path / "other"], tmp_path / "other", "among their images"),
        ([tmp_path / "a.jpg"], tmp_path, "among their images"),
        ([tmp_path / "a.jpg", tmp_path / "other"], tmp_path / "out", "several images would become"),
    ]
    for sources, out, said in faults:
        with pytest.raises(UsageError, match=said):
            plan(sources, out)
    assert len(plan([tmp_path / "a.jpg", tmp_path / "a.jpg"], tmp_path / "out")) == 1


def test_result_is_written_whole_and_over_nothing(tmp_path: Path) -> None:
    item = Item(tmp_path / "a.png", tmp_path / "out" / "a")
    assert item.done() is None
    assert item.write(b"one", "image/webp", overwrite=False) == tmp_path / "out" / "a.webp"
    assert item.done() == tmp_path / "out" / "a.webp"
    with pytest.raises(FileExistsError):
        item.write(b"two", "image/webp", overwrite=False)
    assert (tmp_path / "out" / "a.webp").read_bytes() == b"one"
    item.write(b"three", "image/webp", overwrite=True)
    assert (tmp_path / "out" / "a.webp").read_bytes() == b"three"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.webp"]
