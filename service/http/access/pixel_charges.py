"""Charges clients for the pixels that they ask for, as soon as the header of the image says how many that are."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Request

from service.http.access.key_ring import Client
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
        """Refuse a request before its body is read. Raises QuotaExceeded where its client is in debt."""
        client: Client = request.state.client
        client.limits.check_pixels()

    @asynccontextmanager
    async def charged(self, request: Request, resolved: ResolvedRequest, image: bytes) -> AsyncIterator[Refund]:
        """Charge the client for the block; 503 is free of charge. Raises QuotaExceeded, and what `measure` raises."""
        client: Client = request.state.client
        if not client.name and not client.limits.counts_pixels:
            yield lambda: None
            return
        pixels = await self._pipeline.measure(resolved, image)
        refunded = False

        def refund() -> None:
            nonlocal refunded
            refunded = True
            client.limits.refund(pixels)

        with client.limits.charge(pixels):
            yield refund
        if client.name and not refunded:
            self._metrics.key_pixels.labels(client.name).inc(pixels)
