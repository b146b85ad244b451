"""The folder of a run: config.json, state.pt, metrics.jsonl, previews, and the lock of who writes them."""

import fcntl
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from model_store.durable import replace_file
from trainer.config import DESCRIPTIVE_OPTIONS, PATH_OPTIONS, RESUMABLE_OPTIONS
from trainer.errors import RunError

State = dict[str, Any]


class Run:
    """The files of one run under `folder`. A crash never leaves a half-written state."""

    def __init__(self, folder: Path, *, option: str = "--run") -> None:
        """`option`: which named the folder, or one above it."""
        self.folder = folder
        self._option = option
        self.state_file = folder / "state.pt"
        self.config_file = folder / "config.json"
        self.metrics_file = folder / "metrics.jsonl"
        self.published_file = folder / "published.json"
        self._lock_file = folder / "lock"
        self._locked = False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """For the length of the block nobody else writes the run, also no other process. May be nested.

        Raises RunError where somebody does.
        """
        if self._locked:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock_file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the file is closed, or this process ends
            except BlockingIOError as error:
                advice = f"use another {self._option}, or wait for it"
                raise RunError(f"a run in {self.folder} is under way; {advice}") from error
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def check(self, config: BaseModel, *, resume: bool) -> None:
        """Raise RunError as `begin` does for what the folder shows by itself, before images and networks are read."""
        if resume:
            self._require_same(config)
            self._require_state()
        elif self.state_file.exists():
            advice = f"pass --resume to go on with it, or another {self._option}"
            raise RunError(f"{self.folder} holds a run already; {advice}")

    def begin(self, config: BaseModel, fingerprint: str, *, resume: bool) -> State | None:
        """Create the folder and write config.json; returns the saved state with `resume`, else None.

        `fingerprint` identifies the images, the loss network and the teacher. Raises RunError without `resume` where
        there is a state already, and with it where there is none, or one of another fingerprint or other options.
        """
        self.check(config, resume=resume)
        state = self._resumed(fingerprint) if resume else None
        self.folder.mkdir(parents=True, exist_ok=True)
        if state is None:
            self.published_file.unlink(missing_ok=True)  # of an earlier run in this folder
        replace_file(self.config_file, config.model_dump_json(indent=2).encode())
        self._keep_metrics_until(state["step"] if state else -1)
        return state

    def save(self, state: State) -> None:
        """Replace the saved state atomically."""
        content = io.BytesIO()
        torch.save(state, content)
        replace_file(self.state_file, content.getbuffer())

    def load(self) -> State:
        """The saved state, on the CPU; no pickled code is executed. Raises RunError where there is none."""
        self._require_state()
        state: State = torch.load(self.state_file, map_location="cpu", weights_only=True)
        return state

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a JSON line with `step` and the values to metrics.jsonl."""
        with self.metrics_file.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def note_published(self, step: int, label: str) -> None:
        """Remember that the state of a step was published as name@version."""
        replace_file(self.published_file, json.dumps({"step": step, "label": label}).encode())

    def published_as(self, step: int) -> str:
        """The name@version under which the state of a step was published last; empty where it was not."""
        if not self.published_file.exists():
            return ""
        noted = json.loads(self.published_file.read_text())
        return str(noted["label"]) if noted["step"] == step else ""

    def preview(self, step: int, picture: Tensor) -> Path:
        """Write a picture, float RGB (3, H, W) in [0, 1], as preview-<step>.png; returns its path."""
        path = self.preview_file(step)
        replace_file(path, png(picture))
        return path

    def preview_file(self, step: int) -> Path:
        """The file of the preview of a step."""
        return self.folder / f"preview-{step:06d}.png"

    def previews(self) -> list[int]:
        """The steps of which there are previews, ascending."""
        names = (re.fullmatch(r"preview-(\d{6,})\.png", path.name) for path in self.folder.glob("preview-*.png"))
        return sorted(int(name[1]) for name in names if name)

    def metrics(self, begin: int, most: int) -> tuple[list[bytes], int]:
        """The whole lines of metrics.jsonl in the `most` bytes from `begin` on, and the byte after the last of them."""
        if not self.metrics_file.exists():
            return [], begin
        with self.metrics_file.open("rb") as file:
            file.seek(begin)
            whole, newline, _ = file.read(most).rpartition(b"\n")
        return whole.splitlines(), begin + len(whole) + len(newline)

    def _require_state(self) -> None:
        if not self.state_file.exists():
            raise RunError(f"{self.folder} holds no state to go on with; start without --resume")

    def _resumed(self, fingerprint: str) -> State:
        state = self.load()
        if state["fingerprint"] != fingerprint:
            other = "was begun with other images, another loss network or another teacher"
            raise RunError(f"{self.folder} {other}; resume it with the same, or use another {self._option}")
        return state

    def _require_same(self, config: BaseModel) -> None:
        if not self.config_file.exists():
            raise RunError(f"{self.folder} holds no run to go on with; start without --resume")
        # options that did not exist when the run was begun get their defaults
        begun = type(config).model_validate_json(self.config_file.read_text())
        before, now = (options.model_dump(mode="json") for options in (begun, config))
        may_differ = {*RESUMABLE_OPTIONS, *PATH_OPTIONS, *DESCRIPTIVE_OPTIONS}
        changed = [key for key in now if key not in may_differ and now[key] != before[key]]
        if changed:
            changes = ", ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
            raise RunError(f"{self.folder} was begun with other options: {changes}")

    def _keep_metrics_until(self, step: int) -> None:
        """Remove the lines after `step`, and an incomplete last line: the steps after the saved state are repeated."""
        lines = self.metrics_file.read_text().splitlines(keepends=True) if self.metrics_file.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        replace_file(self.metrics_file, "".join(kept).encode())


def png(picture: Tensor) -> bytes:
    """A picture, float RGB (3, H, W), as a PNG file; values are limited to [0, 1]."""
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", optimize=True)
    return file.getvalue()
