"""What ends a benchmark with a message."""

EXTRAS = {"psutil": "benchmarks", "ray": "ray", "spandrel": "import"}
"""The extra of each optional package that a benchmark imports."""


class BenchmarkError(RuntimeError):
    """Why a benchmark cannot run here, or has nothing to be believed: told without a traceback."""


def missing_package(error: ModuleNotFoundError) -> str:
    """What to install. Raises the error itself where no extra has the package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    return f"{package} is not installed (pip install -e '.[{EXTRAS[package]}]')"
