"""Many images, several at a time."""

import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import httpx
from tqdm import tqdm

from client.exchange import Away, Call, Hopeless, Refused, exchange
from client.files import Item
from client.outage import Outage


@dataclass
class Outcome:
    """What has become of the images."""

    written: int = 0
    skipped: int = 0
    failed: int = 0
    left: int = 0
    """Images that were not tried, since they would have failed like the one before or the service is away."""
    away: str = ""
    """Why the service was waited for no longer."""

    @property
    def complete(self) -> bool:
        """Whether every image has a result."""
        return not self.failed and not self.left


class Batch:
    """Items, and how they are sent."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        call: Call,
        *,
        parallel: int,
        patience: float,
        overwrite: bool,
        quiet: bool,
    ) -> None:
        self._client = client
        self._call = call
        self._parallel = parallel
        self._overwrite = overwrite
        self._bar: tqdm[NoReturn] = tqdm(unit=" images", disable=True if quiet else None, file=sys.stderr, delay=0.5)
        self._outage = Outage(patience, self._tell)
        self._outcome = Outcome()
        self._waiting: deque[Item] = deque()

    async def run(self, items: Sequence[Item]) -> Outcome:
        """Every item once; those that have a result are skipped, unless it is to be overwritten."""
        todo = [item for item in items if self._overwrite or item.done() is None]
        self._outcome.skipped = len(items) - len(todo)
        self._waiting.extend(todo)
        self._bar.reset(total=len(todo))
        with self._bar:
            await asyncio.gather(*[self._work() for _ in range(min(self._parallel, len(todo)))])
        return self._outcome

    async def _work(self) -> None:
        while self._waiting:
            item = self._waiting.popleft()
            try:
                await self._do(item)
            except FileExistsError:
                self._outcome.skipped += 1
            except Away as error:
                self._outcome.left += 1
                self._outcome.away = str(error)
                self._give_up()
            except (Refused, OSError) as error:
                self._outcome.failed += 1
                self._tell(f"{item.source}: {error}")
                if isinstance(error, Hopeless):
                    self._give_up()
            else:
                self._outcome.written += 1
            self._bar.update()

    async def _do(self, item: Item) -> None:
        content = await asyncio.to_thread(item.source.read_bytes)
        answer = await exchange(self._client, self._call, content, self._outage)
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        if not media_type.startswith("image/"):
            raise Refused(f"the answer is {media_type or 'nothing'} and no image")
        await asyncio.to_thread(item.write, answer.content, media_type, overwrite=self._overwrite)

    def _give_up(self) -> None:
        """Leave the rest to a better command."""
        self._outcome.left += len(self._waiting)
        self._waiting.clear()

    def _tell(self, line: str) -> None:
        self._bar.write(line, file=sys.stderr)
