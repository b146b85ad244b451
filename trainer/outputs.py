"""What a command is to write, tried before its work begins."""

from collections.abc import Callable
from pathlib import Path

from model_store.durable import try_writing, try_writing_file
from model_store.error_messages import reason_of
from trainer.errors import TrainerError


def require_folder(option: str, folder: Path) -> None:
    """Raise TrainerError where nothing can be written into the folder of an option. Leaves no trace."""
    _require(option, folder, try_writing)


def require_file(option: str, path: Path) -> None:
    """Raise TrainerError where the file of an option cannot be written. Leaves no trace, and a file as it is."""
    _require(option, path, try_writing_file)


def _require(option: str, path: Path, attempt: Callable[[Path], None]) -> None:
    try:
        attempt(path)
    except OSError as error:
        raise TrainerError(f"{option} {path} cannot be written: {reason_of(error)}") from error
