import threading
from collections import Counter
from types import SimpleNamespace
from typing import cast

import pytest

from benchmarks import soak
from benchmarks.checked_load import Question, Tally, ask
from benchmarks.replicas import Replica
from benchmarks.servers import reserved_port
from benchmarks.soak import Happened, Jobs, fault_row, list_failures


def test_whatever_was_lost_is_a_failure() -> None:
    jobs, fine = Jobs([Question("/", b"", b"")]), [Happened("the store is gone", 0.0, 5.0)]
    assert list_failures(Tally(Counter({200: 3, 503: 2})), jobs, fine) == []
    assert list_failures(Tally(lost=["/a: TimeoutError()"], mixed_up=["/b"]), jobs, fine) == [
        "/a: TimeoutError()",
        "/b",
    ]
    badly = Happened("restart", 0.0, 1.0, "restart: exit status -9")
    assert list_failures(Tally(), jobs, [*fine, badly]) == ["restart: exit status -9"]
    jobs.wrong.append("soak-3: failed 500")
    assert list_failures(Tally(), jobs, fine) == ["soak-3: failed 500"]


def test_jobs_of_a_replica_that_is_gone_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """It died after it had accepted them."""
    ended = threading.Event()

    def ask_once(port: int, path: str, body: bytes, method: str = "POST") -> tuple[int, bytes]:
        if method == "PUT":
            ended.set()
            return 201, b""
        return ask(port, path, body, method)

    monkeypatch.setattr(soak, "JOB_SECONDS", 0.01)
    monkeypatch.setattr(soak, "ask", ask_once)
    jobs = Jobs([Question("/", b"", b"")])
    with reserved_port() as port:
        jobs.follow(cast("Replica", SimpleNamespace(server=SimpleNamespace(port=port))), ended)
    assert len(jobs.wrong) == 1
    assert jobs.wrong[0].startswith("soak-0: ConnectionRefusedError")


def test_fault_is_shown_with_the_longest_time_without_an_answer() -> None:
    happened = [Happened("x", 10.0, 12.0), Happened("y", 30.0, 31.0), Happened("x", 50.0, 54.0)]
    tally = Tally(answered=[10.5, 14.0, 17.0, 51.0, 58.0])
    assert fault_row("x", tally, happened) == {
        "fault": "x",
        "times": 2,
        "lasted s": 3.0,
        "longest time without an answer s": 7.0,
    }
