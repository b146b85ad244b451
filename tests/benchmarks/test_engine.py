"""Which engines are measured."""

import pytest

from benchmarks.engine import BASELINE, WITH_ALLOCATOR, _installed_engines
from benchmarks.engines import BASE, ENGINES, OURS, missing


def test_base_comes_first_and_missing_engines_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    absent = [name for name in ENGINES if missing(name)]
    assert list(_installed_engines(["OpenVINO fp32", OURS])) == [
        name for name in (BASE, "OpenVINO fp32", OURS) if name not in absent
    ]
    assert capsys.readouterr().out.count("is skipped") == ("OpenVINO fp32" in absent)


def test_engines_with_the_allocator_are_engines() -> None:
    assert {*WITH_ALLOCATOR, BASELINE.engine} <= ENGINES.keys()
