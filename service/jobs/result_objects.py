"""Results of jobs outside of Redis: files at a URL that fsspec knows. Its methods block: call them in a thread."""

import posixpath

import fsspec


class ResultObjects:
    """Files below one URL, such as s3://bucket/prefix or file:///shared. Failures are OSError, or the library's own."""

    def __init__(self, url: str) -> None:
        """Raises ValueError or ImportError where there is nothing that speaks with that URL."""
        self._files, self._root = fsspec.url_to_fs(url)

    def path(self, name: str) -> str:
        """Where the object of that name is."""
        return posixpath.join(self._root, name)

    def write(self, path: str, content: bytes) -> None:
        """Write an object."""
        if self._files.protocol in ("file", ("file", "local")):  # object stores have no folders
            self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(path, content)

    def read(self, path: str) -> bytes:
        """The object. Raises FileNotFoundError where it is gone."""
        content: bytes = self._files.cat_file(path)
        return content

    def remove(self, path: str) -> None:
        """Delete an object, if it is there."""
        try:
            self._files.rm_file(path)
        except FileNotFoundError:
            return
