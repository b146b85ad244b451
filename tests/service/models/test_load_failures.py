"""Failures are kept by model, and attempts become rarer."""

from pathlib import Path
from time import monotonic

from model_store import StoreError
from service.models.load_failures import LONGEST_RETRY, LoadFailures
from service.models.watched_store import Version

WAVE = Version(Path("store"), "wave", 1)


def test_each_attempt_waits_twice_as_long_up_to_a_limit() -> None:
    failures, waits = LoadFailures(10.0), []
    for _ in range(6):
        began = monotonic()
        failures.record(WAVE, StoreError("broken"))
        failure = failures.find("wave")
        assert failure is not None
        waits.append(round(failure.retry_at - began))
    assert waits == [20, 40, 80, 160, LONGEST_RETRY, LONGEST_RETRY]
    assert [failure.attempts for failure in failures.all()] == [6]


def test_another_version_begins_anew() -> None:
    failures = LoadFailures(10.0)
    failures.record(WAVE, StoreError("broken"))
    newer = Version(WAVE.root, "wave", 2)
    assert (failures.must_wait(WAVE), failures.must_wait(newer)) == (True, None)
    failures.record(newer, StoreError("broken as well"))
    assert [(failure.version, failure.attempts) for failure in failures.all()] == [(newer, 1)]


def test_nothing_waits_where_somebody_asks() -> None:
    failures = LoadFailures(10.0)
    failures.record(WAVE, KeyError("of another kind"))
    failures.retry_now()
    assert failures.must_wait(WAVE) is False
    assert [failure.reason for failure in failures.all()] == ["KeyError; the log has the details"]


def test_models_that_are_served_or_gone_are_forgotten() -> None:
    failures = LoadFailures(10.0)
    for name in ("c", "a", "b"):
        failures.record(Version(WAVE.root, name, 1), StoreError("broken"))
    failures.forget("a")
    failures.keep({"a", "b"})
    assert [failure.version.name for failure in failures.all()] == ["b"]
