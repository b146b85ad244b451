"""Charges principals for the pixels that they ask for, as soon as the header of the image says how many that are."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Request

from service.http.access.principal import Principal
from service.pipeline.gathering import gather
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.resolve import ResolvedRequest
from service.telemetry.metrics import Metrics

Refund = Callable[[], None]
"""Gives back what was charged: the work had been done already."""


class PixelCharges:
    """For the routes that take images. Identical requests in flight are computed once, and charged each."""

    def __init__(self, pipeline: ImagePipeline, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._metrics = metrics

    def check(self, request: Request) -> None:
        """Refuse a request before its body is read. Raises QuotaExceeded where its principal is in debt."""
        principal: Principal = request.state.principal
        principal.quota.check_pixels()

    @asynccontextmanager
    async def charged(self, request: Request, *images: tuple[ResolvedRequest, bytes]) -> AsyncIterator[Refund]:
        """Charge the principal for the block, as `Quota.charge`: for all images of the request, or for none.

        Raises QuotaExceeded, and what `measure` raises.
        """
        principal: Principal = request.state.principal
        if not principal.name and not principal.quota.counts_pixels:
            yield lambda: None
            return
        pixels = sum(await gather(self._pipeline.measure(resolved, image) for resolved, image in images))
        refunded = False

        def refund() -> None:
            nonlocal refunded
            refunded = True
            principal.quota.refund(pixels)

        with principal.quota.charge(pixels):
            yield refund
        if principal.name and not refunded:
            self._metrics.key_pixels.labels(principal.name).inc(pixels)
