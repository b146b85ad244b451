"""`gpu`: all that wants a GPU, part by part, in nine minutes. Run again, it does what is missing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.errors import BenchmarkError, Incomplete
from benchmarks.report import Row, Tables, show
from model_store.command_parser import path_argument
from trainer.outputs import require_folder

ROOT = Path(__file__).parents[1]

DONE = "done.json"
"""The file of the folder that says what has run, and how it ended."""

TABLES = "tables.md"
"""The file of the folder with the tables of all parts that were asked for."""

QUICK = "quick"
"""The folder in it for smoke runs, which are no results."""

OK, LEFT_OUT = "ok", "left out"


@dataclass(frozen=True)
class Part:
    """A command that measures something, in a process of its own."""

    name: str
    arguments: tuple[str, ...]
    """Of Python. `{out}` becomes the folder of the results, and `{tests}` the files of `files_of_gpu_tests`."""
    seconds: float
    """After which it is stopped, unless parts before it have left some of theirs."""
    needs: str = ""
    """The module without which it cannot run; it is left out then."""


@dataclass(frozen=True)
class Ended:
    """How a part has ended."""

    status: str
    """`ok`, or why it has no result."""
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it has no result though it was begun."""
        return self.status != OK and not self.status.startswith(LEFT_OUT)


def benchmark(name: str, seconds: float, *options: str, part: str = "") -> Part:
    """A benchmark of this package, whose tables are kept as JSON."""
    label = part or name
    return Part(label, ("-m", "benchmarks", name, *options, "--json", f"{{out}}/{label}.json"), seconds)


TESTS = "{tests}"

MARKED = re.compile(r"\bmark\.gpu\b|\btwo_gpus\b")
"""What a file with tests for GPUs has in it."""

TEST_OPTIONS = ("--timeout=75", "--session-timeout=95", "--continue-on-collection-errors")
"""A test that hangs, or a package that other tests want and this machine lacks, leaves the rest. Where all take too
long, pytest ends by itself: stopped from outside, it would not say why tests have failed."""

OVERLOAD = (
    *("--clients", "448", "--timeout", "1", "--seconds", "8"),
    *("--capacity-clients", "32", "--capacity-seconds", "5"),
)
"""Seven times what the service admits, and not more connections than half of 1,024 descriptors."""

PARTS = (
    Part(
        "tests",
        ("-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider", *TEST_OPTIONS, TESTS),
        110,
        "pytest_timeout",
    ),
    benchmark("roofline", 30, "--batch", "8", "--precision", "fp16", part="roofline-fp16"),
    benchmark("roofline", 30, "--batch", "8", "--precision", "bf16", part="roofline-bf16"),
    benchmark("train", 40, "--rounds", "2"),
    benchmark(
        "serve",
        75,
        *("--loads", "uniform", "--levels", "1", "64"),
        *("--servers", "pastiche", "naive", "--seconds", "4", "--rounds", "1"),
        part="serve-uniform",
    ),
    benchmark(
        "serve",
        55,
        *("--loads", "uniform", "--levels", "64", "--processes", "4"),
        *("--servers", "pastiche", "--seconds", "4", "--rounds", "1"),
        part="serve-processes",
    ),
    benchmark(
        "serve",
        40,
        *("--loads", "mixed", "--levels", "16", "--servers", "pastiche", "--rounds", "1"),
        part="serve-mixed",
    ),
    benchmark(
        "serve",
        40,
        *("--network", "shipped", "--loads", "mixed", "--levels", "16", "--servers", "pastiche", "--rounds", "1"),
        part="serve-shipped",
    ),
    benchmark("overload", 40, *OVERLOAD, "--modes", "honouring Retry-After"),
    benchmark("overload", 40, *OVERLOAD, "--modes", "retrying at once", part="overload-retrying"),
    Part("paper-speed", ("-m", "trainer", "paper", "speed", "--out", "{out}/paper", "--rounds", "1"), 40, "matplotlib"),
)
"""540 seconds at the most."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    names = [part.name for part in PARTS]
    parser.add_argument("--out", type=path_argument, default=Path("gpu-results"), help="folder of results and logs")
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="what is run, if it has not been")


def run(chosen: Namespace) -> Tables:
    """Run the missing parts, and return the tables of all. Raises BenchmarkError where there is no GPU, Incomplete
    where a part failed.
    """
    if not torch.cuda.is_available() and not chosen.quick:
        raise BenchmarkError("no CUDA device is visible; --quick tries the parts on this machine")
    require_folder("--out", chosen.out)
    parts, folder = [part for part in PARTS if part.name in chosen.parts], chosen.out
    if chosen.quick:
        parts, folder = [shortened(part) for part in parts if part.arguments[1] == "benchmarks"], folder / QUICK
    done = run_parts(parts, folder)
    tables: Tables = {"Parts": _rows(parts, done), **found_tables(parts, folder)}
    (folder / TABLES).write_text(f"{show(tables)}\n")
    if failed := [f"{part.name} ({done[part.name].status})" for part in parts if done[part.name].failed]:
        raise Incomplete(
            f"{len(failed)} of {len(parts)} parts failed: {', '.join(failed)}; their logs: {folder}", tables
        )
    return tables


def shortened(part: Part) -> Part:
    """A smoke run of a benchmark."""
    return Part(part.name, (*part.arguments, "--quick"), part.seconds)


def run_parts(parts: Sequence[Part], folder: Path) -> Mapping[str, Ended]:
    """Run each part that has not ended well yet, and keep after each what has been done.

    A part may also take what those before it have left of their time; those that are done already leave all of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done, spare = read_done(folder), 0.0
    for part in parts:
        seconds = part.seconds + spare
        if part.name in done and done[part.name].status == OK and _has_results(part, folder):
            spare = seconds
            continue
        done[part.name] = run_part(replace(part, seconds=seconds), folder)
        spare = max(0.0, seconds - done[part.name].seconds)
        _write_done(done, folder)
        print(f"{part.name}, {done[part.name].seconds:.0f} s: {done[part.name].status}", flush=True)
    return done


def read_done(folder: Path) -> dict[str, Ended]:
    """What has been run into this folder; nothing where the record is damaged."""
    with suppress(FileNotFoundError, ValueError, TypeError, AttributeError):
        return {name: Ended(**ended) for name, ended in json.loads((folder / DONE).read_text()).items()}
    return {}


def _write_done(done: Mapping[str, Ended], folder: Path) -> None:
    """Keep what has been run, or what had been if this is interrupted."""
    written = folder / f"{DONE}.new"
    written.write_text(json.dumps({name: asdict(ended) for name, ended in done.items()}, indent=1) + "\n")
    written.replace(folder / DONE)


def run_part(part: Part, folder: Path) -> Ended:
    """Run one part, whose output goes to a log; it is stopped, with all that it has started, when its time is over."""
    if part.needs and find_spec(part.needs) is None:
        return Ended(f"{LEFT_OUT}: {part.needs} is not installed", 0.0)
    command = [sys.executable, *_arguments(part, folder)]
    began = time.monotonic()
    with (folder / f"{part.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            code = process.wait(part.seconds)
        except subprocess.TimeoutExpired:
            return Ended(f"stopped after {part.seconds:g} s", time.monotonic() - began)
        finally:
            _stop_session(process)
    return Ended(_status(part, folder, code), time.monotonic() - began)


def _arguments(part: Part, folder: Path) -> Iterator[str]:
    for argument in part.arguments:
        if argument == TESTS:
            yield from map(str, files_of_gpu_tests(ROOT / "tests"))
        else:
            yield argument.replace("{out}", str(folder.resolve()))


def files_of_gpu_tests(folder: Path) -> list[Path]:
    """The files with tests for GPUs: to import all others as well takes a third of the time that the part has."""
    return [file for file in sorted(folder.rglob("test_*.py")) if MARKED.search(file.read_text())]


def _status(part: Part, folder: Path, code: int) -> str:
    if code:
        return f"exit status {code}"
    return OK if _has_results(part, folder) else "its tables are damaged"


def _has_results(part: Part, folder: Path) -> bool:
    """Whether a part that writes tables has left some that can be read."""
    return f"{{out}}/{part.name}.json" not in part.arguments or bool(_tables(part, folder))


def _tables(part: Part, folder: Path) -> Tables:
    """What a part has left; nothing where that is missing or damaged."""
    with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        return dict(json.loads((folder / f"{part.name}.json").read_text())["tables"])
    return {}


def found_tables(parts: Sequence[Part], folder: Path) -> Tables:
    """The tables that the parts have left in the folder, under titles that begin with the part's name."""
    tables: dict[str, Sequence[Row]] = {}
    for part in parts:
        tables |= {f"{part.name}: {title}": rows for title, rows in _tables(part, folder).items()}
    return tables


def _stop_session(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _rows(parts: Sequence[Part], done: Mapping[str, Ended]) -> list[Row]:
    return [{"part": part.name, **asdict(done[part.name])} for part in parts]
