"""What a command found: Markdown for people, CSV for programs, PNG to look at."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from model_store.durable import replace_file

Row = Mapping[str, str | int | float | None]
"""The columns are the keys of the rows, in the order of their first appearance."""

ELSEWHERE = frozenset({"out", "device", "threads", "store"})
"""Options that say where something is done, not what."""


class TableConfig(BaseModel):
    """What all commands of the paper have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    out: Path = Field(Path("paper"), description="folder for the Markdown, the CSV and the PNG files")


@dataclass(frozen=True)
class Report:
    """One table or figure of the paper, ours beside theirs."""

    name: str
    title: str
    command: str
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """For the Markdown file, by title."""
    data: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """For CSV files, by name, unrounded."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by name."""
    notes: Sequence[str] = ()

    def save(self, out: Path) -> str:
        """Write the files into a folder; the Markdown."""
        out.mkdir(parents=True, exist_ok=True)
        for name, rows in self.data.items():
            replace_file(out / f"{name}.csv", comma_separated(rows).encode())
        for name, content in self.pictures.items():
            replace_file(out / f"{name}.png", content)
        replace_file(out / f"{self.name}.md", self.markdown().encode())
        return f"{self.markdown()}\nwritten to {out}/{self.name}.md"

    def markdown(self) -> str:
        """Everything but the data."""
        parts = [f"## {self.title}", f"```console\n$ {self.command}\n```"]
        for title, rows in self.tables.items():
            parts += [f"**{title}**", table(rows)]
        parts += [f"![{name}]({name}.png)" for name in self.pictures]
        parts += ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; floats have four significant digits, what was not measured is a dash."""
    columns = _columns(rows)
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comma_separated(rows: Sequence[Row]) -> str:
    """The rows as CSV, floats as they are."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def command(name: str, config: BaseModel) -> str:
    """The command line that gives this report: what was asked for, and of every path its last name."""
    arguments = ["pastiche-train", "paper", name]
    for option in type(config).model_fields:
        if option in config.model_fields_set - ELSEWHERE:
            value = getattr(config, option)
            values = value if isinstance(value, tuple) else (value,)
            arguments += [f"--{option.replace('_', '-')}", *map(_shown, values)]
    return shlex.join(arguments)


def _shown(value: object) -> str:
    """A path, or a text that is one, without the folders that it lies in."""
    text = str(value)
    return Path(text).name if isinstance(value, Path) or text.startswith(("/", ".")) else text


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _cell(value: str | int | float | None) -> str:
    match value:
        case None:
            return "–"
        case float() if abs(value) >= 1000:
            return f"{value:.0f}"
        case float():
            return f"{value:.4g}"
    return str(value)
