import errno
import gc
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.trainer.samples import loss_network_file, photograph, run_training, style_config
from trainer.errors import RunError
from trainer.objective import StyleWeights
from trainer.run_folder import Run, png, same_inputs


def test_a_saved_state_is_loaded_with_its_tensors_and_values(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert run.begin(style_config(tmp_path, steps=8), "images", resume=False) is None
    state = {"step": 7, "fingerprint": "images", "network": {"weight": torch.rand(2, 3)}}
    run.save(state)
    found = Run(tmp_path / "run").load()
    assert found["step"] == 7
    assert torch.equal(found["network"]["weight"], state["network"]["weight"])  # type: ignore[index]
    resumed = run.begin(style_config(tmp_path, steps=8), "images", resume=True)
    assert resumed is not None
    assert resumed["step"] == 7


def test_a_state_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    torch.save({"step": 1, "path": tmp_path}, run.state_file)  # a Path is not a plain value
    with pytest.raises(Exception, match="Weights only load failed"):
        run.load()


def test_a_png_has_the_values_of_the_picture_limited_to_its_range() -> None:
    picture = torch.tensor([[[0.0, 0.5, 2.0]], [[1.0, -1.0, 0.2]], [[0.0, 0.0, 0.0]]])
    image = Image.open(io.BytesIO(png(picture)))
    assert image.size == (3, 1)
    assert [image.getpixel((x, 0)) for x in range(3)] == [(0, 255, 0), (128, 0, 0), (255, 51, 0)]


def test_a_run_goes_on_that_was_begun_before_an_option_existed(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    run_training(config)
    options = json.loads((config.folder / "config.json").read_text())
    del options["teacher_weight"]
    (config.folder / "config.json").write_text(json.dumps(options))
    run_training(style_config(tmp_path, steps=8), resume=True)


def test_a_run_is_not_overwritten_nor_continued_with_other_options(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    with pytest.raises(RunError, match="start without --resume"):
        run_training(config, resume=True)
    run_training(config)
    with pytest.raises(RunError, match="pass --resume"):
        run_training(config)
    with pytest.raises(RunError, match=r"style_weight was 5\.0, now 6\.0"):
        run_training(style_config(tmp_path, style_weight=6.0), resume=True)
    other = loss_network_file(tmp_path / "other.safetensors", width=4)
    with pytest.raises(RunError, match="another loss network"):
        run_training(style_config(tmp_path, loss_network=str(other)), resume=True)
    photograph(config.content / "another.png")
    with pytest.raises(RunError, match="with other images"):
        run_training(config, resume=True)


def test_a_resumed_run_does_not_repeat_its_metrics_and_remembers_its_options(tmp_path: Path) -> None:
    run_training(style_config(tmp_path, steps=4, save_every=4, log_every=1))
    metrics = tmp_path / "run/metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 5}\n{"step": 6}\n{"ste')  # a run that was killed after its last saved state
    run_training(style_config(tmp_path, log_every=1, title="New"), resume=True)
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]
    assert json.loads(Run(tmp_path / "run").config_file.read_text())["title"] == "New"


def test_a_run_does_not_go_back_to_fewer_steps_than_it_has_done(tmp_path: Path) -> None:
    config = style_config(tmp_path, steps=4)
    run_training(config)
    with pytest.raises(RunError, match="has done 4 steps already; --steps is that or more"):
        run_training(style_config(tmp_path, steps=3), resume=True)
    assert Run(config.folder).config(type(config)).steps == 4
    run_training(config, resume=True)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_damaged_state_is_named(tmp_path: Path, size: int) -> None:
    config = style_config(tmp_path)
    run_training(config)
    run = Run(config.folder)
    run.state_file.write_bytes(run.state_file.read_bytes()[:size])
    for read in (run.load, lambda: run_training(config, resume=True)):
        with pytest.raises(RunError, match=r"run/state\.pt cannot be read: .+; put it back from a copy, or begin"):
            read()


@pytest.mark.parametrize("state", [[1, 2], {"step": 3}])
def test_what_is_no_state_is_named(tmp_path: Path, state: object) -> None:
    run = Run(tmp_path)
    torch.save(state, run.state_file)
    with pytest.raises(RunError, match=r"state\.pt is no state of a run"):
        run.load()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read: Expecting value"),
        (b'{"name": "wa', "cannot be read: Unterminated string"),
        (b"\0" * 100, "cannot be read: "),
        (b"[]", "holds no options of a run"),
        (b'{"name": "wave"}', "does not hold the options of such a run: content: Field required"),
    ],
)
def test_damaged_options_are_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    config = style_config(tmp_path)
    run_training(config)
    run = Run(config.folder)
    run.config_file.write_bytes(content)
    with pytest.raises(RunError, match=re.escape(f"run/config.json {complaint}")):
        run.config(type(config))
    with pytest.raises(RunError, match=re.escape(f"run/config.json {complaint}")):
        run_training(config, resume=True)


@pytest.mark.parametrize("left", [b"\0" * 50 + b"\n", b'{"step": 2, "content": 0.\n', b"[4]\n", b"\xff\n{}\n", b'{"st'])
def test_lines_that_a_crash_has_left_of_metrics_are_removed(tmp_path: Path, left: bytes) -> None:
    config = style_config(tmp_path, log_every=1)
    run_training(config)
    run = Run(config.folder)
    whole = run.metrics_file.read_bytes()
    lines = whole.splitlines(keepends=True)
    run.metrics_file.write_bytes(b"".join([*lines[:2], left, *lines[2:]]) if left.endswith(b"\n") else whole + left)
    run_training(style_config(tmp_path, log_every=1, steps=6), resume=True)
    assert run.metrics_file.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"[]", b'{"step": 6}', b"\0"])
def test_a_damaged_note_of_a_publication_is_none(tmp_path: Path, content: bytes) -> None:
    run = Run(tmp_path)
    run.note_published(6, "wave@1", "models")
    assert (run.published_as(6, "models"), run.published_as(5, "models")) == ("wave@1", "")
    run.published_file.write_bytes(content)
    assert run.published_as(6, "models") == ""


def test_a_note_of_a_publication_is_of_one_store_or_from_before_that_was_noted(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.note_published(6, "wave@1", "models")
    assert (run.published_as(6, "models"), run.published_as(6, "others")) == ("wave@1", "")
    run.published_file.write_text('{"step": 6, "label": "wave@1"}')
    assert run.published_as(6, "others") == "wave@1"


def test_a_full_disk_is_named_with_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = Run(tmp_path)
    advice = "; the same command with --resume goes on from the saved state"
    state = {"step": 1, "fingerprint": "images"}
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"state\.pt cannot be written: No space left on device$"):
            run.save(state)
    run.save(state)
    run.metrics_file.symlink_to("/dev/full")
    with pytest.raises(RunError, match=rf"metrics\.jsonl cannot be written: No space left on device{advice}$"):
        run.log(2, {"content": 1.0})
    monkeypatch.setattr(os, "fsync", full)
    writes: list[tuple[str, Callable[[], object]]] = [
        ("state.pt", lambda: run.save(state)),
        ("preview-000002.png", lambda: run.preview(2, torch.zeros(3, 2, 2))),
        ("published.json", lambda: run.note_published(2, "wave@1", "models")),
        ("result.png", lambda: run.write("result.png", b"png")),
        ("config.json", lambda: run.begin(StyleWeights(), "images", resume=False)),
    ]
    for name, write in writes:
        if name == "config.json":
            run.state_file.unlink()
        with pytest.raises(RunError, match=f"{tmp_path}/{name} cannot be written: No space left on device"):
            write()
    gc.collect()  # some versions of Python crashed at the views of buffers that such errors left behind


def test_a_run_may_move(tmp_path: Path) -> None:
    config = style_config(tmp_path / "old", steps=3)
    run_training(config)
    (tmp_path / "old").rename(tmp_path / "new")
    run_training(style_config(tmp_path / "new"), resume=True)
    assert Run(tmp_path / "new/run").load()["step"] == 6


def test_two_processes_do_not_train_into_one_folder(tmp_path: Path) -> None:
    with Run(tmp_path / "run").exclusive():
        with pytest.raises(RunError, match=r"a run in .*run is under way; use another --run"):
            run_training(style_config(tmp_path))
        with Run(tmp_path / "other").exclusive():  # that is another one
            pass
    run_training(style_config(tmp_path))
    with pytest.raises(RunError, match="holds a run already"):
        run_training(style_config(tmp_path))
    run_training(style_config(tmp_path, steps=7), resume=True)  # nothing that has ended holds the folder


def test_the_option_that_names_the_folder_is_advised(tmp_path: Path) -> None:
    run = Run(tmp_path / "out/runs/one", option="--out")
    with run.exclusive(), pytest.raises(RunError, match="use another --out"):
        Run(run.folder, option="--out").exclusive().__enter__()
    run.save({"step": 1, "fingerprint": "one"})
    with pytest.raises(RunError, match="or another --out"):
        run.begin(StyleWeights(), "one", resume=False)
    run.config_file.write_text("{}")
    with pytest.raises(RunError, match="or use another --out"):
        run.begin(StyleWeights(), "other", resume=True)


def test_a_lock_may_be_taken_again_by_who_has_it(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with run.exclusive():
        with run.exclusive():
            pass
        with pytest.raises(RunError, match="under way"), Run(tmp_path / "run").exclusive():
            pass


HOLD = """
import sys
from pathlib import Path
from trainer.run_folder import Run
with Run(Path(sys.argv[1])).exclusive():
    print("training", flush=True)
    sys.stdin.read()
"""


def test_a_training_that_is_killed_holds_its_folder_no_more(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        with pytest.raises(RunError, match="under way"), Run(tmp_path / "run").exclusive():
            pass
        process.kill()
        process.wait()
        with Run(tmp_path / "run").exclusive():
            pass


def test_photographs_are_compared_by_what_a_run_noted_of_them() -> None:
    names, lengths, others = "a" * 64, "+" + "b" * 64, "+" + "c" * 64
    assert same_inputs(f"{names}{lengths} vgg16", f"{names}{lengths} vgg16")
    assert not same_inputs(f"{names}{lengths} vgg16", f"{names}{others} vgg16")
    assert same_inputs(f"{names} vgg16", f"{names}{lengths} vgg16")  # begun by an earlier version
    assert not same_inputs(f"{names} vgg16", f"{names}{lengths} vgg11")
