"""The command line of the benchmarks."""

import sys
from argparse import ArgumentParser

import pytest

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
