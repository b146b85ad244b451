"""Carries out images for the routes of other APIs, within the limits of their clients and until these leave."""

from collections.abc import Sequence

from fastapi import Request

from service.errors import InvalidRequest
from service.http.access.pixel_charges import PixelCharges
from service.http.disconnect import while_connected
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.gathering import gather
from service.pipeline.resolve import ResolvedRequest
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace

MAX_IMAGES = 16
"""Of one call; each is admitted and computed for itself."""


class ImageCalls:
    """Runs resolved requests through the coalescer."""

    def __init__(self, coalescer: RequestCoalescer, charges: PixelCharges) -> None:
        self._coalescer = coalescer
        self._charges = charges

    def check(self, request: Request) -> None:
        """Refuse a request before its body is read. Raises QuotaExceeded where its principal is in debt."""
        self._charges.check(request)

    async def run(self, request: Request, resolved: ResolvedRequest, image: bytes) -> FinishedImage:
        """The finished image. Raises as `RequestCoalescer.run`, QuotaExceeded, and ClientGone."""
        return (await self.run_all(request, [(resolved, image)]))[0]

    async def run_all(self, request: Request, images: Sequence[tuple[ResolvedRequest, bytes]]) -> list[FinishedImage]:
        """The same with several images, in their order, side by side. Where one fails, all do."""
        trace: Trace = request.state.trace
        async with self._charges.charged(request, *images):
            work = gather(self._coalescer.run(resolved, image, trace) for resolved, image in images)
            return await while_connected(request.receive, work)


def check_count(images: int, what: str, most: int = MAX_IMAGES) -> None:
    """Raise InvalidRequest where there are too many images for one call, or none."""
    if not 1 <= images <= most:
        accepted = f"from 1 to {most} at a time" if most > 1 else "one"
        raise InvalidRequest(f"{what}: there are {images} images; send {accepted}")
