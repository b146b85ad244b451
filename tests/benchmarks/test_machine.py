"""What is recorded of the machine."""

import json
import os
from types import SimpleNamespace

import pytest
import torch

from benchmarks import machine


def test_description_can_be_saved_as_json() -> None:
    found = json.loads(json.dumps(machine.describe()))
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["memory_gb"] > 0
    assert found["packages"]["torch"] == machine.installed("torch")
    assert found["processor"]
    assert len(found["gpus"]) == torch.cuda.device_count()


def test_settings_that_servers_inherit_are_recorded_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_MAX_QUEUE_REQUESTS", "1")
    monkeypatch.setenv("PASTICHE_JOBS_URL", "redis://:password@host/0")
    monkeypatch.setenv("PASTICHE_WEBHOOK_SECRET", "password")
    found = json.loads(json.dumps(machine.describe()))["environment"]
    assert found["PASTICHE_MAX_QUEUE_REQUESTS"] == "1"
    assert (found["PASTICHE_JOBS_URL"], found["PASTICHE_WEBHOOK_SECRET"]) == ("(secret)", "(secret)")


def test_gpus_are_named_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    card = SimpleNamespace(name="NVIDIA H200", total_memory=150_754_820_096)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    assert machine.describe()["gpus"] == [f"NVIDIA H200, 151 GB, CUDA {torch.version.cuda}"]


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
