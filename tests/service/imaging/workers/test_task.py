import socket
from pathlib import Path

import numpy as np

from service.imaging.workers.task import Budget, CodecTask, TaskOutcome, receive, send


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_messages_arrive_in_order() -> None:
    one, other = socket.socketpair()
    with one, other:
        send(one, CodecTask(len, ("abc",), Budget(1, 2)))
        send(one, TaskOutcome(np.arange(100_000)))
        assert receive(other) == CodecTask(len, ("abc",), Budget(1, 2))
        assert np.array_equal(receive(other).value, np.arange(100_000))


def test_end_of_the_other_process_is_no_message() -> None:
    one, other = socket.socketpair()
    one.close()
    with other:
        assert receive(other) is None


def test_no_descriptor_stays_open() -> None:
    one, other = socket.socketpair()
    with one, other:
        before = open_files()
        send(one, TaskOutcome(7))
        receive(other)
        assert open_files() == before
