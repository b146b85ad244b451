"""Files at a URL by fsspec: with retries and deadlines, and writes that never overwrite another's."""

import importlib
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from model_store.durable import try_writing
from model_store.errors import MissingExtra, StoreAway, StoreError
from model_store.remote.conditional_writes import StoredFile, find_write, write_folder

Result = TypeVar("Result")

_EXTRAS = {
    **dict.fromkeys(("s3", "s3a", "http", "https", "file", "local"), "stores"),
    **dict.fromkeys(("gs", "gcs"), "stores-gs"),
    "hf": "stores-hf",
}
"""The extra that has the library of a scheme; fsspec names those of further ones."""

_LONGEST_MESSAGE = 300
"""Characters of a library's message in ours."""


@dataclass(frozen=True)
class TransferPolicy:
    """How long a transfer may take, and how often it is tried."""

    attempts: int = 4
    first_pause: float = 0.2
    """Seconds before the second attempt; each further pause is twice as long, less a random part of up to a half."""
    seconds: float = 20.0
    """For one attempt, beside the time that its bytes take."""
    bytes_per_second: float = 65536.0
    """The slowest pace of a file."""


@dataclass(frozen=True)
class ListedFile:
    """A file below the URL."""

    path: str
    """Relative to the URL."""
    size: int
    """In bytes."""
    modified: float
    """When it was written, in seconds since 1970 by the clock of the storage."""


class ObjectStorage:
    """The files below a URL, by their paths relative to it."""

    def __init__(self, url: str, policy: TransferPolicy | None = None) -> None:
        """Raises MissingExtra where the library of the scheme is not installed, StoreError for an unknown scheme,
        StoreAway where it cannot be opened."""
        self.url = url
        self._policy = policy or TransferPolicy()
        self._filesystem, root = _open_filesystem(url)
        self._root = root.rstrip("/")

    def etag(self, path: str, attempts: int | None = None) -> str | None:
        """The entity tag of a file, None where the file system has none. Raises FileNotFoundError, StoreAway."""
        info = self._try(partial(self._look_once, path), path, attempts)
        tag = info.get("ETag") or info.get("etag") or info.get("generation")
        return str(tag) if tag else None

    def read(self, path: str, size: int = 0, attempts: int | None = None) -> bytes:
        """The content of a file, of at least `size` bytes. Raises FileNotFoundError, StoreAway."""
        return self._try(partial(self._read_once, path, size), path, attempts)

    def write(self, path: str, content: bytes, old: StoredFile | None) -> None:
        """Write a file that still is what was read, None where there was none. Raises WriteConflict where it is not.

        Tried once: where its answer is lost, nobody knows whether it took place. Raises ReadOnlyStore, StoreAway.
        """
        write = find_write(self.url)
        run = partial(self._run, seconds=self._seconds(len(content)))
        self._try(lambda: write(self._at(path), content, old, run), path, 1)

    def put(self, path: str, content: bytes) -> None:
        """Write a file whatever is there, for paths that nobody else writes. Raises StoreAway."""
        try:
            self._try(partial(self._put_once, path, content), path, None)
        except FileNotFoundError as error:
            raise StoreAway(f"the store {self.url} has no bucket: {_describe(error)}") from error

    def files(self) -> list[ListedFile]:
        """All files. Raises StoreAway."""
        found: Mapping[str, Mapping[str, Any]] = self._try(self._list_once, "a list of its files", None)
        return [
            ListedFile(path.removeprefix(self._root).lstrip("/"), int(info["size"]), _modified(info))
            for path, info in sorted(found.items())
            if info["type"] != "directory"  # as s3fs says of the URL where the first file has just come
        ]

    def delete(self, file: ListedFile) -> bool:
        """Delete a file, if it is there, and has not been written since it was listed; returns whether that was so.

        So of two that delete the same files, the slower one spares what a publisher has put in their place. Raises
        ReadOnlyStore, StoreAway.
        """
        self.require_writable()
        with suppress(FileNotFoundError):
            info = self._try(partial(self._look_once, file.path), file.path, None)
            if int(_modified(info)) <= int(file.modified):  # some say it in whole seconds
                self.discard(file.path)
                return True
        return False

    def discard(self, path: str) -> None:
        """Delete a file that nobody else writes, if it is there. Raises StoreAway."""
        self._try(partial(self._delete_once, path), path, None)

    def require_writable(self) -> None:
        """Raise ReadOnlyStore where files cannot be written safely."""
        find_write(self.url)

    def try_writing(self, path: str) -> None:
        """Raise OSError where files below a path of a local folder cannot be written; elsewhere a trial would stay."""
        if find_write(self.url) is write_folder:
            try_writing(Path(self._at(path)))

    def _look_once(self, path: str) -> dict[str, Any]:
        self._filesystem.invalidate_cache()
        found: dict[str, Any] = self._run("info", self._at(path))
        return found

    def _read_once(self, path: str, size: int) -> bytes:
        content = bytes(self._run("cat_file", self._at(path), seconds=self._seconds(size)))
        if len(content) < size:
            raise OSError(f"truncated: {len(content)} of {size} bytes")
        return content

    def _put_once(self, path: str, content: bytes) -> None:
        if "file" in self._filesystem.protocol:  # object storages have no folders
            self._filesystem.makedirs(self._root, exist_ok=True)
        self._run("pipe_file", self._at(path), content, seconds=self._seconds(len(content)))

    def _list_once(self) -> Mapping[str, Mapping[str, Any]]:
        self._filesystem.invalidate_cache()
        found: Mapping[str, Mapping[str, Any]] = self._run("find", self._root, detail=True)
        return found

    def _delete_once(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._run("rm_file", self._at(path))

    def _seconds(self, size: int) -> float:
        return self._policy.seconds + size / self._policy.bytes_per_second

    def _run(self, method: str, *arguments: Any, seconds: float | None = None, **options: Any) -> Any:
        """Call a method of the file system; with a deadline where it runs in fsspec's event loop."""
        coroutine = getattr(self._filesystem, f"_{method}") if self._filesystem.async_impl else None
        if coroutine is None:
            return getattr(self._filesystem, method)(*arguments, **options)
        timeout = seconds or self._policy.seconds
        sync = importlib.import_module("fsspec.asyn").sync
        return sync(self._filesystem.loop, coroutine, *arguments, timeout=timeout, **options)

    def _try(self, action: Callable[[], Result], path: str, attempts: int | None) -> Result:
        """Whatever a library raises, but for a file that is not there, is a reason to try again."""
        remaining = attempts or self._policy.attempts
        pause = self._policy.first_pause
        while True:
            remaining -= 1
            try:
                return action()
            except StoreError:
                raise
            except Exception as error:
                reason = _real_reason(error)
                if isinstance(reason, FileNotFoundError):
                    raise
                if not remaining:
                    raise StoreAway(f"the store {self.url} does not answer for {path}: {_describe(reason)}") from error
            time.sleep(pause * random.uniform(0.5, 1))
            pause *= 2

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


def _open_filesystem(url: str) -> tuple[Any, str]:
    """The file system of fsspec and the path in it. Its listings are not kept: a store changes."""
    try:
        core = importlib.import_module("fsspec.core")
        filesystem, path = core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise MissingExtra(_missing_library(url, error)) from error
    except ValueError as error:
        raise StoreError(f"{url} is no store: {error}") from error
    except Exception as error:  # some libraries connect already here
        raise StoreAway(f"the store {url} cannot be opened: {_describe(error)}") from error
    return filesystem, str(path)


def _missing_library(url: str, error: ImportError) -> str:
    scheme = url.partition("://")[0].lower()
    extra = _EXTRAS.get(scheme, "stores" if str(error.name).startswith("fsspec") else None)
    if extra is None:
        return f"a store at {scheme}:// needs a library: {error}"
    return f"a store at {scheme}:// needs the extra {extra}: pip install 'pastiche[{extra}]'"


def _modified(info: Mapping[str, Any]) -> float:
    """As S3 or a local folder says it."""
    when: datetime | float = info["LastModified"] if "LastModified" in info else info["mtime"]
    return when.timestamp() if isinstance(when, datetime) else when


def _real_reason(error: Exception) -> BaseException:
    """Why there is no answer: to fsspec's HTTP a file is not found, too, where its server is not, or refuses it.

    Other file systems say so of missing files alone, whatever their cause.
    """
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or cause is None:
        return error
    is_of_http = type(cause).__module__.startswith("aiohttp.") or isinstance(cause, TimeoutError)
    is_missing = getattr(cause, "status", None) in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
    return cause if is_of_http and not is_missing else error


def _describe(error: BaseException) -> str:
    told = " ".join(str(error).split())
    text = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return text[:_LONGEST_MESSAGE]
