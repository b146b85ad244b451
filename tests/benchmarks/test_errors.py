"""What is told where something is missing."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks.errors import EXTRAS, missing_package

ROOT = Path(__file__).parents[2]
WITHOUT = "import runpy, sys; sys.modules[sys.argv.pop(1)] = None; runpy.run_module('benchmarks', run_name='__main__')"
"""A program in whose environment a package is missing."""


@pytest.mark.parametrize("package", EXTRAS)
def test_extra_has_the_package(package: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert package in {re.split(r"\W", requirement)[0] for requirement in extras[EXTRAS[package]]}


def test_unknown_package_is_no_message() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"benchmarks\.none"):
        missing_package(ModuleNotFoundError("No module named 'benchmarks.none'", name="benchmarks.none"))


def test_measuring_packages_that_are_missing_are_told_in_words() -> None:
    command = [sys.executable, "-c", WITHOUT, "psutil", "capacity", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "python -m benchmarks: psutil is not installed (pip install -e '.[benchmarks]')\n",
    )
