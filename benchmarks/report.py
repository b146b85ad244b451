"""The results of a run, as Markdown and as JSON."""

import json
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

Value = str | int | float | bool | None
Row = Mapping[str, Value]
Tables = Mapping[str, Sequence[Row]]
"""Rows by the title of their table. Columns are the keys of the rows, in order of first appearance."""


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table with padded cells. A key that a row lacks is an empty cell."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([_text(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)] if columns else []
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def show(tables: Tables) -> str:
    """All tables that have rows, as Markdown under their titles."""
    return "\n\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in tables.items() if rows)


def save(path: Path, tables: Tables, machine: Mapping[str, object]) -> None:
    """Write the tables, the command, the date and the machine as JSON. NaN and infinity become null.

    Raises OSError if the file cannot be written.
    """
    found = {title: [_finite(row) for row in rows] for title, rows in tables.items()}
    record = {
        "command": command(sys.argv[1:]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | {"tables": found}, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def command(arguments: Sequence[str]) -> str:
    """The command line with these arguments, without the option `--json`."""
    written = re.sub(r" --json[ =]('[^']*'|\S+)", "", f" {shlex.join(arguments)}")
    return f"python -m benchmarks{written}"


def default_path(benchmark: str) -> Path:
    """A path in benchmarks/results/ named for the time, to the second, and the benchmark."""
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return Path(__file__).parent / "results" / f"{moment}-{benchmark}.json"


def _finite(row: Row) -> Row:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def _text(value: Value) -> str:
    """The text of a cell: floats have three significant digits, None, NaN and infinity are a dash."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float() if not math.isfinite(value):
            return "–"
        case float() if abs(value) >= 100:
            return f"{value:.0f}"
        case float():
            return f"{value:.3g}"
    return str(value)
