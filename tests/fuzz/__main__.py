"""`python -m tests.fuzz`: each parser for a minute, guided by what it covers (atheris, libFuzzer).

Every parser runs in a process of its own. An input that shows a defect is kept, and named with the parser; the exit
status is then 1.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SLOW_SECONDS = 10
"""An input that takes longer is a defect."""

MOST_MEGABYTES = 3072
"""Of memory: torch and the codecs take half a gigabyte."""

START_SECONDS = 600
"""For which a process may start, and end, on a busy machine."""


def main() -> int:
    """Fuzz the parsers that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help="parsers; all of them by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each parser")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the mutations, to repeat a run; 0: another one each time"
    )
    parser.add_argument("--jobs", type=int, default=2, help="parsers at the same time")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where the inputs are kept")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.guided:
        fuzz(chosen.names[0], chosen.seconds, chosen.seed, chosen.findings)
    return run_all(chosen.names or known_names(), chosen.seconds, chosen.seed, chosen.jobs, chosen.findings)


def known_names() -> list[str]:
    """The names of all parsers. They are imported elsewhere: an imported module can no longer be instrumented."""
    listing = "from tests.fuzz.targets import targets; print(*targets())"
    return subprocess.run([sys.executable, "-c", listing], check=True, capture_output=True, text=True).stdout.split()


def run_all(names: list[str], seconds: int, seed: int, jobs: int, findings: Path) -> int:
    """1 where a parser has a defect, otherwise 0."""
    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda name: run_one(name, seconds, seed, findings), names))
    return int(any(results))


def run_one(name: str, seconds: int, seed: int, findings: Path) -> int:
    """Fuzz one parser in a process of its own; what it has written is shown where it has a defect."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--guided", "--findings", str(findings)]
    ended = subprocess.run(
        [*command, "--seconds", str(seconds), "--seed", str(seed)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds + START_SECONDS,
        check=False,
    )
    lines = ended.stdout.splitlines()
    summary = next((line for line in reversed(lines) if line.startswith("Done ")), "no defect")
    print(
        f"{name}: {'DEFECT' if ended.returncode else summary}", *(lines[-60:] if ended.returncode else ()), sep="\n  "
    )
    return ended.returncode


def fuzz(name: str, seconds: int, seed: int, findings: Path) -> None:
    """Fuzz one parser in this process, which ends with it."""
    import atheris  # noqa: PLC0415 # needs no compiler where nobody fuzzes

    with atheris.instrument_imports(include=["service", "model_store"]):
        from tests.fuzz.targets import targets  # noqa: PLC0415 # so that it is instrumented

    target = targets()[name]
    corpus = findings / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(target.examples):
        (corpus / f"example-{number}").write_bytes(example)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-timeout={SLOW_SECONDS}",
        f"-rss_limit_mb={MOST_MEGABYTES}",
        f"-artifact_prefix={findings}/{name}-",
        "-verbosity=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
