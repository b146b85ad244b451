"""`engine`: the networks alone, in the form that the service runs and in common other forms."""

import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks import limits
from benchmarks.engines import BASE, CASES, ENGINES, OURS, Case, engines, missing
from benchmarks.report import Row, Tables, Value
from benchmarks.stats import median

ROUNDS = range(3, 16)
"""Fewest and most rounds of a case; between them, as many as fit into its seconds."""


class Entry(NamedTuple):
    """An engine in a process with the service's allocator settings, or with glibc's own."""

    engine: str
    allocator: bool


BASELINE = Entry(BASE, allocator=False)
"""The usual way to run a network, with which the others are compared."""

WITH_ALLOCATOR = (BASE, OURS)
"""The engines that are also measured with the service's allocator settings."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="network and side of the input")
    parser.add_argument("--engines", nargs="+", choices=tuple(ENGINES), default=tuple(ENGINES), help="beside the base")
    parser.add_argument("--seconds", type=float, default=60, help="of rounds for each case")


def run(chosen: Namespace) -> Tables:
    """Measure every case; one table each."""
    peaks = limits.peaks(2 if chosen.quick else limits.REPETITIONS)
    tables: dict[str, list[Row]] = {"Peak of matrix products": peaks}
    largest = {str(row["precision"]): float(row["peak GFLOP/s"] or 0) for row in peaks}
    names = list(_installed_engines(chosen.engines))
    for name in chosen.cases[:1] if chosen.quick else chosen.cases:
        tables[name] = list(_rows(name, names, 1 if chosen.quick else chosen.seconds, largest))
    return tables


def _installed_engines(names: Sequence[str]) -> Iterator[str]:
    """The base, then all others whose software is installed. A printed line names each that is skipped."""
    for name in dict.fromkeys((BASE, *names)):
        if why := missing(name):
            print(why, flush=True)
        else:
            yield name


def _rows(name: str, names: Sequence[str], seconds: float, peaks: Mapping[str, float]) -> Iterator[Row]:
    """A row for each engine, the fastest first."""
    case = Case.of(name)
    work, less = case.flops(), case.flops(fast=True)
    times, differences = _measure(name, names, seconds)
    medians = {entry: median(found) for entry, found in times.items()}
    for entry, taken in sorted(medians.items(), key=lambda item: item[1]):
        peak = peaks["bfloat16" if "bf16" in entry.engine else "float32"] * 1e9
        row: dict[str, Value] = {
            "engine": entry.engine,
            "allocator": "the service's" if entry.allocator else "glibc's",
            "ms": taken * 1000,
            "× base": medians[BASELINE] / taken,
            "× base, same allocator": medians[Entry(BASE, entry.allocator)] / taken,
            "GFLOP/s of the original work": work / taken / 1e9,
            "share of peak": work / taken / peak,
            "max difference": differences[entry],
        }
        done = {"GFLOP/s done": less / taken / 1e9, "share of peak done": less / taken / peak}
        yield row | done if "for_inference" in entry.engine else row


def _measure(
    name: str, names: Sequence[str], seconds: float
) -> tuple[Mapping[Entry, Sequence[float]], Mapping[Entry, float]]:
    """Seconds of each call, and the largest difference from the base. Only one process computes at a time."""
    names_by_allocator = {False: names, True: [engine for engine in names if engine in WITH_ALLOCATOR]}
    times: dict[Entry, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        running = {
            allocator: stack.enter_context(engines(name, found, allocator=allocator))
            for allocator, found in names_by_allocator.items()
        }
        entries = [Entry(engine, allocator) for allocator, found in names_by_allocator.items() for engine in found]
        differences = {entry: running[entry.allocator].differences[entry.engine] for entry in entries}
        began = time.monotonic()
        for done in range(ROUNDS.stop):
            if done >= ROUNDS.start and time.monotonic() - began > seconds:
                break
            for entry in entries:
                times[entry] += running[entry.allocator].run_turn(entry.engine)
    return times, differences
