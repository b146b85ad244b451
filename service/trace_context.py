"""A client's distributed trace, continued (W3C Trace Context, level 1)."""

import re
import secrets
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers

TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
"""Section 3.2.2; later versions may have more at the end."""

KEY = r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
MEMBER = re.compile(f"{KEY}={VALUE}")
MOST_MEMBERS = 32

SAMPLED = 0x01
"""The only flag of level 1."""


@dataclass(frozen=True)
class TraceContext:
    """One span of a trace: that of this service."""

    trace_id: str
    parent_id: str
    """The client's span."""
    span_id: str
    flags: int
    state: str = ""
    """What others have said in tracestate, as it came."""

    @classmethod
    def continued(cls, headers: Headers) -> Self | None:
        """A new span in the trace that the headers name; None where they name none, or not as they should."""
        offered = headers.getlist("traceparent")
        match = TRACEPARENT.fullmatch(offered[0].strip()) if len(offered) == 1 else None
        if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
            return None
        if not int(match["trace"], 16) or not int(match["parent"], 16):
            return None
        state = _state(headers.getlist("tracestate"))
        return cls(match["trace"], match["parent"], _span(), int(match["flags"], 16) & SAMPLED, state)

    def headers(self) -> dict[str, str]:
        """The context as headers, those of whatever this span calls, or of its answer."""
        parent = f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"
        return {"traceparent": parent} | ({"tracestate": self.state} if self.state else {})

    def facts(self) -> dict[str, str]:
        """Its members of a log line."""
        return {"trace_id": self.trace_id, "span_id": self.span_id, "parent_id": self.parent_id}


def _state(headers: list[str]) -> str:
    """The headers as one list (section 3.3.1), dropped as a whole where any of it is not valid."""
    members = [member.strip(" \t") for header in headers for member in header.split(",")]
    members = [member for member in members if member]
    keys = [member.partition("=")[0] for member in members]
    valid = len(members) <= MOST_MEMBERS and all(map(MEMBER.fullmatch, members)) and len(set(keys)) == len(keys)
    return ",".join(members) if valid else ""


def _span() -> str:
    """Eight random bytes, of which one at least is not zero."""
    return f"{secrets.randbelow(2**64 - 1) + 1:016x}"
