"""Which images go in, and where their results go."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FORMATS = {
    ".avif": "avif",
    ".gif": "gif",
    ".jfif": "jpeg",
    ".jpe": "jpeg",
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
}
"""Of results, by their extensions."""

SUFFIXES = frozenset({*FORMATS, ".heic", ".heif"})
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
    or would be mixed up with its result, and where no result has the extension of `out`.
    """
    if len(sources) == 1 and sources[0].is_file() and out.suffix and not out.is_dir():
        return [_single(sources[0], out)]
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


def formatted(query: Mapping[str, str], items: Sequence[Item]) -> dict[str, str]:
    """The query for these items: a result whose name is exact has the format that its extension says.

    Raises UsageError where the query asks for another.
    """
    exact = next((item.target for item in items if item.exact), None)
    if exact is None:
        return dict(query)
    format_ = FORMATS[exact.suffix.lower()]
    asked = query.get("format", format_)
    if FORMATS.get(f".{asked.lower()}") != format_:
        raise UsageError(f"{exact} is a {format_} by its name: leave --format={asked} out, or say --format={format_}")
    return {**query, "format": asked}


def _single(source: Path, out: Path) -> Item:
    if out.suffix.lower() not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise UsageError(f"{out} has no extension of a result: {known}; a folder of that name has to be there before")
    if out.exists() and out.samefile(source):
        raise UsageError(f"{out} is the image itself; name another file with -o")
    return Item(source, out, exact=True)


def _images(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Images and their places relative to the folder that was named; results of an earlier run are none of them."""
    if source.is_file():
        return [(source, Path(source.name))]
    if not source.is_dir():
        raise UsageError(f"{source} is neither a file nor a folder")
    files = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    images = [path for path in files if _is_image(path) and not _place(path).is_relative_to(out.resolve())]
    if not images:
        raise UsageError(f"{source} holds no images, by their names: {', '.join(sorted(SUFFIXES))}")
    return [(path, path.relative_to(source)) for path in images]


def _is_image(path: Path) -> bool:
    """Links to nothing are images, too, that fail: who put them there meant some."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _place(path: Path) -> Path:
    """Where the image lies that a path leads to; of a link to nothing, where that is (it may lead to itself)."""
    return path.resolve() if path.exists() else path.parent.resolve() / path.name


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
