"""What ends a benchmark with a message."""

from benchmarks.report import Tables

EXTRAS = {"psutil": "benchmarks", "ray": "ray", "spandrel": "import"}
"""The extra of each optional package that a benchmark imports."""


class BenchmarkError(RuntimeError):
    """Why a benchmark cannot run here, or has nothing to be believed: told without a traceback."""


class Incomplete(BenchmarkError):
    """What was measured is kept, but is not all, or not to be trusted: told after the tables."""

    def __init__(self, why: str, tables: Tables) -> None:
        super().__init__(why)
        self.tables = tables


def missing_package(error: ModuleNotFoundError) -> str:
    """What to install. Raises the error itself where no extra has the package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    return f"{package} is not installed (pip install -e '.[{EXTRAS[package]}]')"
