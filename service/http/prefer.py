"""The Prefer header (RFC 7240)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Preference:
    """The preferences that are honoured. Others, and malformed ones, are ignored (section 2)."""

    respond_async: bool = False
    wait: int = 0
    """Seconds that the client is willing to wait for the answer itself (section 4.3)."""

    @classmethod
    def parse(cls, headers: Sequence[str] | None) -> Self:
        """Of the values of all Prefer headers. Of a preference that is given twice, the first counts (section 2)."""
        known: dict[str, str] = {}
        for element in ",".join(headers or ()).split(","):
            name, _, value = element.partition(";")[0].partition("=")
            known.setdefault(name.strip().lower(), value.strip().strip('"'))
        wait = known.get("wait", "")
        return cls("respond-async" in known, int(wait) if wait.isdecimal() and len(wait) < 6 else 0)
