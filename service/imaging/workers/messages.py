"""Messages between the service and a worker, through a pair of sockets that keep the bounds of messages (unix(7)).

Small ones go through the socket; of the others goes the descriptor of a segment that holds them. So each is there at
once and whole, or not at all.
"""

import errno
import os
import socket
import sys
from typing import Any

from service.imaging.workers.serialization import Parts, from_bytes, to_parts
from service.imaging.workers.shared_memory import map_segment, write_segment
from service.imaging.workers.task import CodecTask, TaskOutcome

KEEPS_BOUNDS = sys.platform == "linux"
"""Whether the system has SOCK_SEQPACKET for local sockets. Elsewhere all messages go in segments."""

INLINE_BYTES = 2**17
"""The largest message that goes through the socket, whose buffer is larger: 208 KiB unless the system sets another."""

IN_SEGMENT = b"s"
"""What is sent with the descriptor of a segment, since a descriptor cannot travel without data."""


def message_sockets() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets for messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if KEEPS_BOUNDS else socket.SOCK_STREAM)


def send(connection: socket.socket, message: CodecTask | TaskOutcome) -> None:
    """Send a message. Raises OSError where the other process has ended, or there is no memory."""
    parts = to_parts(message)
    if KEEPS_BOUNDS and sum(map(len, parts)) <= INLINE_BYTES and _send_inline(connection, parts):
        return
    segment = write_segment(parts)
    try:
        socket.send_fds(connection, [IN_SEGMENT], [segment])
    finally:
        os.close(segment)


def receive(connection: socket.socket) -> Any:
    """The next message, None where the other process has ended. Raises OSError where there is no descriptor for it.

    Its arrays can be written to.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, INLINE_BYTES if KEEPS_BOUNDS else len(IN_SEGMENT), 1)
    except ConnectionError:
        return None
    if not data:
        return None
    if data != IN_SEGMENT:
        return from_bytes(memoryview(bytearray(data)))
    if not descriptors:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    try:
        return from_bytes(map_segment(descriptors[0]))
    finally:
        os.close(descriptors[0])


def _send_inline(connection: socket.socket, parts: Parts) -> bool:
    """Whether the message could be sent whole. It could not where the system gives sockets smaller buffers."""
    try:
        connection.send(b"".join(parts), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            return False
        raise
    return True
