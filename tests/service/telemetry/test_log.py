import json
import logging
from collections.abc import Iterator

import pytest

from service.telemetry import log


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # pytest's own must not be closed
    yield
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level


def test_json_lines_hold_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logging.getLogger("service.test").info("one\ntwo", extra={"facts": {"status": 200}})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "logger": "service.test", "message": "one\ntwo", "status": 200}


def test_lines_of_one_of_several_processes_say_which(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json", 1)
    logging.getLogger("service.test").info("one")
    assert json.loads(capsys.readouterr().err)["process"] == 1
    log.configure("info", "text", 0)
    logging.getLogger("service.test").info("two")
    assert "INFO    [0] service.test: two" in capsys.readouterr().err


def test_json_lines_hold_the_traceback_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("service.test").exception("failed")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "ValueError: bad" in json.loads(written)["exception"]


def test_text_lines_respect_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", "text")
    logging.getLogger("service.test").info("quiet")
    logging.getLogger("service.test").warning("loud")
    written = capsys.readouterr().err
    assert "quiet" not in written
    assert written.endswith("WARNING service.test: loud\n")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("wave@3", "wave@3"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('"', '"\\""'),
        ("\u2028", '"\\u2028"'),
        (7, "7"),
    ],
)
def test_values_are_quoted_where_they_could_be_misread(value: object, written: str) -> None:
    assert log.quoted(value) == written


def test_line_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "text")
    log.log_line(logging.getLogger("service.test"), {"id": "a"}, {}, logging.DEBUG)
    log.log_line(logging.getLogger("service.test"), {"id": "b"}, {"total": 0.5})
    assert capsys.readouterr().err.endswith("service.test: id=b total=500.0ms\n")
