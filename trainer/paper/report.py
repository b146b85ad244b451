"""The output of the `paper` commands: a Markdown report, CSV files and PNG files."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from model_store.durable import replace_file

Row = Mapping[str, str | int | float | None]
"""Column → value. A table has the columns of all its rows, in the order of their first appearance."""

LOCAL_OPTIONS = frozenset({"out", "device", "threads", "store"})
"""Options that differ between machines and do not change the result; they are not printed."""


class TableConfig(BaseModel):
    """The option of all `paper` commands."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    out: Path = Field(Path("paper"), description="folder for the Markdown, the CSV and the PNG files")


@dataclass(frozen=True)
class Report:
    """One table or figure of the paper, measured again, with the paper's values beside."""

    name: str
    title: str
    command: str
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Tables of the Markdown file by title."""
    data: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Rows of CSV files by file name without suffix, unrounded."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by file name without suffix."""
    notes: Sequence[str] = ()

    def save(self, out: Path) -> str:
        """Write all files into a folder, which is created; returns the Markdown and where it was written."""
        out.mkdir(parents=True, exist_ok=True)
        for name, rows in self.data.items():
            replace_file(out / f"{name}.csv", csv_text(rows).encode())
        for name, content in self.pictures.items():
            replace_file(out / f"{name}.png", content)
        replace_file(out / f"{self.name}.md", self.markdown().encode())
        return f"{self.markdown()}\nwritten to {out}/{self.name}.md"

    def markdown(self) -> str:
        """The report: title, command, tables, pictures and notes."""
        parts = [f"## {self.title}", f"```console\n$ {self.command}\n```"]
        for title, rows in self.tables.items():
            parts += [f"**{title}**", table(rows)]
        parts += [f"![{name}]({name}.png)" for name in self.pictures]
        parts += ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row]) -> str:
    """A Markdown table. Floats have four significant digits; None and missing values are a dash."""
    columns = _columns(rows)
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as CSV with a header line, floats unrounded."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def command(name: str, config: BaseModel) -> str:
    """The command line that gives this report: the options that were given, without defaults and LOCAL_OPTIONS.

    Folders are left out of paths, so that the report does not name those of this machine.
    """
    arguments = ["pastiche-train", "paper", name]
    for option in type(config).model_fields:
        value = getattr(config, option)
        if option in config.model_fields_set - LOCAL_OPTIONS and value not in (None, ()):
            values = value if isinstance(value, tuple) else (value,)
            arguments += [f"--{option.replace('_', '-')}", *map(_without_folders, values)]
    return shlex.join(arguments)


def _without_folders(value: object) -> str:
    """A path, or a string that begins as one does, as its last part; any other value as str gives it."""
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
