"""What is installed is what is in the tree."""

import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("client", "model_store", "service", "trainer")


def files(root: Path) -> set[str]:
    """Every file of the three packages but those that Python itself makes."""
    found = (file for package in PACKAGES for file in (root / package).rglob("*") if file.is_file())
    return {file.relative_to(root).as_posix() for file in found if "__pycache__" not in file.parts}


def built_wheel(tree: Path) -> zipfile.ZipFile:
    build = "import sys, setuptools.build_meta; print(setuptools.build_meta.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, "dist"]
    done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(tree / "dist" / done.stdout.splitlines()[-1])


def test_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    expected = files(tmp_path)
    with built_wheel(tmp_path) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_scripts_point_at_functions_that_exist() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"pastiche", "pastiche-serve", "pastiche-train", "pastiche-models", "pastiche-keys"}
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
