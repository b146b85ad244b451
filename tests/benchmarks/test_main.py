"""The command line of the benchmarks."""

import json
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import benchmarks
from benchmarks import photos
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.errors import Incomplete
from tests.benchmarks.test_servers import has_ended, wait_for


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_has_a_summary_and_defaults_for_its_options(name: str) -> None:
    benchmark = BENCHMARKS[name]
    parser = ArgumentParser()
    benchmark.add_options(parser)
    parser.parse_args([])
    assert (benchmark.__doc__ or "").startswith(f"`{name}`: ")


def test_a_tilde_is_the_home_folder_in_every_path() -> None:
    sources = Path(benchmarks.__file__).parent.glob("*.py")
    assert not [source.name for source in sources if "type=Path" in source.read_text()]


def test_help_names_every_benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    help_text = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(name in help_text for name in BENCHMARKS)


def test_results_are_kept_where_nobody_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have taken hours."""
    path = tmp_path / "result.json"
    measured = SimpleNamespace(run=lambda _: {"Table": [{"ms": 1}]}, add_options=lambda _: None)
    monkeypatch.setitem(BENCHMARKS, "decisions", measured)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "decisions", "--json", str(path)])
    monkeypatch.setattr("benchmarks.__main__.signal.signal", lambda *_: None)
    with suppress(OSError), Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        main()
    assert json.loads(path.read_text())["tables"] == {"Table": [{"ms": 1}]}


def test_a_file_that_cannot_be_written_is_found_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BENCHMARKS, "decisions", SimpleNamespace(run=None, add_options=lambda _: None))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "decisions", "--json", str(tmp_path)])
    monkeypatch.setattr("benchmarks.__main__.signal.signal", lambda *_: None)
    assert main() == 1
    told = f"python -m benchmarks decisions: --json {tmp_path} cannot be written: Is a directory\n"
    assert capsys.readouterr().err == told


def test_what_was_measured_is_kept_where_it_is_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> None:
        raise Incomplete("1 of 2 parts failed: b (exit status 3)", {"Parts": [{"part": "a"}]})

    monkeypatch.setitem(BENCHMARKS, "decisions", SimpleNamespace(run=run, add_options=lambda _: None))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "decisions", "--json", str(tmp_path / "result.json")])
    monkeypatch.setattr("benchmarks.__main__.signal.signal", lambda *_: None)
    assert main() == 1
    printed = capsys.readouterr()
    assert printed.err == "python -m benchmarks decisions: 1 of 2 parts failed: b (exit status 3)\n"
    assert "## Parts" in printed.out
    assert json.loads((tmp_path / "result.json").read_text())["tables"] == {"Parts": [{"part": "a"}]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("imported", "--quick"), "spandrel is not installed (pip install -e '.[import]')"),
        (("ray", "--quick"), "ray is not installed (pip install -e '.[ray]')"),
        (("enlarge",), "--images: name folders of photographs"),
        (("enlarge", "--images", "no-such-folder"), "no-such-folder"),
        (("enlarge", "--images", "{photos}", "--models", "no-such-model"), "no-such-model"),
        (("gallery", "--photos", "{photos}", "--out", "{photos}/photo.jpg"), "photo.jpg cannot be written"),
        (("enlarge", "--images", "{photos}", "--pictures", "{photos}/photo.jpg"), "photo.jpg cannot be written"),
        (("normalisation", "--quick", "--runs", "{photos}/photo.jpg"), "photo.jpg cannot be written"),
        (("gpu", "--quick", "--out", "{photos}/photo.jpg"), "photo.jpg cannot be written"),
        (("gallery",), "--photos: name a folder"),
    ],
)
def test_benchmark_that_cannot_run_says_why_without_a_traceback(
    arguments: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for missing in ("spandrel", "ray", *sys.modules):
        if missing.partition(".")[0] in ("spandrel", "ray"):
            monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / "photo.jpg").write_bytes(photos.jpeg(photos.photo(16, 16)))
    arguments = tuple(argument.replace("{photos}", str(tmp_path)) for argument in arguments)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    monkeypatch.setattr("benchmarks.__main__.signal.signal", lambda *_: None)
    assert main() == 1
    message = capsys.readouterr().err
    assert message.startswith(f"python -m benchmarks {arguments[0]}: ")
    assert told in message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_that_ends_it_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    """A part of `gpu` has a session of its own, which no terminal tells that it goes away."""
    command = [sys.executable, "-c", WITH_A_LONG_PART, str(tmp_path), "gpu"]
    with subprocess.Popen(command, cwd=Path(benchmarks.__file__).parents[1]) as process:
        log = tmp_path / "slow.log"
        while not (log.exists() and log.read_text().endswith("\n")):  # all benchmarks are imported before
            assert process.poll() is None
            time.sleep(0.05)
        part = psutil.Process(int(log.read_text()))
        process.send_signal(number)
        assert process.wait() == 130
    wait_for(lambda: has_ended(part))


WITH_A_LONG_PART = """
import sys
from pathlib import Path
from types import SimpleNamespace
from benchmarks import __main__, gpu
folder = Path(sys.argv.pop(1))
part = gpu.Part("slow", ("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"), 600.0)
__main__.BENCHMARKS["gpu"] = SimpleNamespace(run=lambda _: gpu.run_part(part, folder), add_options=lambda _: None)
sys.exit(__main__.main())
"""


@pytest.mark.parametrize("arguments", [["enlarge", "--store"], ["gallery", "--store"], ["residency", "--served"], []])
def test_no_password_is_shown(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "https://me:secret@host/models"])
    with pytest.raises(SystemExit, match="2"):
        main()
    told = capsys.readouterr().err
    assert "secret" not in told
    assert ("credentials come from the environment" in told) == ("--store" in arguments)


def test_contributors_are_told_of_every_benchmark_and_of_those_that_make_runs() -> None:
    root = Path(benchmarks.__file__).parents[1]
    text = (root / "CONTRIBUTING.md").read_text().partition("`make bench` runs ")[2].partition("\n\n")[0]
    run, _, others = text.partition(". The others")
    made = re.findall(r"-m benchmarks (\w+) \$\(ARGS\)", (root / "Makefile").read_text().partition("\nbench:")[2])
    assert re.findall(r"`(\w+)`", run) == made
    assert sorted(made + re.findall(r"`(\w+)`", others)) == sorted(BENCHMARKS)
