"""The packages know each other in one direction, trainer → model_store ← service ← client, and parts know even less."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HTTP = frozenset({"fastapi", "starlette", "uvicorn", "httpx", "prometheus_client", "multipart", "python_multipart"})
OUTSIDE = frozenset({"tests", "benchmarks"})

FORBIDDEN = {
    "model_store": {"client", "service", "trainer"} | HTTP | OUTSIDE,
    "trainer": {"client", "service"} | HTTP | OUTSIDE,
    "service": {"client", "trainer"} | OUTSIDE,
    "client": {"trainer"} | OUTSIDE,
    "client/__main__.py": {"model_store", "service", "torch"},
    "client/batch.py": {"model_store", "service", "torch"},
    "client/exchange.py": {"model_store", "service", "torch"},
    "client/files.py": {"model_store", "service", "torch"},
    "client/outage.py": {"model_store", "service", "torch"},
    "service/batcher.py": {"torch", "torchvision", "model_store.networks"} | HTTP,
    "service/runner.py": {"asyncio", "anyio"} | HTTP,
}


def sources(part: Path) -> list[Path]:
    return [part] if part.suffix == ".py" else sorted(part.rglob("*.py"))


def imports(source: Path, root: Path) -> Iterator[str]:
    """The absolute dotted name of everything that `source` imports, at its top or anywhere inside."""
    package = source.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


@pytest.mark.parametrize(("part", "forbidden"), FORBIDDEN.items())
def test_part_imports_nothing_forbidden(part: str, forbidden: frozenset[str]) -> None:
    read = sources(ROOT / part)
    edges = [
        f"{source.relative_to(ROOT)} imports {name}"
        for source in read
        for name in imports(source, ROOT)
        if any(is_within(name, module) for module in forbidden)
    ]
    assert read, f"{part} has no sources"
    assert edges == []


def test_every_form_of_import_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "service" / "routes" / "images.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "import torch.nn as nn, json\n"
        "from trainer.losses import gram\n"
        "from . import models\n"
        "from ..photographs import decode\n"
        "def late() -> None:\n"
        "    if True:\n"
        "        import service.batcher\n"
        "        from ... import trainer\n"
    )
    assert set(imports(source, tmp_path)) == {
        "torch.nn",
        "json",
        "trainer.losses.gram",
        "service.routes.models",
        "service.photographs.decode",
        "service.batcher",
        "trainer",
    }
    assert is_within("trainer.losses.gram", "trainer")
    assert not is_within("trainers", "trainer")
