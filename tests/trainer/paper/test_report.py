import csv
from pathlib import Path

from pydantic import Field

from trainer.paper.report import Report, Row, TableConfig, command, table


class Options(TableConfig):
    sets: tuple[Path, ...] = Field(())
    loss_network: str = Field("random")
    steps: int = Field(3)


def test_tables_have_every_column_and_dashes_for_what_is_missing() -> None:
    rows: list[Row] = [{"name": "one", "seconds": 0.123456}, {"name": "two", "seconds": 12345.6, "more": None}]
    assert table(rows).splitlines() == [
        "| name | seconds | more |",
        "| --- | --- | --- |",
        "| one | 0.1235 | – |",
        "| two | 12346 | – |",
    ]


def test_the_command_has_the_given_options_without_folders() -> None:
    options = Options(
        out=Path("/tmp/out"), sets=(Path("/data/Set5"), Path("Set14")), loss_network="/data/l.safetensors"
    )
    assert command("speed", options) == "pastiche-train paper speed --sets Set5 Set14 --loss-network l.safetensors"


def test_a_report_is_written_as_markdown_csv_and_png(tmp_path: Path) -> None:
    report = Report(
        "speed", "Table 1", "pastiche-train paper speed", {"Seconds": [{"a": 1}]}, {"all": [{"a": 0.1}]}, {"p": b"png"}
    )
    assert "written to" in report.save(tmp_path / "new")
    markdown = (tmp_path / "new/speed.md").read_text()
    assert markdown.startswith("## Table 1\n\n```console\n$ pastiche-train paper speed\n```\n\n**Seconds**\n\n| a |")
    assert "![p](p.png)" in markdown
    with (tmp_path / "new/all.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "0.1"}]
    assert (tmp_path / "new/p.png").read_bytes() == b"png"
