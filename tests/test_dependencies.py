"""Who may import whom. Imports are read with `ast`, at the top of a module or anywhere inside, and followed.

trainer → model_store ← service ← client, pastiche; inside the service, imports go downwards only: see ROOMS.
"""

import ast
import shutil
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("client", "model_store", "pastiche", "service", "trainer")

ROOMS = (
    ("service.__main__", "service.ray", "service.member"),
    ("service.command",),
    ("service.server", "service.supervisor"),
    ("service.app",),
    ("service.lifespan", "service.http"),
    ("service.jobs",),
    ("service.pipeline",),
    ("service.models",),
    ("service.engine",),
    ("service.imaging", "service.telemetry"),
    ("service.settings", "service.errors", "service.membership", "service.stop_signals"),
    ("service.setting_lists", "service.environment"),
)
"""From top to bottom. A room imports itself and the rooms below it, not its neighbours."""

HTTP = frozenset({"fastapi", "starlette", "uvicorn", "httptools", "fastapi_offline", "python_multipart", "httpx"})
OUTSIDE = frozenset({"tests", "benchmarks"})
TORCH = frozenset({"torch", "torchvision"})

HTTP_ROOMS = {"service": "service.http", "trainer": "trainer.watch"}
"""The only part of a package that imports an HTTP library."""

DIRECT: Mapping[str, Collection[str]] = {
    "model_store": {"client", "pastiche", "service", "trainer", "prometheus_client", *HTTP, *OUTSIDE},
    "trainer": {"client", "pastiche", "service", "prometheus_client", *OUTSIDE},
    "service": {"client", "pastiche", "trainer", *OUTSIDE},
    "client": {"trainer", *OUTSIDE},
    "pastiche": {"trainer", "asyncio", *HTTP, *OUTSIDE},
    "service.engine.runner": {"asyncio", "anyio"},
    "service.engine.model_loader": {"asyncio", "anyio"},
}
"""What the modules of a package may not import themselves."""

REACHED: Mapping[str, Collection[str]] = {
    "model_store": HTTP,
    "service.errors": HTTP | TORCH,
    "service.telemetry": HTTP | TORCH,
    "service.imaging": HTTP | TORCH,
    "service.engine": HTTP,
    "service.models": HTTP,
    "service.pipeline": HTTP,
    "service.jobs": HTTP,
    "pastiche.loading": HTTP,
    "pastiche.model": HTTP,
    "pastiche.pictures": HTTP,
    "pastiche.video": HTTP,
    "pastiche.exports": {"model_store", "service", *TORCH},
    "client.__main__": {"model_store", "service", "trainer", *TORCH},
    "client.async_client": {"model_store", "service", "trainer", *TORCH},
    "client.sync_client": {"model_store", "service", "trainer", *TORCH},
}
"""What the modules of a package may not reach through any chain of imports.

The command `pastiche` imports the service, and torch with it, only for `--local` and for videos: at call time, in
modules of their own.
"""

LATE = ("client.local", "pastiche")
"""Modules that are imported inside a function, so that what they reach is not reached by importing."""


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages, by its dotted name."""
    files = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports(path: Path, root: Path) -> frozenset[str]:
    """The absolute dotted name of everything that a module imports."""
    return _imports(path.read_text(), path.relative_to(root).parent.parts)


@cache
def _imports(source: str, package: tuple[str, ...]) -> frozenset[str]:
    """Those of a source in a package; most files are the same in all trees that are looked at."""
    return frozenset(_find_imports(source, package))


def _find_imports(source: str, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


class Graph:
    """The imports of a tree."""

    def __init__(self, root: Path) -> None:
        self.modules = modules(root)
        self.imports = {name: sorted(imports(path, root)) for name, path in self.modules.items()}
        self.reached = cache(self._reached)
        self.module_of = cache(self._module_of)

    def _module_of(self, name: str) -> str:
        """The module that an imported name is in; outside of the packages its first part."""
        parts = name.split(".")
        known = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((module for module in known if module in self.modules), parts[0])

    def _reached(self, module: str) -> frozenset[str]:
        """All modules, of ours and of others, that importing a module imports."""
        found, waiting = {module}, [module]
        while waiting:
            for name in self.imports.get(waiting.pop(), ()):
                target = self.module_of(name)
                parents = [target.rsplit(".", count)[0] for count in range(target.count(".") + 1)]
                new = {
                    each for each in parents if each not in found and not any(is_within(each, late) for late in LATE)
                }
                found |= new
                waiting += new
        return frozenset(found)


def room(module: str) -> tuple[int, str] | None:
    """How far down a module's room is, and its name; None for a module that is in none."""
    return next(((depth, name) for depth, names in enumerate(ROOMS) for name in names if is_within(module, name)), None)


def upward(graph: Graph) -> Iterator[str]:
    for module, names in graph.imports.items():
        here = room(module)
        for name in names:
            there = room(graph.module_of(name))
            if here and there and here != there and there[0] <= here[0]:
                yield f"{module} imports {name}, which is not below it"


def forbidden(graph: Graph) -> Iterator[str]:
    for package, names in DIRECT.items():
        for module in graph.modules:
            if is_within(module, package):
                found = {name for name in graph.imports[module] if any(is_within(name, other) for other in names)}
                yield from (f"{module} imports {name}" for name in sorted(found))
    for package, room_ in HTTP_ROOMS.items():
        for module, names in graph.imports.items():
            if is_within(module, package) and not is_within(module, room_):
                found = {name for name in names if any(is_within(name, library) for library in HTTP)}
                yield from (f"{module} imports {name}, which only {room_} may" for name in sorted(found))


def reachable(graph: Graph) -> Iterator[str]:
    for package, names in REACHED.items():
        for module in graph.modules:
            if is_within(module, package):
                yield from (f"{module} reaches {name}" for name in sorted(graph.reached(module) & set(names)))


def violations(root: Path) -> list[str]:
    graph = Graph(root)
    return [*upward(graph), *forbidden(graph), *reachable(graph)]


def test_imports_go_downwards_only() -> None:
    assert violations(ROOT) == []


def test_every_module_of_the_service_is_in_a_room() -> None:
    assert [name for name in modules(ROOT) if name.startswith("service.") and room(name) is None] == []


@pytest.mark.parametrize(
    ("module", "planted", "complaint"),
    [
        ("model_store/store.py", "import trainer.losses", "model_store.store imports trainer.losses"),
        ("trainer/monitor.py", "import uvicorn", "which only trainer.watch may"),
        ("trainer/losses.py", "from service import errors", "trainer.losses imports service.errors"),
        ("service/errors.py", "from fastapi import Request", "service.errors imports fastapi.Request"),
        ("service/errors.py", "from starlette.types import Scope", "service.engine.scheduler reaches starlette"),
        ("service/telemetry/metrics.py", "import torch.nn as nn, json", "service.telemetry.metrics reaches torch"),
        ("service/errors.py", "import torch", "service.imaging.codecs.header reaches torch"),
        ("service/engine/inference_request.py", "from service.http.prefer import Preference", "not below it"),
        ("service/engine/tiling.py", "from ..models import registry", "not below it"),
        ("service/imaging/sizes.py", "from service.telemetry import log", "not below it"),
        ("service/pipeline/trace.py", "def late():\n    import service.jobs.job", "not below it"),
        ("service/server.py", "import uvicorn", "which only service.http may"),
        ("service/engine/runner.py", "import asyncio", "service.engine.runner imports asyncio"),
        ("client/files.py", "import service.errors, torch", "client.__main__ reaches torch"),
        ("pastiche/exports.py", "import service.errors", "pastiche.exports reaches service"),
        ("pastiche/pictures.py", "import service.app", "pastiche.pictures reaches fastapi"),
        ("client/picture.py", "import service.errors", "client.sync_client reaches service"),
    ],
)
def test_planted_import_is_found(tmp_path: Path, module: str, planted: str, complaint: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("checkpoints", "__pycache__"))
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{planted}\n")
    found = violations(tmp_path)
    assert any(complaint in line for line in found), found


def test_every_form_of_import_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "service" / "http" / "images.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "import torch.nn as nn, json\n"
        "from trainer.losses import gram\n"
        "from . import models\n"
        "from ..imaging import decode\n"
        "def late() -> None:\n"
        "    if True:\n"
        "        import service.engine.scheduler\n"
        "        from ... import trainer\n"
    )
    assert imports(source, tmp_path) == {
        "torch.nn",
        "json",
        "trainer.losses.gram",
        "service.http.models",
        "service.imaging.decode",
        "service.engine.scheduler",
        "trainer",
    }
    assert is_within("trainer.losses.gram", "trainer")
    assert not is_within("trainers", "trainer")
