"""Which parts of a video are done: on the disk, so that a conversion that was ended goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.durable import move_file, replace_file
from pastiche.video.errors import VideoError
from pastiche.video.exclusive import exclusive_folder

JOURNAL = "journal.json"


class Segment(BaseModel):
    """A part of the video that is encoded; times in the time base of the video."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int
    start: int
    """The time of its first frame."""
    last_duration: int
    """Of its last frame, 0 where the video does not say."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    made_of: dict[str, str]
    segments: tuple[Segment, ...] = ()
    digests: tuple[str, ...] = ()
    """SHA-256 of the files of the segments."""

    @property
    def frames(self) -> int:
        return sum(segment.frames for segment in self.segments)

    def first(self, count: int) -> Self:
        return self.model_copy(update={"segments": self.segments[:count], "digests": self.digests[:count]})


class Journal:
    """A folder beside the result: segments, and what they were made of."""

    def __init__(self, folder: Path, made_of: Mapping[str, str]) -> None:
        self.folder = folder
        self._record = _Record(made_of=dict(made_of))
        self.lost = ""
        """Which frames an earlier run had done, and why they are done again; empty where there are none."""
        self._go_on()

    @classmethod
    @contextmanager
    def open(cls, target: Path, made_of: Mapping[str, str]) -> Iterator[Self]:
        """That of a result, which nobody else has for the length of the block.

        It is begun anew where it was made of something else, and from the first file on that is not as it was
        written. What an earlier run had done remains until the first segment is added. Without segments, nothing
        remains. Raises VideoError where another conversion into the result is under way, and OSError.
        """
        folder = target.with_name(f".{target.name}.part")
        try:
            with exclusive_folder(folder):
                journal = cls(folder, made_of)
                try:
                    yield journal
                finally:
                    journal.new_path.unlink(missing_ok=True)
                    if not (folder / JOURNAL).exists():
                        journal.remove()
        except BlockingIOError as error:
            advice = "wait for it, or name another file"
            raise VideoError(f"a conversion into {target} is under way; {advice}") from error

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Those that are complete, in order."""
        return self._record.segments

    @property
    def frames(self) -> int:
        """Of all segments."""
        return self._record.frames

    def path(self, number: int) -> Path:
        """The file of a segment."""
        return self.folder / f"{number:06d}.mp4"

    @property
    def new_path(self) -> Path:
        """Where the next segment is written."""
        return self.folder / "new.mp4"

    def add(self, segment: Segment) -> None:
        """Note that the file at `new_path` is complete: the next segment. Raises OSError."""
        path, digest = self.path(len(self.segments)), _digest(self.new_path)
        assert digest is not None
        move_file(self.new_path, path)
        update = {"segments": (*self.segments, segment), "digests": (*self._record.digests, digest)}
        record = self._record.model_copy(update=update)
        replace_file(self.folder / JOURNAL, json.dumps(record.model_dump(), indent=1).encode())
        self._record = record

    def remove(self) -> None:
        """Once the result is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _go_on(self) -> None:
        """Take over what an earlier run has done."""
        try:
            found = _Record.model_validate_json((self.folder / JOURNAL).read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValidationError):
            self.lost = f"{self.folder / JOURNAL} cannot be read; what was done before is done again"
            return
        changed = [what for what, value in self._record.made_of.items() if found.made_of.get(what) != value]
        if changed:
            self.lost = f"{found.frames} frames that were done before are done anew: of another {', '.join(changed)}"
            return
        self._record = found.first(self._count_intact(found))
        if self.frames < found.frames:
            damaged = self.path(len(self.segments))
            self.lost = f"{found.frames - self.frames} frames are done again: {damaged} is missing or damaged"

    def _count_intact(self, record: _Record) -> int:
        files = enumerate(record.digests)
        return len(list(takewhile(lambda file: _digest(self.path(file[0])) == file[1], files)))


def _digest(path: Path) -> str | None:
    """None for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
