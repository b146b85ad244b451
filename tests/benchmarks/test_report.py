"""Tables for people and for machines."""

import json
from pathlib import Path

from benchmarks.report import Row, command, markdown, save

ROWS: list[Row] = [{"engine": "eager", "ms": 512.345, "ok": True}, {"engine": "ours", "ms": 0.0123456, "wasted": None}]


def test_markdown_has_every_column_and_aligns_them() -> None:
    assert markdown(ROWS).splitlines() == [
        "| engine | ms     | ok  | wasted |",
        "|--------|--------|-----|--------|",
        "| eager  | 512    | yes |        |",
        "| ours   | 0.0123 |     | –      |",
    ]


def test_json_is_whole_and_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "results" / "engine.json"
    save(path, {"style": [{"engine": "ours", "ms": float("nan"), "rate": 5.25}]}, {"cpus": 2})
    found = json.loads(path.read_text())
    assert found["tables"] == {"style": [{"engine": "ours", "ms": None, "rate": 5.25}]}
    assert found["machine"] == {"cpus": 2}
    assert set(found) == {"command", "date", "machine", "tables"}


def test_command_is_recorded_without_the_file_that_it_wrote_to() -> None:
    assert (
        command(["serve", "--json", "/some where/a.json", "--levels", "1"]) == "python -m benchmarks serve --levels 1"
    )
    assert command(["overload", "--modes", "retrying at once", "--json=a.json"]) == (
        "python -m benchmarks overload --modes 'retrying at once'"
    )
