"""What is measured of real child processes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from psutil import Process

from benchmarks.processes import BackgroundLoad, Memory, cpu_seconds, process_tree

MB = 1_000_000
TICK = 0.02
"""Seconds by which a processor time may be off: it is counted in ticks of 10 ms."""

BURN = "import time\nwhile time.process_time() < 0.5: pass\n"
WAIT = "print('done', flush=True)\ninput()\n"

HOLD = f"kept = b'x' * {64 * MB}\n{WAIT}"
FREE = f"kept = b'x' * {64 * MB}\ndel kept\n{WAIT}"
FORK = f"import os, time\nkept = b'x' * {64 * MB}\nif os.fork() == 0: time.sleep(60)\n{WAIT}"
PARENT = f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'input()'])\n{WAIT}"
BURN_TWICE = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\n{BURN}{WAIT}"
LEAVE = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BURN!r}])\n"


@contextmanager
def running(program: str) -> Iterator[int]:
    """The id of a process that has run this program as far as `WAIT`. It and its descendants are killed."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        try:
            yield process.pid
        finally:
            for member in reversed(process_tree(process.pid)):
                member.kill()


def worked() -> float:
    """Seconds that all processors have worked, or that the host withheld."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def test_memory_of_a_process_that_holds_it() -> None:
    with running(HOLD) as pid:
        found = Memory.of([Process(pid)])
    assert 64 <= found.rss < 128
    assert 64 <= found.pss < found.rss + 2  # the kernel counts pages of `rss` a little late
    assert found.rss - 2 < found.peak < 256


def test_peak_remains_after_memory_is_freed() -> None:
    with running(FREE) as pid:
        found = Memory.of([Process(pid)])
    assert found.rss < 64 <= found.peak


def test_shared_pages_count_once_in_pss() -> None:
    with running(FORK) as pid:
        members = process_tree(pid)
        found = Memory.of(members)
    assert len(members) == 2
    assert found.rss >= 2 * 64
    assert 64 <= found.pss < 2 * 64
    assert found.uss < 64


def test_pages_that_nobody_shares_count_in_uss() -> None:
    with running(HOLD) as pid:
        assert Memory.of([Process(pid)]).uss >= 64


def test_ended_processes_have_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = Process(child.pid)
        process.kill()
        end = time.monotonic() + 30
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.01)
        assert Memory.of([process]) == Memory(0, 0, 0, 0)
    assert Memory.of([process]) == Memory(0, 0, 0, 0)
    assert Memory.of([]) == Memory(0, 0, 0, 0)
    assert process_tree(process.pid) == []
    assert cpu_seconds(process.pid) == 0


def test_family_is_a_process_and_its_descendants() -> None:
    with running(PARENT) as pid:
        first, second = process_tree(pid)
        assert (first.pid, second.ppid()) == (pid, pid)


def test_cpu_seconds_include_children_that_have_ended() -> None:
    with running(BURN_TWICE) as pid:
        assert len(process_tree(pid)) == 1
        assert 1.0 - TICK <= cpu_seconds(pid) < 10


def test_cpu_seconds_include_children_that_run() -> None:
    child = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BURN + 'input()'!r}])\n{WAIT}"
    with running(child) as pid:
        end = time.monotonic() + 60
        while cpu_seconds(pid) < 0.5 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(process_tree(pid)) == 2
        assert cpu_seconds(pid) >= 0.5


def test_background_load_counts_unrelated_processes() -> None:
    others, began = BackgroundLoad(), time.monotonic()
    subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, check=True)  # until the orphan has ended as well
    assert others.cpus() * (time.monotonic() - began) >= 0.5 - TICK


def test_background_load_excludes_this_process_and_its_children() -> None:
    before, others, began = worked(), BackgroundLoad(), time.monotonic()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    found = others.cpus() * (time.monotonic() - began)
    assert found <= worked() - before - 0.5 + 3 * TICK


@pytest.mark.parametrize("name", ["rss", "pss", "peak"])
def test_memory_of_several_is_their_sum(name: str) -> None:
    with running(HOLD) as one, running(HOLD) as two:
        both = Memory.of([Process(one), Process(two)])
        each = [Memory.of([Process(pid)]) for pid in (one, two)]
    # of what several processes share, each has a share that changes when another one starts or ends
    assert getattr(both, name) == pytest.approx(sum(getattr(found, name) for found in each), abs=16)
