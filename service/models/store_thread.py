"""Calls that wait for a model store, each in a thread that does not keep the process from ending."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


async def in_store_thread(call: Callable[[], T]) -> T:
    """What a call returns. Where it is not done when the process ends, it is left as it is.

    So it may write files only as a whole, as the cache of a store does, and run no network.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: object) -> None:
        if not future.done():
            setter(value)

    def run() -> None:
        try:
            done = partial(settle, future.set_result, call())
        except Exception as error:  # noqa: BLE001 # whoever waits gets it
            done = partial(settle, future.set_exception, error)
        with suppress(RuntimeError):  # the event loop has ended
            loop.call_soon_threadsafe(done)

    Thread(target=run, name="store", daemon=True).start()
    return await future
