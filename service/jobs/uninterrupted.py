"""Work that is done whole, though its caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def uninterrupted(work: Coroutine[Any, Any, Answer]) -> Answer:
    """What the work returns. A caller that is cancelled meanwhile is so as soon as the work has ended."""
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and not task.cancelled():
        task.exception()  # nobody is told
        raise cancelled
    return task.result()
