"""The command line of the benchmarks."""

import json
import re
import sys
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks
from benchmarks.__main__ import BENCHMARKS, main


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_has_a_summary_and_defaults_for_its_options(name: str) -> None:
    benchmark = BENCHMARKS[name]
    parser = ArgumentParser()
    benchmark.add_options(parser)
    parser.parse_args([])
    assert (benchmark.__doc__ or "").startswith(f"`{name}`: ")


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


def test_contributors_are_told_of_every_benchmark_and_of_those_that_make_runs() -> None:
    root = Path(benchmarks.__file__).parents[1]
    text = (root / "CONTRIBUTING.md").read_text().partition("`make bench` runs ")[2].partition("\n\n")[0]
    run, _, others = text.partition(". The others")
    made = re.findall(r"-m benchmarks (\w+) \$\(ARGS\)", (root / "Makefile").read_text().partition("\nbench:")[2])
    assert re.findall(r"`(\w+)`", run) == made
    assert sorted(made + re.findall(r"`(\w+)`", others)) == sorted(BENCHMARKS)
