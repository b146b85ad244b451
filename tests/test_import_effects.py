"""Importing a module defines names and does nothing else: no call for its effect, no setting of another module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("client", "model_store", "pastiche", "service", "trainer")

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.AnnAssign)


def effects(source: str) -> list[int]:
    """Lines of the statements at the top of a module that do more than define a name."""
    return [statement.lineno for statement in ast.parse(source).body if not _defines(statement)]


def _defines(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Name | ast.Tuple) for target in statement.targets)
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)  # a docstring
    if isinstance(statement, ast.If):
        return ast.unparse(statement.test) == "__name__ == '__main__'" or _is_for_types(statement)
    return isinstance(statement, DEFINITIONS)


def _is_for_types(statement: ast.If) -> bool:
    return ast.unparse(statement.test) == "TYPE_CHECKING"


def test_importing_has_no_effects() -> None:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name != "__main__.py"]
    assert {str(path.relative_to(ROOT)): lines for path in modules if (lines := effects(path.read_text()))} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "torch.manual_seed(0)",
        "torch.backends.cudnn.benchmark = True",
        "logging.getLogger('tifffile').setLevel(40)",
        "for name in names:\n    register(name)",
        "if debug:\n    start()",
        "with lock:\n    pass",
    ],
)
def test_effect_is_found(statement: str) -> None:
    assert effects(f'"""A module."""\n\nSIDE = 3\n{statement}\n') == [4]
