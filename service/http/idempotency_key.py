"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header-07): a request sent again begins no second job.

The id of the job follows from the key, so that every replica, and every process after it, knows which job is meant.
"""

import hashlib
import re
import uuid

from service.errors import InvalidRequest

IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"

MAX_KEY_LENGTH = 255

_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
"""A string of structured fields (RFC 9651, section 3.3.3)."""

_BARE = re.compile(r"[!#-~]+")
"""Visible ASCII without quotes, as clients of other services send keys."""


def new_key() -> str:
    """A key, as the header takes it, that nobody else has."""
    return f'"{uuid.uuid4()}"'


def parse_key(header: str) -> str:
    """The key of the header. Raises InvalidRequest where it is not one key of 1 to 255 characters."""
    quoted = _QUOTED.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header
    if not (0 < len(key) <= MAX_KEY_LENGTH and (quoted or _BARE.fullmatch(header))):
        raise InvalidRequest(
            f'header.{IDEMPOTENCY_KEY_HEADER}: one key of 1 to {MAX_KEY_LENGTH} ASCII characters, "in quotes" as a rule'
        )
    return key


def job_id_of(owner: str, key: str | None) -> str:
    """The id of the job that a request of this owner begins with this key; without one, an id that nobody else has."""
    if key is None:
        return uuid.uuid4().hex
    return hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()[:32]
