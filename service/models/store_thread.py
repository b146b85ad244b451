"""Calls that wait for a model store, each in a thread that does not keep the process from ending."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def in_store_thread(call: Callable[[], T]) -> T:
    """What a call returns. Where it is not done when the process ends, it is left as it is.

    So it may write files only as a whole, as the cache of a store does, and run no network.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # who stops waiting does not stop the call

    def run() -> None:
        try:
            done.set_result(call())
        except StopIteration as error:  # no future can carry it to asyncio, and whoever waits would wait for ever
            done.set_exception(RuntimeError(f"a call of a store ended with {error!r}"))
        except Exception as error:  # noqa: BLE001 # whoever waits gets it
            done.set_exception(error)

    Thread(target=run, name="store", daemon=True).start()
    return await asyncio.wrap_future(done)
