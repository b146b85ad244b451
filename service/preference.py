"""What a client prefers about how it is answered (RFC 7240)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Preference:
    """The preferences that are known here; the RFC lets us ignore all others, and those that make no sense."""

    respond_async: bool = False
    wait: int = 0
    """Seconds for which the client would rather wait than be sent away (section 4.3)."""

    @classmethod
    def of(cls, headers: Sequence[str] | None) -> Self:
        """The preferences of a request's Prefer headers; of those that are there twice the first counts (section 2)."""
        known: dict[str, str] = {}
        for element in ",".join(headers or ()).split(","):
            name, _, value = element.partition(";")[0].partition("=")
            known.setdefault(name.strip().lower(), value.strip().strip('"'))
        wait = known.get("wait", "")
        return cls("respond-async" in known, int(wait) if wait.isdecimal() and len(wait) < 6 else 0)
