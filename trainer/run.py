"""The folder of a run: its configuration, its state, its metrics and its previews."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from trainer.config import MACHINE, STORY, TrainConfig
from trainer.errors import RunError

State = dict[str, Any]


class Run:
    """Files of one training run under `folder`; the state is replaced as a whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_file = folder / "state.pt"
        self.config_file = folder / "config.json"
        self.metrics_file = folder / "metrics.jsonl"

    def begin(self, config: TrainConfig, *, resume: bool) -> State | None:
        """Prepare the folder; the saved state where `resume` asks for it, None for a fresh start.

        Raises RunError where a state would be overwritten or was made by another configuration.
        """
        if resume:
            self._require_same(config)
            return self.load()
        if self.state_file.exists():
            raise RunError(f"{self.folder} holds a run already; pass --resume to go on with it, or another --run")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(config.model_dump_json(indent=2))
        self.metrics_file.unlink(missing_ok=True)
        return None

    def save(self, state: State) -> None:
        """Replace the saved state: written beside, synced, renamed."""
        temporary = self.state_file.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.state_file)

    def load(self) -> State:
        """The saved state; only tensors and plain values are read, never code."""
        if not self.state_file.exists():
            raise RunError(f"{self.folder} holds no state to go on with; start without --resume")
        state: State = torch.load(self.state_file, map_location="cpu", weights_only=True)
        return state

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        with self.metrics_file.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def preview(self, step: int, picture: Tensor) -> Path:
        """Write a float RGB (3, H, W) picture as preview-<step>.png and return its path."""
        path = self.folder / f"preview-{step:06d}.png"
        path.write_bytes(png(picture))
        return path

    def _require_same(self, config: TrainConfig) -> None:
        if not self.config_file.exists():
            raise RunError(f"{self.folder} holds no run to go on with; start without --resume")
        before = json.loads(self.config_file.read_text())
        now = json.loads(config.model_dump_json())
        free = {*MACHINE, *STORY}
        changed = [key for key in now if key not in free and now[key] != before.get(key)]
        if changed:
            changes = ", ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in changed)
            raise RunError(f"{self.folder} was begun with other options: {changes}")


def png(picture: Tensor) -> bytes:
    """A float RGB (3, H, W) picture in [0, 1] as a PNG file."""
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", optimize=True)
    return file.getvalue()
