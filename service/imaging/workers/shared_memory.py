"""Bytes handed from one process to another in a segment of shared memory.

A segment is a file without a name, of which the descriptor is sent through a socket; it is freed when the last process
has closed it, also where one was killed. Its bytes are copied once, by the sender, and read where they lie.
"""

import errno
import logging
import mmap
import os
import resource
import tempfile

from service.imaging.workers.serialization import Parts

logger = logging.getLogger(__name__)


def write_segment(parts: Parts) -> int:
    """Write bytes into a new segment, and return its descriptor, which the caller closes.

    Raises OSError where there is no memory, or no descriptor, for it.
    """
    descriptor = _open_segment()
    try:
        _write(descriptor, parts)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise _too_large(sum(map(len, parts))) from error
        raise
    return descriptor


def _too_large(size: int) -> OSError:
    """What is raised, and logged, where the process may not make files of that size: a segment is one."""
    limit = f"files, and shared memory with them, are limited to {resource.getrlimit(resource.RLIMIT_FSIZE)[0]} bytes"
    logger.error("an image cannot be handed over in %d bytes: %s (ulimit -f, LimitFSIZE)", size, limit)
    return OSError(errno.EFBIG, limit)


def map_segment(descriptor: int) -> memoryview:
    """The bytes of a segment; writing to them changes it. The descriptor stays open."""
    return memoryview(mmap.mmap(descriptor, 0))


def _open_segment() -> int:
    """A new, empty file without a name; where there is no memfd_create(2), on the disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pastiche")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, parts: Parts) -> None:
    os.ftruncate(descriptor, sum(map(len, parts)))
    offset = 0
    for part in parts:
        _write_part(descriptor, part, offset)
        offset += len(part)


def _write_part(descriptor: int, part: memoryview, offset: int) -> None:
    """Write a whole part; one call writes 2 GiB at the most (pwrite(2))."""
    written = 0
    while written < len(part):
        written += os.pwrite(descriptor, part[written:], offset + written)
