import errno
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.imaging.workers.messages import IN_SEGMENT, INLINE_BYTES, KEEPS_BOUNDS, message_sockets, receive, send
from service.imaging.workers.task import Budget, CodecTask, TaskOutcome

ROOM = 1000
"""Bytes of a message beside its array, at the most."""

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = message_sockets()
    with one, other:
        yield one, other


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_messages_arrive_in_order(pair: Pair) -> None:
    one, other = pair
    send(one, CodecTask(len, ("abc",), Budget(1, 2)))
    send(one, TaskOutcome(np.arange(100_000)))
    send(one, TaskOutcome("end"))
    assert receive(other) == CodecTask(len, ("abc",), Budget(1, 2))
    assert np.array_equal(receive(other).value, np.arange(100_000))
    assert receive(other) == TaskOutcome("end")


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES - ROOM, INLINE_BYTES, INLINE_BYTES + ROOM, 2**20])
def test_arrays_of_all_sizes_arrive_and_can_be_written_to(pair: Pair, size: int) -> None:
    one, other = pair
    array = np.arange(size, dtype=np.uint8)
    send(one, TaskOutcome(array))  # returns though nobody reads
    result = receive(other).value
    assert np.array_equal(result, array)
    result[:1] = 7


@pytest.mark.skipif(not KEEPS_BOUNDS, reason="the system has no SOCK_SEQPACKET for local sockets")
def test_small_message_takes_no_descriptor_and_a_large_one_takes_one(pair: Pair) -> None:
    one, other = pair
    before = open_files()
    send(one, TaskOutcome(np.zeros(INLINE_BYTES - ROOM, np.uint8)))
    assert len(other.recv(2**20, socket.MSG_PEEK)) > INLINE_BYTES - ROOM
    receive(other)
    send(one, TaskOutcome(np.zeros(INLINE_BYTES, np.uint8)))
    assert other.recv(2**20, socket.MSG_PEEK) == IN_SEGMENT
    receive(other)
    assert open_files() == before


def test_end_of_the_other_process_is_no_message(pair: Pair) -> None:
    one, other = pair
    one.close()
    assert receive(other) is None


def test_small_message_takes_a_descriptor_where_the_buffer_of_the_socket_is_smaller(pair: Pair) -> None:
    one, other = pair
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for array in (np.arange(INLINE_BYTES - ROOM, dtype=np.uint8), np.arange(100)):
        send(one, TaskOutcome(array))
        assert np.array_equal(receive(other).value, array)


def test_without_descriptors_a_large_message_is_an_error(pair: Pair) -> None:
    one, other = pair
    send(one, TaskOutcome(np.zeros(INLINE_BYTES, np.uint8)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (other.fileno() + 1, hard))  # open ones stay, none is free
    try:
        with pytest.raises(OSError, match="files") as failure:
            receive(other)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert failure.value.errno == errno.EMFILE
