"""A request to the service, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import httpx

CONNECT_SECONDS = 10.0
"""Longest that a connection takes to open."""

SLACK_SECONDS = 60.0
"""How much longer than the service the client waits. The service keeps the time; this is for one that hangs."""

DAY_SECONDS = 86400.0
"""The most that a service can be set to accept."""

SILENT_SECONDS = 660.0
"""For how long the client waits where the service decides: longer than the service does, unless it is set to more."""


@dataclass(frozen=True)
class Request:
    """One call. Sent twice it has the effect of being sent once."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)
    mask: bytes | None = field(default=None, repr=False)
    """Sent beside the content, as the parts of a form."""
    timeout: float | None = None
    """Seconds after which the answer is of no use; None: the service decides."""

    def with_content(self, content: bytes) -> Self:
        """The same with another body."""
        return replace(self, content=content)

    def build(self, http: httpx.Client | httpx.AsyncClient, seconds: float) -> httpx.Request:
        """The request for a connection of httpx, on which nothing may take longer than `seconds`."""
        headers = dict(self.headers)
        if self.timeout is not None:
            headers["X-Request-Timeout"] = f"{self.timeout:g}"
        body = self.content if self.mask is None else None
        form = None if self.mask is None else {"image": ("image", self.content), "mask": ("mask", self.mask)}
        return http.build_request(
            self.method,
            self.path,
            params=self.query,
            headers=headers,
            content=body,
            files=form,
            timeout=self._timeouts(seconds),
        )

    def _timeouts(self, seconds: float) -> httpx.Timeout:
        told = self.timeout or 0.0
        whole = told + SLACK_SECONDS if 0 < told <= DAY_SECONDS else SILENT_SECONDS
        longest = min(whole, seconds)
        return httpx.Timeout(longest, connect=min(CONNECT_SECONDS, longest), pool=None)
