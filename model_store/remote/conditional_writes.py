"""Writes that fail where another publisher was first: by a precondition of the object storage, or under a lock.

S3: `If-None-Match: *` and `If-Match` of PutObject (RFC 9110 §13.1). fsspec has no such writes for other schemes.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model_store.durable import made_folder, replace_file
from model_store.errors import ReadOnlyStore, WriteConflict

_PRECONDITIONS = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
"""Codes of S3's errors where a precondition did not hold, or another write was in flight."""

_memory_lock = threading.Lock()


class Run(Protocol):
    """Calls a method of the file system by its name."""

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What the method returns."""


@dataclass(frozen=True)
class StoredFile:
    """A file as it was read."""

    content: bytes
    etag: str | None


Write = Callable[[str, bytes, StoredFile | None, Run], None]
"""Writes a file, at a path of the file system, that is still what was read: None where there was no file.

Raises WriteConflict where it is not.
"""


def find_write(url: str) -> Write:
    """How files are written at a URL. Raises ReadOnlyStore where that is not safe."""
    scheme = url.partition("://")[0].lower()
    known = {"s3": write_s3, "s3a": write_s3, "memory": write_memory, "file": write_folder, "local": write_folder}
    if scheme not in known:
        raise ReadOnlyStore(
            f"a store at {scheme}:// can only be read: fsspec has no conditional writes there, and two publishers "
            "could undo each other's work; publish to s3:// or to a folder, and copy what "
            "`pastiche-models mirror file:///…` makes of it"
        )
    return known[scheme]


def write_s3(at: str, content: bytes, old: StoredFile | None, run: Run) -> None:
    """PutObject with a precondition. See Write."""
    if old is not None and old.etag is None:
        raise ReadOnlyStore(f"{at} has no ETag, so that it cannot be replaced safely")
    precondition = {"IfNoneMatch": "*"} if old is None else {"IfMatch": old.etag}
    bucket, _, key = at.partition("/")
    try:
        run("call_s3", "put_object", Bucket=bucket, Key=key, Body=content, **precondition)
    except OSError as error:
        if _s3_code(error) in _PRECONDITIONS:
            raise WriteConflict(f"another publisher has written {key} in the bucket {bucket}") from error
        raise


def write_memory(at: str, content: bytes, old: StoredFile | None, run: Run) -> None:
    """Under a lock of this process. See Write."""
    with _memory_lock:
        _require_unchanged(at, old, run)
        run("pipe_file", at, content)


def write_folder(at: str, content: bytes, old: StoredFile | None, run: Run) -> None:
    """Under a lock of the file's folder, for all processes of the machine. See Write."""
    path = Path(at)
    with made_folder(path.parent), _locked(path.parent):
        _require_unchanged(at, old, run)
        replace_file(path, content)


def _require_unchanged(at: str, old: StoredFile | None, run: Run) -> None:
    found = run("cat_file", at) if run("exists", at) else None
    if found != (old and old.content):
        raise WriteConflict(f"another publisher has written {at}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _s3_code(error: BaseException | None) -> str:
    """The code of the answer behind an error of s3fs."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
        error = error.__cause__
    return ""
