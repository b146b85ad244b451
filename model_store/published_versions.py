"""Which versions a folder of models has, by the names in it alone: without torch, which takes seconds to import."""

import re
from pathlib import Path

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"

NAME_IN_WORDS = "up to 64 small letters, digits, '.', '_' and '-', the first of them a letter or a digit"


def valid_name(name: str) -> bool:
    """Whether a network may have this name, which becomes a folder and part of a URL."""
    return re.fullmatch(NAME_PATTERN, name) is not None


def published_names(root: Path) -> list[str]:
    """All models with at least one version, sorted; empty if `root` does not exist.

    A folder that cannot be looked into is one of them. Raises OSError where that is `root`.
    """
    if not root.is_dir():
        return []
    return sorted(folder.name for folder in root.iterdir() if _may_have_versions(root, folder.name))


def published_versions(root: Path, name: str) -> list[int]:
    """The published versions of a model, ascending; empty for an unknown name. An empty folder is none.

    Raises OSError for a folder that cannot be looked into.
    """
    folder = root / name
    if not valid_name(name) or not folder.is_dir():
        return []
    numbered = (entry for entry in folder.iterdir() if re.fullmatch(r"[1-9][0-9]*", entry.name))
    return sorted(int(entry.name) for entry in numbered if entry.is_dir() and not _is_empty(entry))


def _may_have_versions(root: Path, name: str) -> bool:
    """Whether there are some, or the folder cannot be looked into."""
    try:
        return bool(published_versions(root, name))
    except OSError as error:
        return not isinstance(error, FileNotFoundError)  # it was just deleted


def _is_empty(folder: Path) -> bool:
    """Whether nothing is in it, as after a copy that was interrupted. A folder that cannot be looked into has files."""
    try:
        return not any(folder.iterdir())
    except OSError as error:
        return isinstance(error, FileNotFoundError)  # it was just deleted
