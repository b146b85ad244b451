"""Results of jobs outside of Redis: files at a URL that fsspec knows. Its methods block: call them in a thread."""

from model_store.remote.object_storage import ObjectStorage, TransferPolicy

POLICY = TransferPolicy(attempts=3, seconds=10.0)
"""A client waits for a result."""


class ResultObjects:
    """Files below one URL, such as s3://bucket/prefix or file:///shared. Raises StoreAway where it does not answer."""

    def __init__(self, url: str, policy: TransferPolicy = POLICY) -> None:
        """Raises StoreError where nothing speaks with that URL, or the extra for it is missing."""
        self._files = ObjectStorage(url, policy)

    def write(self, name: str, content: bytes) -> None:
        """Write an object; again changes nothing."""
        self._files.put(name, content)

    def read(self, name: str, size: int = 0) -> bytes:
        """The object, of at least `size` bytes. Raises FileNotFoundError where it is gone."""
        return self._files.read(name, size)

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""
        self._files.discard(name)
