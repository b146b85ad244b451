"""The folder of a run: config.json, state.pt, metrics.jsonl, previews, and the lock of who writes them."""

import fcntl
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from PIL import Image
from pydantic import BaseModel, ValidationError
from torch import Tensor

from model_store.durable import replace_file, try_writing
from model_store.error_messages import reason_of
from trainer.config import DESCRIPTIVE_OPTIONS, PATH_OPTIONS, RESUMABLE_OPTIONS
from trainer.errors import RunError

State = dict[str, Any]
Config = TypeVar("Config", bound=BaseModel)

GOING_ON = "; the same command with --resume goes on from the saved state"
"""Ends the message of an error that happens where there is one."""

_BACKUP = "put it back from a copy, or begin another run"


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
            self._require_state("a run that is started without --resume saves one every --save-every steps")
        elif self.state_file.exists():
            advice = f"pass --resume to go on with it, or another {self._option}"
            raise RunError(f"{self.folder} holds a run already; {advice}")

    def require_writable(self) -> None:
        """Raise RunError where the folder cannot be written, before images and networks are read. Leaves no trace."""
        try:
            try_writing(self.folder)
        except OSError as error:
            raise RunError(f"{self._option} {self.folder} cannot be written: {reason_of(error)}") from error

    def begin(self, config: BaseModel, fingerprint: str, *, resume: bool) -> State | None:
        """Create the folder and write config.json; returns the saved state with `resume`, else None.

        `fingerprint` identifies the images, the loss network and the teacher. Raises RunError without `resume` where
        there is a state already, and with it where there is none, or one of more steps, another fingerprint or other
        options.
        """
        self.check(config, resume=resume)
        state = self._resumed(fingerprint) if resume else None
        if state and state["step"] > getattr(config, "steps", math.inf):
            raise RunError(f"{self.folder} has done {state['step']} steps already; --steps is that or more")
        self.folder.mkdir(parents=True, exist_ok=True)
        if state is None:
            self.published_file.unlink(missing_ok=True)  # of an earlier run in this folder
        self._write(self.config_file, config.model_dump_json(indent=2).encode())
        self._keep_metrics_until(state["step"] if state else -1)
        return state

    def save(self, state: State) -> None:
        """Replace the saved state atomically. Raises RunError, as all that write, where that is impossible."""
        content = io.BytesIO()
        torch.save(state, content)
        self._write(self.state_file, content.getvalue())

    def load(self) -> State:
        """The saved state, on the CPU; no pickled code is executed. Raises RunError where there is no whole one."""
        self._require_state("its training saves one after some steps, and when it is stopped")
        try:
            state: Any = torch.load(self.state_file, map_location="cpu", weights_only=True)
        except Exception as error:  # of zipfile, pickle or torch, by where the file is damaged
            reason = str(error).partition("\n")[0] or "it ends too early"
            raise RunError(f"{self.state_file} cannot be read: {reason}; {_BACKUP}") from error
        if not isinstance(state, dict) or not {"step", "fingerprint"} <= state.keys():
            raise RunError(f"{self.state_file} is no state of a run; {_BACKUP}")
        return dict(state)

    def options(self) -> dict[str, Any]:
        """What config.json says. Raises RunError where there is none, or no whole one."""
        try:
            options = json.loads(self.config_file.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(f"{self.folder} holds no run; --run takes the folder of one, such as runs/wave") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config_file} cannot be read: {reason_of(error)}; {_BACKUP}") from error
        if not isinstance(options, dict):
            raise RunError(f"{self.config_file} holds no options of a run; {_BACKUP}")
        return options

    def config(self, config_type: type[Config]) -> Config:
        """The options with which the run was begun; those that did not exist then get their defaults.

        Raises RunError as `options`, and where they are none of that type.
        """
        try:
            return config_type.model_validate_json(json.dumps(self.options()))
        except ValidationError as error:
            fault = error.errors()[0]
            named = ".".join(map(str, fault["loc"]))
            raise RunError(
                f"{self.config_file} does not hold the options of such a run: {named}: {fault['msg']}"
            ) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a JSON line with `step` and the values to metrics.jsonl."""
        with self._writing(self.metrics_file), self.metrics_file.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def note_published(self, step: int, label: str, store: str) -> None:
        """Remember that the state of a step was published as name@version, and where."""
        self._write(self.published_file, json.dumps({"step": step, "label": label, "store": store}).encode())

    def published_as(self, step: int, store: str) -> str:
        """The name@version under which the state of a step was published last; empty where it was not, in that store.

        A note of an earlier version does not say where; it counts for any store.
        """
        if not self.published_file.exists():
            return ""
        noted = _parse_line(self.published_file.read_bytes())
        same = noted.get("step") == step and noted.get("store", store) == store
        return str(noted["label"]) if same and "label" in noted else ""

    def preview(self, step: int, picture: Tensor) -> Path:
        """Write a picture, float RGB (3, H, W) in [0, 1], as preview-<step>.png; returns its path."""
        path = self.preview_file(step)
        self._write(path, png(picture))
        return path

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the run's result."""
        self._write(self.folder / name, content)

    def preview_file(self, step: int) -> Path:
        """The file of the preview of a step."""
        return self.folder / f"preview-{step:06d}.png"

    def previews(self) -> list[int]:
        """The steps of which there are previews, ascending."""
        names = (re.fullmatch(r"preview-(\d{6,})\.png", path.name) for path in self.folder.glob("preview-*.png"))
        return sorted(int(name[1]) for name in names if name)

    def metrics(self, begin: int, most: int) -> tuple[list[bytes], int]:
        """The whole lines of metrics.jsonl in the `most` bytes from `begin` on, and the byte after the last of them.

        Raises RunError where no line begins there, as after a resumption, which shortens the file.
        """
        with self.metrics_file.open("rb") if self.metrics_file.exists() else io.BytesIO() as file:
            if not _is_at_line(file, begin):
                raise RunError(f"no line of {self.metrics_file.name} begins at byte {begin}")
            whole, newline, _ = file.read(most).rpartition(b"\n")
        return whole.splitlines(), begin + len(whole) + len(newline)

    def _require_state(self, advice: str) -> None:
        if not self.state_file.exists():
            raise RunError(f"{self.folder} holds no saved state; {advice}")

    def _resumed(self, fingerprint: str) -> State:
        state = self.load()
        if not same_inputs(state["fingerprint"], fingerprint):
            other = "was begun with other images, another loss network or another teacher"
            raise RunError(f"{self.folder} {other}; resume it with the same, or use another {self._option}")
        return state

    def _require_same(self, config: BaseModel) -> None:
        if not self.config_file.exists():
            raise RunError(f"{self.folder} holds no run to go on with; start without --resume")
        before, now = (options.model_dump(mode="json") for options in (self.config(type(config)), config))
        may_differ = {*RESUMABLE_OPTIONS, *PATH_OPTIONS, *DESCRIPTIVE_OPTIONS}
        changed = [key for key in now if key not in may_differ and now[key] != before[key]]
        if changed:
            changes = ", ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
            raise RunError(f"{self.folder} was begun with other options: {changes}")

    def _keep_metrics_until(self, step: int) -> None:
        """Remove the lines after `step`, which are repeated, and what a crash has left of others."""
        lines = self.metrics_file.read_bytes().split(b"\n")[:-1] if self.metrics_file.exists() else []
        kept = [line + b"\n" for line in lines if _step_of(line) <= step]
        self._write(self.metrics_file, b"".join(kept))

    def _write(self, path: Path, content: bytes | memoryview) -> None:
        with self._writing(path):
            replace_file(path, content)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        """Let an error of the block say what cannot be written, and how the run goes on."""
        try:
            yield
        except OSError as error:
            going_on = GOING_ON if self.state_file.exists() else ""
            raise RunError(f"{path} cannot be written: {reason_of(error)}{going_on}") from error


def same_inputs(before: str, now: str) -> bool:
    """Whether two fingerprints are of the same images; those of earlier versions do not say how long files are."""
    return before in (now, re.sub(r"\+[0-9a-f]{64}\b", "", now))


def _is_at_line(file: BinaryIO, begin: int) -> bool:
    """Whether a line begins, or will begin, at a byte: then the file is read from there on."""
    if not 0 <= begin <= file.seek(0, io.SEEK_END):  # not every place can be gone to
        return False
    file.seek(max(begin - 1, 0))
    return begin == 0 or file.read(1) == b"\n"


def _step_of(line: bytes) -> float:
    """The step of a line of metrics.jsonl; infinite where it cannot be read."""
    step = _parse_line(line).get("step")
    return step if isinstance(step, int) else math.inf


def _parse_line(line: bytes) -> dict[str, Any]:
    """A JSON object; an empty one where it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def png(picture: Tensor) -> bytes:
    """A picture, float RGB (3, H, W), as a PNG file; values are limited to [0, 1]."""
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", optimize=True)
    return file.getvalue()
