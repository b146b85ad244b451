"""Sends many images, several at a time, and writes their results."""

import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from tqdm import tqdm

from client.async_client import AsyncClient
from client.error_messages import in_words
from client.errors import PasticheError, Unavailable
from client.exchange import RefusedForAll, send_image
from client.files import Item, ResultExists
from client.models import require_models
from client.outage import Outage
from client.request import Request
from client.retries import RetryPolicy


@dataclass
class BatchCounts:
    """Numbers of images, by what happened to them."""

    written: int = 0
    skipped: int = 0
    failed: int = 0
    not_tried: int = 0
    """Images that were not sent, because all would fail in the same way or the service is unavailable."""
    outage_reason: str = ""
    """The error after which the client stopped waiting for the service; empty if it did not."""

    @property
    def complete(self) -> bool:
        """Whether every image has a result, from this run or an earlier one."""
        return not self.failed and not self.not_tried


class Batch:
    def __init__(
        self,
        client: AsyncClient,
        request: Request,
        policy: RetryPolicy,
        models: Sequence[str] = (),
        *,
        parallel: int,
        overwrite: bool,
        quiet: bool,
    ) -> None:
        """`request` is made for every image, with the image as its content; it names `models`."""
        self._client = client
        self._request = request
        self._policy = policy
        self._models = models
        self._parallel = parallel
        self._overwrite = overwrite
        self._bar: tqdm[NoReturn] = tqdm(unit=" images", disable=True if quiet else None, file=sys.stderr, delay=0.5)
        self._outage = Outage(policy.patience, self._print_line)
        self._counts = BatchCounts()
        self._pending: deque[Item] = deque()

    async def run(self, items: Sequence[Item]) -> BatchCounts:
        """Process every item once. An item with a result is skipped, unless results are overwritten.

        Raises UsageError, and sends nothing, where there are images to send and the service lacks one of the models;
        AccessDenied where it does not accept the key.
        """
        todo = [item for item in items if self._overwrite or item.existing_result() is None]
        self._counts.skipped = len(items) - len(todo)
        self._pending.extend(todo)
        self._bar.reset(total=len(todo))
        with self._bar:
            if todo:
                await self._check_models()
            await asyncio.gather(*[self._run_worker() for _ in range(min(self._parallel, len(todo)))])
        return self._counts

    async def _check_models(self) -> None:
        try:
            await require_models(self._client, self._models, self._policy, self._outage)
        except Unavailable as error:
            self._counts.outage_reason = str(error)
            self._skip_rest()

    async def _run_worker(self) -> None:
        while self._pending:
            item = self._pending.popleft()
            try:
                await self._process(item)
            except ResultExists:
                self._counts.skipped += 1
            except Unavailable as error:
                self._counts.not_tried += 1
                self._counts.outage_reason = str(error)
                self._skip_rest()
            except (PasticheError, OSError) as error:
                self._counts.failed += 1
                self._print_line(f"{item.source}: {in_words(error, item.source)}")
                if isinstance(error, RefusedForAll):
                    self._skip_rest()
            else:
                self._counts.written += 1
            self._bar.update()

    async def _process(self, item: Item) -> None:
        item.require_folder()
        request = self._request.with_content(await asyncio.to_thread(item.source.read_bytes))
        picture = await send_image(self._client, request, self._policy, self._outage)
        await asyncio.to_thread(item.write, picture.bytes, picture.media_type, overwrite=self._overwrite)

    def _skip_rest(self) -> None:
        """Count all pending items as not tried."""
        self._counts.not_tried += len(self._pending)
        self._pending.clear()

    def _print_line(self, line: str) -> None:
        self._bar.write(line, file=sys.stderr)
