"""The id of a request, in X-Request-ID, the log and problem details."""

import re
import uuid

REQUEST_ID = re.compile(r"[A-Za-z0-9._~:@=+/-]{1,128}")
"""Ids accepted from clients. Anything else could forge lines of the log."""


def request_id(offered: str) -> str:
    """The client's id where it is safe to log, else a new random one (32 hexadecimal digits)."""
    return offered if REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
