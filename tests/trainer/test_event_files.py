import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.samples import style_arguments
from trainer.__main__ import main
from trainer.errors import TrainerError
from trainer.event_files import EventFiles


def events(folder: Path) -> Iterator[Any]:
    """The events of all files of a folder: for each a length, its checksum, the bytes, their checksum (TFRecord)."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield proto.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    found = ((event.step, value) for event in events(folder) for value in event.summary.value)
    return {(value.tag, step): value.simple_value for step, value in found if value.HasField("simple_value")}


def test_values_and_pictures_can_be_read_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with closing(EventFiles(tmp_path)) as files:
        files.begin(4)
        files.log(5, {"content": 0.5, "learning_rate": 0.25, "discriminator": 0.75})
        files.preview(5, torch.full((3, 2, 4), 0.5))
    plain = {("learning_rate", 5): 0.25, ("discriminator", 5): 0.75}
    assert scalars(tmp_path) == {("loss/content", 5): 0.5, **plain}
    images = [value.image for event in events(tmp_path) for value in event.summary.value if value.HasField("image")]
    assert [(image.width, image.height) for image in images] == [(4, 2)]
    assert any(event.HasField("session_log") and event.step == 5 for event in events(tmp_path))  # later ones are void


def test_an_option_of_training_writes_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "events"
    assert main(style_arguments(tmp_path, "--log-every", "1", "--tensorboard", str(folder))) == 0
    found = scalars(folder)
    assert {step for _, step in found} == {1, 2, 3}
    assert {"loss/content", "loss/tv", "gradient", "learning_rate", "images_per_second"} <= {name for name, _ in found}


def test_a_training_that_cannot_begin_writes_nothing_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "events"
    assert main(style_arguments(tmp_path, "--content", "nowhere", "--tensorboard", str(folder))) == 1
    assert "nowhere is no folder" in capsys.readouterr().err
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_found_before_the_training_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboardX")
    file = tmp_path / "file"
    file.touch()
    assert main(style_arguments(tmp_path, "--content", "nowhere", "--tensorboard", str(file))) == 1
    assert capsys.readouterr().err.endswith(f"error: --tensorboard {file} cannot be written: Not a directory\n")


def test_a_training_goes_on_where_events_can_be_written_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboardX")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(EventFiles(tmp_path)) as files:
        files.begin(0)
        files.log(1, {"content": 0.5})
        size = sum(path.stat().st_size for path in tmp_path.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))  # as on a full disk
        try:
            for step in range(2, 40):
                files.log(step, {"content": 0.5, "tv": 0.5})
                files.preview(step, torch.zeros(3, 2, 4))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [record.getMessage().partition(": ")[2][:24] for record in caplog.records] == ["no events from step 2 on"]
    assert scalars(tmp_path) == {("loss/content", 1): 0.5}


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(TrainerError, match=r"pip install 'pastiche\[tensorboard\]'"):
        EventFiles(tmp_path)
