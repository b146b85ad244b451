"""Symbolic links in a store: those that stay inside are followed, as Kubernetes mounts volumes by them; others are not.

A store is often a folder that other people write to: a link out of it would show them files of this machine.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from model_store.errors import CorruptModel


def require_inside(root: Path, paths: Iterable[Path], label: str) -> None:
    """Raise CorruptModel if one of the paths is outside of `root` when all links are followed. `root` may be a link."""
    real_root = Path(os.path.realpath(root))
    for path in paths:
        if not Path(os.path.realpath(path)).is_relative_to(real_root):  # Path.resolve raises for links in a circle
            raise CorruptModel(
                f"{label}: {path.name!r} leads out of the store by a symbolic link; only links inside it are followed"
            )
