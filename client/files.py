"""Which images go in, and where their results go."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset(
    {".avif", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".jpe", ".jfif"}
)
"""Of the files that are taken from a folder. What is named on the command line is taken whatever its name."""

EXTENSIONS = {"image/jpeg": ".jpg", "image/tiff": ".tif"}
"""Of results; otherwise the media type's own name."""


class UsageError(Exception):
    """The command line asks for what cannot be done; the message says what could."""


@dataclass(frozen=True)
class Item:
    """One image, and its result but for the extension, which depends on the format of the answer."""

    source: Path
    target: Path
    exact: bool = False
    """Whether the target is the name of the result as it is."""

    def result(self, media_type: str) -> Path:
        """The file for a result of that type."""
        if self.exact:
            return self.target
        extension = EXTENSIONS.get(media_type, f".{media_type.rpartition('/')[2]}")
        return self.target.with_name(self.target.name + extension)

    def done(self) -> Path | None:
        """The result of an earlier run, in whatever format."""
        if self.exact:
            return self.target if self.target.exists() else None
        return next((found for suffix in sorted(SUFFIXES) if (found := _with(self.target, suffix)).exists()), None)

    def write(self, content: bytes, media_type: str, *, overwrite: bool) -> Path:
        """Put the result in its place, whole or not at all; raises FileExistsError rather than overwrite."""
        path = self.result(media_type)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            temporary.chmod(0o666 & ~_umask())
            _move(temporary, path, overwrite=overwrite)
        finally:
            temporary.unlink(missing_ok=True)
        return path


def plan(sources: Sequence[Path], out: Path) -> list[Item]:
    """What is to be done: one item for each image among files and, at any depth, in folders.

    One file becomes the file `out`, where that has an extension and is no folder; everything else goes below the
    folder `out` under its own name, as in its folder. Raises UsageError where a source is not there, holds no images,
    or would be mixed up with its result.
    """
    if len(sources) == 1 and sources[0].is_file() and out.suffix.lower() in SUFFIXES and not out.is_dir():
        return [Item(sources[0], out, exact=True)]
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; several results need a folder")
    for source in sources:
        if source.is_dir() and source.resolve() == out.resolve():
            raise UsageError(f"results would lie among their images in {source}; name another folder with -o")
    found = [pair for source in sources for pair in _images(source, out)]
    for path, relative in found:
        if (out / relative.parent).resolve() == path.parent.resolve():
            raise UsageError(f"results would lie among their images in {path.parent}; name another folder with -o")
    return list(_named(found, out))


def _images(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Images and their places relative to the folder that was named; results of an earlier run are none of them."""
    if source.is_file():
        return [(source, Path(source.name))]
    if not source.is_dir():
        raise UsageError(f"{source} is neither a file nor a folder")
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    images = [
        path for path in files if not path.name.startswith(".") and not path.resolve().is_relative_to(out.resolve())
    ]
    if not images:
        raise UsageError(f"{source} holds no images, by their names: {', '.join(sorted(SUFFIXES))}")
    return [(path, path.relative_to(source)) for path in images]


def _named(found: Iterable[tuple[Path, Path]], out: Path) -> Iterator[Item]:
    """a.jpg and a.png become a.jpg.… and a.png.…, lest they meet; two of the very same name cannot be told apart."""
    unique = dict.fromkeys(found)
    stems = Counter(relative.with_suffix("") for _, relative in unique)
    names = Counter(relative for _, relative in unique)
    for path, relative in unique:
        if names[relative] > 1:
            raise UsageError(f"several images would become {out / relative}; do them one after the other")
        yield Item(path, out / (relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix("")))


def _with(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _move(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        temporary.replace(path)


def _umask() -> int:
    """What new files may not have; it can only be read by setting it."""
    os.umask(current := os.umask(0o022))
    return current
