"""The folder of a run: its configuration, its state, its metrics and its previews."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from model_store.durable import replace_file
from trainer.config import FREE, PLACES, STORY
from trainer.errors import RunError

State = dict[str, Any]


class Run:
    """Files of one run under `folder`; the state is replaced as a whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_file = folder / "state.pt"
        self.config_file = folder / "config.json"
        self.metrics_file = folder / "metrics.jsonl"

    def begin(self, config: BaseModel, fingerprint: str, *, resume: bool) -> State | None:
        """Prepare the folder; the saved state where `resume` asks for it, None for a fresh start.

        `fingerprint` identifies the images, the loss network and the teacher. Raises RunError where a state would be
        overwritten, or was made with other ones or with other options.
        """
        state = self._resumed(config, fingerprint) if resume else None
        if state is None and self.state_file.exists():
            raise RunError(f"{self.folder} holds a run already; pass --resume to go on with it, or another --run")
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.config_file, config.model_dump_json(indent=2).encode())
        self._keep_metrics_until(state["step"] if state else -1)
        return state

    def save(self, state: State) -> None:
        """Replace the saved state: written beside, synced, renamed."""
        content = io.BytesIO()
        torch.save(state, content)
        replace_file(self.state_file, content.getbuffer())

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

    def _resumed(self, config: BaseModel, fingerprint: str) -> State:
        self._require_same(config)
        state = self.load()
        if state["fingerprint"] != fingerprint:
            other = "was begun with other images, another loss network or another teacher"
            raise RunError(f"{self.folder} {other}; resume it with the same, or use another --run")
        return state

    def _require_same(self, config: BaseModel) -> None:
        if not self.config_file.exists():
            raise RunError(f"{self.folder} holds no run to go on with; start without --resume")
        begun = type(config).model_validate_json(self.config_file.read_text())  # older runs lack newer options
        before, now = (options.model_dump(mode="json") for options in (begun, config))
        changed = [key for key in now if key not in {*FREE, *PLACES, *STORY} and now[key] != before[key]]
        if changed:
            changes = ", ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
            raise RunError(f"{self.folder} was begun with other options: {changes}")

    def _keep_metrics_until(self, step: int) -> None:
        """Drop the lines that a killed run wrote after its last saved state: they will be written again."""
        lines = self.metrics_file.read_text().splitlines(keepends=True) if self.metrics_file.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        replace_file(self.metrics_file, "".join(kept).encode())


def png(picture: Tensor) -> bytes:
    """A float RGB (3, H, W) picture in [0, 1] as a PNG file."""
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", optimize=True)
    return file.getvalue()
