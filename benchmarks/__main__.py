"""`python -m benchmarks NAME`, with one of BENCHMARKS: measure, print, record."""

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from benchmarks import engine, interference, machine, memory, normalisation, overload, report, roofline, serve, train
from benchmarks.processes import Disturbance
from benchmarks.report import Tables

BENCHMARKS = {
    "engine": engine,
    "roofline": roofline,
    "serve": serve,
    "overload": overload,
    "interference": interference,
    "memory": memory,
    "train": train,
    "normalisation": normalisation,
}


def main() -> int:
    """Run one benchmark. Ctrl-C and SIGTERM stop every process that it started; the status is then 130."""
    chosen = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    run: Callable[[Namespace], Tables] = BENCHMARKS[chosen.benchmark].run
    others = Disturbance()
    try:
        tables = run(chosen)
    except KeyboardInterrupt:
        return 130
    path = chosen.json or report.default_path(chosen.benchmark)
    print(f"\n{report.show(tables)}\n", flush=True)
    report.save(path, tables, machine.describe() | {"others_cpus": others.cpus()})
    print(f"others used {others.cpus():.2f} processors meanwhile; written to {path}")
    return 0


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks", description="Measure Pastiche.")
    choices = parser.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        summary = (benchmark.__doc__ or "").partition(": ")[2]
        choice = choices.add_parser(name, help=summary, description=summary)
        choice.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
        choice.add_argument("--json", type=Path, help="file to write (default: one for each run in benchmarks/results)")
        benchmark.declare(choice)
    return parser.parse_args()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
