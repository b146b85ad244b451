"""Distributed tracing: the client's trace, continued (W3C Trace Context, level 1)."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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
    """The span of this service in a distributed trace."""

    trace_id: str
    parent_id: str
    """The client's span; empty where the trace begins here."""
    span_id: str
    flags: int
    state: str = ""
    """The tracestate of other systems, passed on as it came."""

    @classmethod
    def continued(cls, traceparents: Sequence[str], tracestates: Sequence[str]) -> Self | None:
        """A new span in the trace that these header values name.

        None where there is no traceparent, more than one, or one that is not valid (section 3.2).
        """
        match = TRACEPARENT.fullmatch(traceparents[0].strip()) if len(traceparents) == 1 else None
        if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
            return None
        if not int(match["trace"], 16) or not int(match["parent"], 16):
            return None
        flags = int(match["flags"], 16) & SAMPLED
        return cls(match["trace"], match["parent"], _new_span_id(), flags, _merge_states(tracestates))

    def headers(self) -> dict[str, str]:
        """The headers of the response, and of whatever this span calls."""
        parent = f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"
        return {"traceparent": parent} | ({"tracestate": self.state} if self.state else {})

    def values(self) -> tuple[list[str], list[str]]:
        """Those headers' values, by which something else continues this span."""
        headers = self.headers()
        return [headers["traceparent"]], [headers["tracestate"]] if self.state else []

    def facts(self) -> dict[str, str]:
        """The ids as members of a log line."""
        parent = {"parent_id": self.parent_id} if self.parent_id else {}
        return {"trace_id": self.trace_id, "span_id": self.span_id} | parent


def _merge_states(headers: Sequence[str]) -> str:
    """The tracestate headers as one list (section 3.3.1); empty where any member is not valid."""
    members = [member.strip(" \t") for header in headers for member in header.split(",")]
    members = [member for member in members if member]
    keys = [member.partition("=")[0] for member in members]
    valid = len(members) <= MOST_MEMBERS and all(map(MEMBER.fullmatch, members)) and len(set(keys)) == len(keys)
    return ",".join(members) if valid else ""


def _new_span_id() -> str:
    """Eight random bytes, not all zero, as hexadecimal digits."""
    return f"{secrets.randbelow(2**64 - 1) + 1:016x}"
