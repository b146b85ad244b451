"""How much one principal may ask for: pixels and requests per minute, requests in flight.

Pixels are those that admission counts (`POST /v1/estimate` predicts them), not bytes: a file of a kilobyte can be a
poster. They are known once the header of the image has been read, so a request is let in while its principal is not in
debt, before its body is read, and is charged before it is admitted.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from service.errors import QuotaExceeded, ServiceError
from service.http.access.api_key import LimitPolicy
from service.http.access.token_bucket import TokenBucket

PIXELS, REQUESTS, IN_FLIGHT = "pixels", "requests", "requests-in-flight"
"""Names of the policies in RateLimit headers and problems."""

MEGA = 1_000_000

Fields = list[tuple[bytes, bytes]]


class Quota:
    """What a principal has left of its limits. Not thread-safe."""

    def __init__(self, policy: LimitPolicy, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.in_flight = 0
        """Requests of this client that are being answered."""
        self._pixels: TokenBucket | None = None
        self._requests: TokenBucket | None = None
        self.update(policy)

    def update(self, policy: LimitPolicy) -> None:
        """Replace the limits; what was used of each of them counts on where that one is unchanged."""
        self.policy = policy
        megapixels = policy.megapixels_per_minute
        self._pixels = self._bucket(self._pixels, None if megapixels is None else megapixels * MEGA)
        self._requests = self._bucket(self._requests, policy.requests_per_minute)

    def enter(self) -> None:
        """A request comes; `leave` must follow. Raises QuotaExceeded."""
        most = self.policy.requests_in_flight
        if most is not None and self.in_flight >= most:
            raise _exceeded(
                IN_FLIGHT, f"{self.in_flight} requests of this client are in flight; {most} are accepted", 1
            )
        if self._requests is not None:
            self._check(REQUESTS, self._requests)
            self._requests.take(1)
        self.in_flight += 1

    def leave(self) -> None:
        """A request that has entered is answered."""
        self.in_flight -= 1

    def check_pixels(self) -> None:
        """Raise QuotaExceeded where a request for an image would not be accepted, however small it is."""
        if self._pixels is not None:
            self._check(PIXELS, self._pixels)

    @property
    def counts_pixels(self) -> bool:
        """Whether pixels are limited."""
        return self._pixels is not None

    @contextmanager
    def charge(self, pixels: int) -> Iterator[None]:
        """Take these pixels, and give them back where the block fails since the work is not done: 409, 429, or 503.

        409 is the id of another job. Raises QuotaExceeded. What fails otherwise, or is cancelled, has been worked on.
        """
        self.check_pixels()
        self._take(pixels)
        try:
            yield
        except ServiceError as failure:
            if failure.status in (409, 429, 503):
                self.refund(pixels)
            raise

    def refund(self, pixels: int) -> None:
        """Give pixels back."""
        self._take(-pixels)

    def headers(self) -> Fields:
        """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11); none where nothing is limited.

        The unit `pixels` is not (yet) in the registry of the draft.
        """
        buckets = [(PIXELS, "pixels", self._pixels), (REQUESTS, "requests", self._requests)]
        there = [(name, unit, bucket) for name, unit, bucket in buckets if bucket is not None]
        policies = [f'"{name}";q={bucket.capacity:.0f};qu="{unit}";w={bucket.WINDOW}' for name, unit, bucket in there]
        states = [f'"{name}";r={max(0, math.floor(b.balance()))};t={max(1, b.full_in())}' for name, _, b in there]
        if (most := self.policy.requests_in_flight) is not None:
            policies.append(f'"{IN_FLIGHT}";q={most};qu="concurrent-requests"')
            states.append(f'"{IN_FLIGHT}";r={max(0, most - self.in_flight)}')
        pairs = ((b"ratelimit-policy", policies), (b"ratelimit", states))
        return [(name, ", ".join(items).encode()) for name, items in pairs if items]

    def _bucket(self, old: TokenBucket | None, per_minute: float | None) -> TokenBucket | None:
        if old is not None and old.capacity == per_minute:
            return old
        return None if per_minute is None else TokenBucket(per_minute, self._clock)

    def _take(self, pixels: int) -> None:
        if self._pixels is not None:
            self._pixels.take(pixels)

    def _check(self, name: str, bucket: TokenBucket) -> None:
        if wait := bucket.wait():
            unit = f"{bucket.capacity / MEGA:.12g} megapixels" if name == PIXELS else f"{bucket.capacity:.12g} requests"
            raise _exceeded(name, f"this client may ask for {unit} per minute, and has used them up", wait)


def _exceeded(policy: str, what: str, wait: int) -> QuotaExceeded:
    detail = f"{what}; retry in {wait} s"
    return QuotaExceeded(detail, retry_after=wait, **{"violated-policies": [policy]})
