"""Finds the images of a command and the files of their results."""

import errno
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from client.formats import FORMATS, extension

SUFFIXES = frozenset({*FORMATS, ".bmp", ".dib", ".heic", ".heif", ".hif", ".jxl"})
"""Extensions of the images in a folder. A file named on the command line may have any other."""


class UsageError(Exception):
    """The command line is invalid; the message says what is accepted."""


class ResultExists(Exception):
    """The result of an image is there already, and is not to be overwritten."""


@dataclass(frozen=True)
class Item:
    """One image and the path of its result, whose extension follows from the format of the answer."""

    source: Path
    target: Path
    exact: bool = False
    """Whether `target` includes the extension."""

    def result_path(self, media_type: str) -> Path:
        """The path of a result of this type."""
        if self.exact:
            return self.target
        return self.target.with_name(self.target.name + extension(media_type))

    def existing_result(self) -> Path | None:
        """The result of an earlier run in any format, None without one."""
        if self.exact:
            return self.target if _is_result(self.target) else None
        candidates = (_add_suffix(self.target, suffix) for suffix in sorted(SUFFIXES))
        return next(filter(_is_result, candidates), None)

    def require_folder(self) -> None:
        """Raise OSError where the result would have no folder: a part of its path is a file, or may not be written."""
        nearest = next(parent for parent in self.target.parents if os.path.lexists(parent))
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a folder is wanted for the result", str(nearest))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "the result cannot be written into", str(nearest))

    def write(self, content: bytes, media_type: str, *, overwrite: bool) -> Path:
        """Write the result atomically and return its path.

        Raises OSError where it cannot be written, ResultExists where it exists and `overwrite` is false.
        """
        path = self.result_path(media_type)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            temporary.chmod(0o666 & ~_umask())
            _move_into_place(temporary, path, overwrite=overwrite)
        finally:
            temporary.unlink(missing_ok=True)
        return path


def plan(sources: Sequence[Path], out: Path) -> list[Item]:
    """One item for each image: every file of `sources`, and all images in its folders, at any depth.

    A single file becomes the file `out` if that has an extension and is no folder. Otherwise results go below the
    folder `out` with the same names and subfolders. Raises UsageError if a source is missing or has no images, if
    results would lie among their images, and if `out` has an extension that no result has.
    """
    _require_there(sources)
    if len(sources) == 1 and sources[0].is_file() and out.suffix and not out.is_dir():
        return [_plan_single(sources[0], out)]
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; several results need a folder")
    for source in sources:
        if source.is_dir() and source.resolve() == out.resolve():
            raise UsageError(f"results would lie among their images in {source}; name another folder with -o")
    found = [pair for source in sources for pair in _find_images(source, out)]
    for path, relative in found:
        if (out / relative.parent).resolve() == path.parent.resolve():
            raise UsageError(f"results would lie among their images in {path.parent}; name another folder with -o")
    return list(_plan_targets(found, out))


def with_format(query: Mapping[str, str], items: Sequence[Item]) -> dict[str, str]:
    """The query, with the format that the extension of an exact target names.

    Raises UsageError if the query names another format.
    """
    exact = next((item.target for item in items if item.exact), None)
    if exact is None:
        return dict(query)
    format_ = FORMATS[exact.suffix.lower()]
    asked = query.get("format", format_)
    if FORMATS.get(f".{asked.lower()}") != format_:
        raise UsageError(f"{exact} is a {format_} by its name: leave --format={asked} out, or say --format={format_}")
    return {**query, "format": asked}


def names_in(folder: Path, suffixes: Collection[str]) -> Iterator[str]:
    """Of what lies in a folder itself and has one of these extensions; none where it cannot be listed."""
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if Path(entry.name).suffix.lower() in suffixes)


def _plan_single(source: Path, out: Path) -> Item:
    if out.suffix.lower() not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise UsageError(f"{out} has no extension of a result: {known}; a folder of that name has to be there before")
    if out.exists() and out.samefile(source):
        raise UsageError(f"{out} is the image itself; name another file with -o")
    return Item(source, out, exact=True)


def _require_there(sources: Sequence[Path]) -> None:
    for source in sources:
        if not (source.is_file() or source.is_dir()):
            raise UsageError(f"{source} is neither a file nor a folder")


def _find_images(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """The images of a source with their paths relative to it, without anything below `out`.

    A folder below it that cannot be looked into stands for its images, all of which fail.
    """
    if source.is_file():
        return [(source, Path(source.name))]
    closed: list[OSError] = []
    images = [path for path in _files_below(source, closed.append) if _is_image(path)]
    closed_folders = {Path(error.filename): error for error in closed}
    if source in closed_folders:
        raise UsageError(f"{source} cannot be read: {closed_folders[source].strerror}")
    found = [path for path in [*images, *closed_folders] if not _resolve_link(path).is_relative_to(out.resolve())]
    if not found:
        raise UsageError(f"{source} holds no images, by their names: {', '.join(sorted(SUFFIXES))}")
    return [(path, path.relative_to(source)) for path in sorted(found)]


def _files_below(folder: Path, note: Callable[[OSError], None]) -> Iterator[Path]:
    """All files in a folder, at any depth. `note`: called for each folder that cannot be looked into."""
    for parent, _, names in os.walk(folder, onerror=note):
        yield from (Path(parent, name) for name in names)


def _is_image(path: Path) -> bool:
    """Whether it is a file or a broken link, by its name an image that is not hidden.

    A broken link is reported as a failed image instead of being ignored.
    """
    if path.suffix.lower() not in SUFFIXES or path.name[0] == ".":
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def _resolve_link(path: Path) -> Path:
    """The target of a link; for a broken link, which may point to itself, the link."""
    return path.resolve() if path.exists() else path.parent.resolve() / path.name


def _plan_targets(found: Iterable[tuple[Path, Path]], out: Path) -> Iterator[Item]:
    """Targets by the names of the images: a.jpg and a.png become a.jpg.… and a.png.…, so that they do not collide.

    That also where only one of them is to be done, as the other may be done later. Raises UsageError if two images
    have the same name with extension.
    """
    unique = dict.fromkeys(found)
    folders = {(path.parent, relative.parent) for path, relative in unique}
    beside = {below / name for folder, below in folders for name in names_in(folder, SUFFIXES)}
    stems = Counter(relative.with_suffix("") for relative in beside | {relative for _, relative in unique})
    names = Counter(relative for _, relative in unique)
    for path, relative in unique:
        if names[relative] > 1:
            raise UsageError(f"several images would become {out / relative}; do them one after the other")
        yield Item(path, out / (relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix("")))


def _add_suffix(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _move_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if _is_result(path):
            raise ResultExists(path) from None
        if isinstance(error, FileExistsError):  # a folder, or a broken link
            raise
        temporary.replace(path)  # a file system without hard links


def _is_result(path: Path) -> bool:
    return path.exists() and not path.is_dir()


def _umask() -> int:
    """The umask of the process, which can only be read by setting it."""
    os.umask(current := os.umask(0o022))
    return current
