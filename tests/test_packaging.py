"""What is installed is what is in the tree."""

import ast
import itertools
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
SCRIPTS = {"pastiche", "pastiche-serve", "pastiche-train", "pastiche-models", "pastiche-keys"}
PACKAGES = ("client", "model_store", "pastiche", "service", "trainer")


def files(root: Path) -> set[str]:
    """Every file of the packages but those that Python itself makes."""
    found = (file for package in PACKAGES for file in (root / package).rglob("*") if file.is_file())
    return {file.relative_to(root).as_posix() for file in found if "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, tree / name)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys, setuptools.build_meta; print(setuptools.build_meta.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, "dist"]
    done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tree / "dist" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment, with the wheel, and with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", *options, str(wheel)]
    subprocess.run(pip, check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a link in it is not followed
    return folder / "bin"


def run(command: Sequence[str | Path], folder: Path) -> subprocess.Popen[str]:
    """A command of the new environment, in a folder without sources."""
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files(wheel.parents[1])


LOAD = """
import importlib.metadata
scripts = importlib.metadata.distribution("pastiche").entry_points.select(group="console_scripts")
print(*sorted(script.name for script in scripts if script.load()))
"""
"""Loads all commands at once, since most of them import torch, which takes seconds each."""


def test_installed_commands_run_in_a_new_environment(programs: Path, tmp_path: Path) -> None:
    help_, load = run([programs / "pastiche", "--help"], tmp_path), run([programs / "python", "-c", LOAD], tmp_path)
    assert help_.communicate()[0].startswith("usage: pastiche")
    assert help_.returncode == 0
    loaded, errors = load.communicate()
    assert loaded.split() == sorted(SCRIPTS), errors
    assert {program.name for program in programs.iterdir()} >= SCRIPTS


def test_installed_package_has_the_newest_version_of_the_changelog(programs: Path, tmp_path: Path) -> None:
    ask = "import importlib.metadata, client; print(importlib.metadata.version('pastiche'), client.__file__)"
    shown, errors = run([programs / "python", "-c", ask], tmp_path).communicate()
    assert not errors
    version, place = shown.split()
    released = re.search(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", CHANGELOG.read_text(), re.MULTILINE)
    assert released
    assert version == released[1]
    assert Path(place).is_relative_to(programs.parent)


def test_scripts_point_at_functions_that_exist() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == SCRIPTS
    assert all(callable(pkgutil.resolve_name(target)) for target in scripts.values())


def test_every_dependency_but_pytorch_is_pinned_with_its_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    pinned: dict[str, list[str]] = {}
    for line in filter(None, lock.splitlines()):
        found = re.match(r"([a-z0-9-]+)==(\S+)( ; [^-]+)?(\s+--hash=sha256:[0-9a-f]{64})+$", line)
        assert found, f"{line[:60]!r} is no pinned package with its hashes"
        pinned.setdefault(found[1], []).append(found[2])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {canonicalize_name(each.name): each for each in map(Requirement, project["dependencies"])}
    assert wanted.keys() - pinned.keys() == {"torch", "torchvision"}
    for name, requirement in wanted.items():
        for version in pinned.get(name, []):
            assert requirement.specifier.contains(version), f"{name}=={version} is not {requirement}: make lock"
    assert not [name for name in pinned if re.match(r"torch|triton|nvidia-|cuda-", name)]


def test_dependencies_have_one_bound_wherever_they_are_named() -> None:
    """So that what the tests run with, the extra dev, is what the other extras promise."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds: dict[str, set[str]] = {}
    for line in itertools.chain(project["dependencies"], *project["optional-dependencies"].values()):
        requirement = Requirement(line)
        bounds.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


OWN = {*PACKAGES, "tests", "benchmarks"}

IMPORTED_BY_LIBRARIES = {"starlette.testclient": "httpx2"}
"""What a module of a library needs, and the library does not require."""


def test_what_tests_benchmarks_and_documents_import_is_declared() -> None:
    """By name, or since what is declared requires it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    available = declared.union(*map(required_by, declared))
    missing = {module for module in imports() if not distributions_of(module) & available}
    assert missing == set()
    assert {needed for module, needed in IMPORTED_BY_LIBRARIES.items() if module in imports()} <= declared


@cache
def imports() -> frozenset[str]:
    """The modules of others that are imported somewhere."""
    sources = [path.read_text() for folder in ("tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        sources += re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    found = {module for source in sources for module in imported(source)}
    return frozenset(module for module in found if module.split(".")[0] not in {*sys.stdlib_module_names, *OWN})


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def distributions_of(module: str) -> set[str]:
    """Those that have the module; where none is installed, that of its name."""
    name = module.split(".", maxsplit=1)[0]
    return {canonicalize_name(found) for found in installed().get(name, [name])}


@cache
def installed() -> dict[str, list[str]]:
    return {name: list(found) for name, found in packages_distributions().items()}


def required_by(distribution: str) -> set[str]:
    """What a distribution requires, with all of its extras; nothing where it is not installed."""
    try:
        return {canonicalize_name(Requirement(line).name) for line in requires(distribution) or ()}
    except PackageNotFoundError:
        return set()


def test_source_distribution_holds_every_file_of_the_packages_and_no_tests(tmp_path: Path) -> None:
    """setuptools would take those that lie in tests/ itself, which are no use without the others."""
    for name in ("pyproject.toml", "LICENSE", "README.md", "MANIFEST.in"):
        shutil.copy(ROOT / name, tmp_path / name)
    for folder in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys, setuptools.build_meta; print(setuptools.build_meta.build_sdist(sys.argv[1]))"
    command = [sys.executable, "-c", build, "dist"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    with tarfile.open(tmp_path / "dist" / done.stdout.splitlines()[-1]) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {name for name in packed if name.startswith("tests/")} == set()
    assert files(tmp_path) <= packed
