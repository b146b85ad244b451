"""What is recorded of the machine."""

import json
import os

import pytest

from benchmarks import machine


def test_description_can_be_saved_as_json() -> None:
    found = json.loads(json.dumps(machine.describe()))
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["memory_gb"] > 0
    assert found["packages"]["torch"] == machine.installed("torch")
    assert found["processor"]


def test_environment_has_the_allocator_settings_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.ALLOCATOR:
        monkeypatch.setenv(name, "another")
    monkeypatch.setenv("PASTICHE_BENCHMARKS_OTHER", "kept")
    without, within = machine.environment(allocator=False), machine.environment(allocator=True)
    assert not machine.ALLOCATOR.keys() & without.keys()
    assert within == without | machine.ALLOCATOR
    assert without["PASTICHE_BENCHMARKS_OTHER"] == "kept"


def test_installed_is_a_version_or_none() -> None:
    assert machine.installed("pytest") == pytest.__version__
    assert machine.installed("no-such-distribution") is None
