"""The documents of the repository: their examples, links, tables and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README, API, CLI, OPERATIONS, TRAINING, ARCHITECTURE, ERRORS, METRICS = (
    ROOT / name
    for name in (
        "README.md",
        "docs/api.md",
        "docs/cli.md",
        "docs/operations.md",
        "docs/training.md",
        "docs/architecture.md",
        "docs/errors.md",
        "docs/metrics.md",
    )
)

FENCE = re.compile(r"^```(\w*)$")
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and the line at which it begins."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Example:
    """A command of a console block, and what is shown as its output."""

    command: str
    shown: str

    @property
    def words(self) -> list[str]:
        """The command's words, without a comment."""
        return shlex.split(self.command.replace("\\\n", " "), comments=True)


def documents() -> list[Path]:
    return [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[Block]:
    return [block for block in _every_block(document) if block.language == language]


def _every_block(document: Path) -> Iterator[Block]:
    language, begin, lines = None, 0, list[str]()
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        fence = FENCE.match(line)
        if fence and language is None:
            language, begin, lines = fence[1], number + 1, []
        elif fence and language is not None:
            yield Block(document, begin, language, "\n".join(lines))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{document} has a block that does not end"


def examples(block: Block) -> list[Example]:
    """The commands after a prompt; one goes on where its line ends with a backslash or inside a quotation."""
    found: list[Example] = []
    command: str | None = None
    for line in block.text.splitlines():
        if command is not None:
            command += "\n" + line
        elif line.startswith(PROMPT):
            command = line.removeprefix(PROMPT)
        else:
            assert found, f"{block.name} shows output before its first command"
            found[-1] = Example(found[-1].command, f"{found[-1].shown}{line}\n")
        if command is not None and not _goes_on(command):
            found.append(Example(command, ""))
            command = None
    assert command is None, f"{block.name} has a command that does not end"
    return found


def _goes_on(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return command.endswith("\\")


def prose(document: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> list[str]:
    """The targets of links and pictures that lead into the repository."""
    return [link for link in LINK.findall(prose(document)) if "://" not in link]


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(document: Path, heading: str) -> str:
    """What stands under a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", prose(document), re.MULTILINE | re.DOTALL)
    assert found, f"{document.name} has no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of all tables of a text, those of their heads included."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\- ]+", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def codes(text: str) -> list[str]:
    return CODE.findall(text)


def first_codes(text: str) -> list[str]:
    """What is set as code in the first cells of the tables of a text."""
    return [code for row in rows(text) for code in codes(row[0])]
