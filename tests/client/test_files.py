import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.files import Item, ResultExists, UsageError, plan, with_format
from client.formats import FORMATS
from service.imaging.codecs import WRITTEN_FORMATS


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")


def test_subfolders_are_kept(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    touch(photos / "b.JPG", photos / "2024" / "a.png", photos / "notes.txt", photos / ".a.jpg")
    assert plan([photos], out) == [
        Item(photos / "2024" / "a.png", out / "2024" / "a"),
        Item(photos / "b.JPG", out / "b"),
    ]


def test_results_that_would_collide_keep_their_extensions(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg", tmp_path / "in" / "a.png", tmp_path / "in" / "b.jpg")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert [item.result_path("image/webp").name for item in planned] == ["a.jpg.webp", "a.png.webp", "b.webp"]


def test_results_of_one_command_after_another_do_not_collide(tmp_path: Path) -> None:
    """a.png would be taken as done after a.jpg, and never painted. A folder gives the same names."""
    images = [tmp_path / "in" / name for name in ("a.jpg", "a.png", "b.jpg")]
    touch(*images)
    planned = [item for image in images for item in plan([image], tmp_path / "out")]
    assert [item.result_path("image/webp").name for item in planned] == ["a.jpg.webp", "a.png.webp", "b.webp"]
    assert planned == plan([tmp_path / "in"], tmp_path / "out")


def test_single_image_may_become_a_file_of_any_name(tmp_path: Path) -> None:
    touch(tmp_path / "in.heic")
    (item,) = plan([tmp_path / "in.heic"], tmp_path / "out.jpg")
    assert item.result_path("image/png") == tmp_path / "out.jpg"
    (item,) = plan([tmp_path / "in.heic"], tmp_path / "out")
    assert item.result_path("image/jpeg") == tmp_path / "out" / "in.jpg"
    assert item.result_path("image/avif") == tmp_path / "out" / "in.avif"


def test_results_of_an_earlier_run_are_not_sources(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "painted" / "a.jpg")
    assert [item.source for item in plan([tmp_path], tmp_path / "painted")] == [tmp_path / "a.jpg"]


def test_invalid_sources_and_targets_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "other" / "a.jpg", tmp_path / "texts" / "a.txt")
    faults = [
        ([tmp_path / "absent"], tmp_path / "out", "absent is neither a file nor a folder"),
        ([tmp_path / "absent"], tmp_path / "a.jpg", "absent is neither a file nor a folder"),
        ([tmp_path / "a.jpg", tmp_path / "absent"], tmp_path / "a.jpg", "absent is neither a file nor a folder"),
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


def test_result_is_written_and_not_overwritten_unless_asked(tmp_path: Path) -> None:
    item = Item(tmp_path / "a.png", tmp_path / "out" / "a")
    assert item.existing_result() is None
    assert item.write(b"one", "image/webp", overwrite=False) == tmp_path / "out" / "a.webp"
    assert item.existing_result() == tmp_path / "out" / "a.webp"
    with pytest.raises(ResultExists):
        item.write(b"two", "image/webp", overwrite=False)
    assert (tmp_path / "out" / "a.webp").read_bytes() == b"one"
    item.write(b"three", "image/webp", overwrite=True)
    assert (tmp_path / "out" / "a.webp").read_bytes() == b"three"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.webp"]


def test_what_is_in_the_place_of_a_result_is_no_result_unless_it_is_a_file(tmp_path: Path) -> None:
    folder, link = Item(tmp_path / "a.png", tmp_path / "folder"), Item(tmp_path / "b.png", tmp_path / "link")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("gone.png")
    for item in (folder, link):
        assert item.existing_result() is None
        with pytest.raises(FileExistsError):
            item.write(b"content", "image/png", overwrite=False)


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_written(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    (tmp_path / "link").symlink_to("gone")
    for parent in ("file", "file/below", "link"):
        with pytest.raises(NotADirectoryError, match=r"(file|link)'$"):
            Item(tmp_path / "a.png", tmp_path / parent / "a").require_folder()
    Item(tmp_path / "a.png", tmp_path / "new" / "below" / "a").require_folder()
    Item(tmp_path / "a.png", Path("a")).require_folder()
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)  # permissions do not hold back root
    with pytest.raises(PermissionError, match="cannot be written into"):
        Item(tmp_path / "a.png", tmp_path / "new" / "a").require_folder()


def test_broken_links_are_not_ignored(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.jpg").symlink_to("gone.jpg")
    (tmp_path / "in" / "c.jpg").symlink_to("c.jpg")
    sources = [item.source.name for item in plan([tmp_path / "in"], tmp_path / "out")]
    assert sources == ["a.jpg", "b.jpg", "c.jpg"]


def test_folders_that_cannot_be_read_are_not_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "in" / "b.jpg")
    touch(tmp_path / "in" / "closed" / "a.jpg")
    scandir = os.scandir

    def refuse(folder: str | Path) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "closed":  # permissions do not hold back root
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert [item.source.name for item in plan([tmp_path / "in"], tmp_path / "out")] == ["b.jpg", "closed"]
    with pytest.raises(UsageError, match=r"closed cannot be read: Permission denied"):
        plan([tmp_path / "in" / "closed"], tmp_path / "out")
    assert [item.source.name for item in plan([tmp_path / "in"], tmp_path / "in" / "closed")] == ["b.jpg"]


def test_result_does_not_overwrite_its_own_image(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    for source, out in (("a.jpg", "a.jpg"), ("a.jpg", "link.jpg"), ("link.jpg", "a.jpg")):
        with pytest.raises(UsageError, match="is the image itself"):
            plan([tmp_path / source], tmp_path / out)


def test_extension_of_one_result_is_its_format(tmp_path: Path) -> None:
    assert set(FORMATS.values()) == {kind.value for kind in WRITTEN_FORMATS}
    png, tiff = (Item(tmp_path / "a.jpg", tmp_path / name, exact=True) for name in ("a.PNG", "a.tiff"))
    assert with_format({"quality": "80"}, [png]) == {"quality": "80", "format": "png"}
    assert with_format({"format": "TIF"}, [tiff]) == {"format": "TIF"}
    assert with_format({"quality": "80"}, [Item(tmp_path / "a.jpg", tmp_path / "a.png")]) == {"quality": "80"}
    for other in ("jpeg", "bmp", ""):
        with pytest.raises(UsageError, match=r"a\.PNG is a png.*--format=png"):
            with_format({"format": other}, [png])


def test_every_format_that_is_read_is_taken_from_a_folder(tmp_path: Path) -> None:
    names = ("a.bmp", "b.DIB", "c.jxl", "d.heic", "e.hif", "f.apng", "g.pjpeg")
    for name in (*names, "h.txt", "i.svg"):
        touch(tmp_path / "in" / name)
    assert [item.source.name for item in plan([tmp_path / "in"], tmp_path / "out")] == list(names)


def test_unknown_extension_of_a_result_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    for name in ("out.bmp", "out.heic"):
        with pytest.raises(UsageError, match=r"\.avif, \.gif, .*\.webp"):
            plan([tmp_path / "a.jpg"], tmp_path / name)
    (tmp_path / "v1.0").mkdir()
    assert plan([tmp_path / "a.jpg"], tmp_path / "v1.0") == [Item(tmp_path / "a.jpg", tmp_path / "v1.0" / "a")]
