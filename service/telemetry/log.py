"""Log lines: text for people or JSON for machines, on standard error."""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
"""Values that need no quotation marks: printable ASCII without spaces, quotation marks, backslashes and `=`."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line. The members of `extra={"facts": {…}}` of a log call become its own."""

    def __init__(self, process: int | None = None) -> None:
        """`process`: the number of this serving process, where there are several."""
        super().__init__()
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; line breaks in texts are escaped."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            **self._process,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str, form: Literal["text", "json"], process: int | None = None) -> None:
    """Send all loggers of the process, uvicorn's included, through one handler.

    `process`: the number of this serving process, where there are several, which every line then says.
    """
    handler = logging.StreamHandler()
    text = TEXT if process is None else TEXT.replace(" %(name)s", f" [{process}] %(name)s")
    handler.setFormatter(JsonFormatter(process) if form == "json" else logging.Formatter(text))
    logging.captureWarnings(True)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, and those of webhooks may have secrets


def log_line(
    logger: logging.Logger, facts: Mapping[str, object], durations: dict[str, float], level: int = logging.INFO
) -> None:
    """Log that a request or a job has ended: `facts` as key=value, `durations` (seconds) in milliseconds."""
    if logger.isEnabledFor(level):
        timings = {name: f"{seconds * 1000:.1f}ms" for name, seconds in durations.items()}
        line = " ".join(f"{key}={quoted(value)}" for key, value in {**facts, **timings}.items())
        logger.log(level, line, extra={"facts": {**facts, "seconds": durations}})


def quoted(value: object) -> str:
    """A value for a line of text: a JSON string of ASCII where it could be read as more than one value or line."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
