"""The command `python -m benchmarks NAME`: runs one of BENCHMARKS, prints its tables and saves them as JSON."""

import signal
import sys
from argparse import Namespace
from collections.abc import Callable

from benchmarks.errors import BenchmarkError, Incomplete, missing_package
from benchmarks.report import Tables
from model_store import StoreError
from model_store.command_parser import CommandParser, path_argument, without_passwords
from model_store.standard_streams import open_closed_streams
from trainer.errors import TrainerError
from trainer.outputs import require_file

try:
    from benchmarks import (
        capacity,
        decisions,
        devices,
        engine,
        enlarge,
        fuzz,
        gallery,
        gpu,
        hostile,
        imported,
        interference,
        machine,
        memory,
        normalisation,
        overload,
        ray_serve,
        report,
        residency,
        roofline,
        serve,
        soak,
        train,
    )
    from benchmarks.processes import BackgroundLoad
except ModuleNotFoundError as missing:
    sys.exit(f"python -m benchmarks: {missing_package(missing)}")

BENCHMARKS = {
    "engine": engine,
    "enlarge": enlarge,
    "gallery": gallery,
    "gpu": gpu,
    "roofline": roofline,
    "serve": serve,
    "overload": overload,
    "interference": interference,
    "hostile": hostile,
    "fuzz": fuzz,
    "soak": soak,
    "decisions": decisions,
    "devices": devices,
    "residency": residency,
    "memory": memory,
    "imported": imported,
    "train": train,
    "normalisation": normalisation,
    "capacity": capacity,
    "ray": ray_serve,
}


def main() -> int:
    """Run one benchmark and return 0, or 1 where a message on standard error says why there is no result, or not all.

    Ctrl-C, SIGTERM and a terminal that goes away stop all processes that it started; the status is then 130.
    """
    open_closed_streams()
    options = _parse_options()
    _interrupt_on_signals()
    run: Callable[[Namespace], Tables] = BENCHMARKS[options.benchmark].run
    background = BackgroundLoad()
    path, why = options.json or report.default_path(options.benchmark), ""
    try:
        require_file("--json", path)
        tables = run(options)
    except Incomplete as error:
        tables, why = error.tables, str(error)
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        return _fail(options.benchmark, missing_package(error))
    except (BenchmarkError, StoreError, TrainerError) as error:
        return _fail(options.benchmark, str(error))
    try:
        print(f"\n{report.show(tables)}\n", flush=True)
    finally:  # also where whoever read it has left
        report.save(path, tables, machine.describe() | {"others_cpus": background.cpus()})
    print(f"others used {background.cpus():.2f} processors meanwhile; written to {path}")
    return _fail(options.benchmark, why) if why else 0


def _parse_options() -> Namespace:
    parser = CommandParser(prog="python -m benchmarks", description="Measure Pastiche.")
    choices = parser.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        summary = (benchmark.__doc__ or "").partition(": ")[2]
        choice = choices.add_parser(name, help=summary, description=summary)
        choice.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
        choice.add_argument(
            "--json", type=path_argument, help="file to write (default: one for each run in benchmarks/results)"
        )
        benchmark.add_options(choice)
    return parser.parse_args()


def _fail(benchmark: str, why: str) -> int:
    print(f"python -m benchmarks {benchmark}: {without_passwords(why)}", file=sys.stderr)
    return 1


def _interrupt_on_signals() -> None:
    """As Ctrl-C does; `nohup` is respected."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise_interrupt)


def _raise_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
