"""What the headers of a call say about the job that it may become."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from service.http.idempotency_key import parse_key
from service.http.prefer import Preference


@dataclass(frozen=True)
class JobHeaders:
    """Prefer, X-Callback-URL and Idempotency-Key."""

    preferred: bool
    """Whether there is to be a job."""
    wait: int
    """Seconds that the client is willing to wait for the image itself."""
    callback_url: str | None
    key: str | None
    """By which the service knows the request again."""

    @classmethod
    def parse(cls, prefer: Sequence[str] | None, callback_url: str | None, idempotency_key: str | None) -> Self:
        """Of the values of the three. Raises InvalidRequest for a key that is none, where there is to be a job."""
        preference = Preference.parse(prefer)
        key = idempotency_key if preference.respond_async else None
        return cls(preference.respond_async, preference.wait, callback_url, parse_key(key) if key is not None else None)

    def without_wait(self) -> Self:
        """The same for a call that answers with a job at once."""
        return replace(self, wait=0)
