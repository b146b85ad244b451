"""Which parts of a video are done: on the disk, so that a conversion that was ended goes on where it was."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.durable import replace_file

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


class Journal:
    """A folder beside the result: segments, and what they were made of."""

    def __init__(self, folder: Path, record: _Record) -> None:
        self.folder = folder
        self._record = record

    @classmethod
    def open(cls, target: Path, made_of: Mapping[str, str]) -> Self:
        """That of a result; begun anew where it was made of something else. Raises OSError."""
        folder, record = target.with_name(f".{target.name}.part"), _Record(made_of=dict(made_of))
        try:
            found = _Record.model_validate_json((folder / JOURNAL).read_bytes())
        except (OSError, ValidationError):
            found = None
        if found is None or found.made_of != record.made_of:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            found = record
        return cls(folder, found)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Those that are complete, in order."""
        return self._record.segments

    @property
    def frames(self) -> int:
        """Of all segments."""
        return sum(segment.frames for segment in self.segments)

    def path(self, number: int) -> Path:
        """The file of a segment."""
        return self.folder / f"{number:06d}.mp4"

    def add(self, segment: Segment) -> None:
        """Note that the file of the next segment is complete. Raises OSError."""
        record = _Record(made_of=self._record.made_of, segments=(*self.segments, segment))
        replace_file(self.folder / JOURNAL, json.dumps(record.model_dump(), indent=1).encode())
        self._record = record

    def remove(self) -> None:
        """Once the result is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
