"""`soak`: two replicas behind nginx for half an hour, as much as 24 clients get, with a fault every 20 seconds.

Every request must be answered rightly or refused in words, every job be done once, and memory must not grow.
"""

import json
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import numpy as np

from benchmarks import networks, photos, replicas
from benchmarks.checked_load import CheckedLoad, Question, Tally, ask
from benchmarks.errors import BenchmarkError, Incomplete
from benchmarks.faults import FAULTS, Scene, small_disk
from benchmarks.networks import STYLE_NAME
from benchmarks.replicas import Replica
from benchmarks.report import Row, Tables
from benchmarks.stats import median

SIDE, PHOTOS = 96, 40
CLIENTS = 24
CAPACITY_SECONDS = 10.0
"""For which the rate is measured that the replicas can do."""

MEMORY_SECONDS = 2.0
"""Between two looks at the memory of a replica."""

JOB_SECONDS = 5.0
"""Between two jobs."""

PATH = f"/v1/stylize/{STYLE_NAME}"
FORMAT = "format=png"


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--period", type=float, default=20, help="seconds from one fault to the next")
    parser.add_argument("--load", type=float, default=1.5, help="most requests, as a multiple of what is answered")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the faults")


@dataclass
class Happened:
    """A fault that happened."""

    name: str
    began: float
    ended: float = 0.0
    failure: str = ""


@dataclass
class Jobs:
    """Jobs of the replica that is restarted, and what became of them."""

    questions: Sequence[Question]
    done: int = 0
    wrong: list[str] = field(default_factory=list)

    def follow(self, replica: Replica, ended: threading.Event) -> None:
        """Begin a job every JOB_SECONDS until `ended`, then see that each is done, and rightly."""
        begun: dict[str, Question] = {}
        while not ended.wait(JOB_SECONDS):
            name, question = f"soak-{len(begun)}", self.questions[len(begun) % len(self.questions)]
            with suppress(OSError, HTTPException):  # while it restarts
                path = f"/v1/jobs/{name}?style={STYLE_NAME}&{FORMAT}"
                status, _ = ask(replica.server.port, path, question.body, "PUT")
                if status in (200, 201):
                    begun[name] = question
        for name, question in begun.items():
            try:
                self._check(replica, name, question)
            except (OSError, HTTPException) as error:
                self.wrong.append(f"{name}: {error!r}")

    def _check(self, replica: Replica, name: str, question: Question) -> None:
        deadline = time.monotonic() + 120
        while (state := _state(replica, name)) in ("queued", "running") and time.monotonic() < deadline:
            time.sleep(0.2)
        status, content = ask(replica.server.port, f"/v1/jobs/{name}/result", b"", "GET")
        if status == 200 and content == question.answer:
            self.done += 1
        else:
            self.wrong.append(f"{name}: {state} {status} {content[:200]!r}")


def run(chosen: Namespace) -> Tables:
    """Load, faults and jobs for the time that was asked for. Raises Incomplete where anything was lost or wrong."""
    if chosen.quick:
        chosen.minutes, chosen.period = 0.5, 4.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = networks.publish(folder / "store").root
        has_disk = stack.enter_context(small_disk(folder / "replica-0-jobs"))
        if not has_disk:
            print("the disk is not filled: only the superuser can mount one")
        (steady, restarted), port = stack.enter_context(replicas.running(store, folder))
        questions = _questions(restarted.server.port)
        scene = Scene(steady, restarted, store, port, PATH, questions[0].body)
        names = [name for name, fault in FAULTS.items() if has_disk or fault.__name__ != "fill_disk"]
        return _soak(scene, questions, names, chosen)


def _soak(scene: Scene, questions: Sequence[Question], names: Sequence[str], chosen: Namespace) -> Tables:
    load, jobs = CheckedLoad(scene.port, questions, CLIENTS), Jobs(questions)
    with load.running() as tally:
        time.sleep(CAPACITY_SECONDS)
    capacity = tally.statuses[200] / CAPACITY_SECONDS
    ended, memory = threading.Event(), _Memory(scene.steady)
    threads = [
        threading.Thread(target=jobs.follow, args=(scene.restarted, ended)),
        threading.Thread(target=memory.follow, args=(ended,)),
    ]
    for thread in threads:
        thread.start()
    began, sent_before = time.monotonic(), load.sent
    with load.running(rate=chosen.load * capacity):
        happened = _happen(scene, names, chosen)
    sent = (load.sent - sent_before) / (time.monotonic() - began)
    ended.set()
    for thread in threads:
        thread.join()
    tables: Tables = {
        f"{chosen.minutes:g} minutes at up to {chosen.load:g} × {capacity:.1f} requests a second": [
            {"sent a second": sent, **_summary(tally, jobs, memory, happened)}
        ],
        "Faults": [fault_row(name, tally, happened) for name in names],
    }
    if failures := list_failures(tally, jobs, happened):
        raise Incomplete(f"{len(failures)} failures:\n" + "\n".join(failures[:20]), tables)
    return tables


def _happen(scene: Scene, names: Sequence[str], chosen: Namespace) -> list[Happened]:
    """One fault after another, all kinds equally often, in an order by chance."""
    rng, end = np.random.default_rng(chosen.seed), time.monotonic() + 60 * chosen.minutes
    happened: list[Happened] = []
    order: list[str] = []
    while time.monotonic() + chosen.period <= end:
        order = order or [names[at] for at in rng.permutation(len(names))]
        fault = Happened(order.pop(), time.monotonic())
        try:
            FAULTS[fault.name](scene)
        except (AssertionError, OSError, HTTPException, RuntimeError) as error:
            fault.failure = f"{fault.name}: {error!r}"
        fault.ended = time.monotonic()
        happened.append(fault)
        time.sleep(max(0.0, fault.began + chosen.period - time.monotonic()))
    return happened


class _Memory:
    """The private memory of a replica (USS), again and again: of its main process, and with its codec workers.

    How many workers there are follows from the load of the moment.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._main: list[float] = []
        self._all: list[float] = []

    def follow(self, ended: threading.Event) -> None:
        """Until `ended`."""
        while not ended.wait(MEMORY_SECONDS):
            self._main.append(self._replica.server.main_memory().uss)
            self._all.append(self._replica.server.memory().uss)

    def row(self) -> Row:
        """MB in the second fifth of the time, after warming up, and in the last one (medians)."""
        columns = {"MB of the main process": self._main, "MB with workers": self._all}
        return {f"{name} {when}": value for name, found in columns.items() for when, value in _early_and_late(found)}


def _early_and_late(found: Sequence[float]) -> tuple[tuple[str, float], tuple[str, float]]:
    fifth = max(1, len(found) // 5)
    return ("after warm-up", median(found[fifth : 2 * fifth] or found)), ("at the end", median(found[-fifth:]))


def _questions(port: int) -> list[Question]:
    """Photographs with what an idle replica makes of them."""
    path = f"{PATH}?{FORMAT}"
    found = []
    for photo in photos.uniform(SIDE, PHOTOS):
        status, answer = ask(port, path, photo)
        if status != 200:
            raise BenchmarkError(f"an idle replica answered {status}: {answer[:500]!r}")
        found.append(Question(path, photo, answer))
    return found


def _state(replica: Replica, name: str) -> str:
    status, content = ask(replica.server.port, f"/v1/jobs/{name}", b"", "GET")
    return str(json.loads(content)["state"]) if status == 200 else f"answered with {status}"


def _summary(tally: Tally, jobs: Jobs, memory: _Memory, happened: Sequence[Happened]) -> Row:
    return {
        "answered": tally.statuses[200],
        "refused": tally.statuses[503] + tally.statuses[429],
        "lost": len(tally.lost),
        "mixed up": len(tally.mixed_up),
        "jobs done": jobs.done,
        "faults": len(happened),
        **memory.row(),
    }


def fault_row(name: str, tally: Tally, happened: Sequence[Happened]) -> Row:
    gaps = [tally.longest_gap(each.began, each.ended + 5) for each in happened if each.name == name]
    lasted = [each.ended - each.began for each in happened if each.name == name]
    return {
        "fault": name,
        "times": len(gaps),
        "lasted s": median(lasted) if lasted else 0.0,
        "longest time without an answer s": max(gaps, default=0.0),
    }


def list_failures(tally: Tally, jobs: Jobs, happened: Sequence[Happened]) -> list[str]:
    """Whatever was lost, mixed up or not done, and faults that the service did not take well."""
    return [*tally.lost, *tally.mixed_up, *jobs.wrong, *(each.failure for each in happened if each.failure)]
