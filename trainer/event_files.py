"""TensorBoard's event files: losses, speed and previews of a training."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from time import time
from typing import Any

import torch
from torch import Tensor

from trainer.errors import TrainerError
from trainer.outputs import require_folder

PLAIN_TAGS = frozenset({"learning_rate", "images_per_second", "gradient", "discriminator"})
"""Values that are no term of the network's loss, and stand apart."""

log = logging.getLogger(__name__)


class EventFiles:
    """A record in a folder that TensorBoard shows. The constructor raises TrainerError without the extra,
    and where nothing can be written there.

    Events are written at once, as tensorboardX's own writer waits for ever where its thread could not write one. What
    cannot be written during a training is lost, and all that comes after it; a warning says so.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import summary  # noqa: PLC0415 # an extra
            from tensorboardX.proto import event_pb2  # noqa: PLC0415
            from tensorboardX.record_writer import RecordWriter  # noqa: PLC0415
        except ImportError as error:
            raise TrainerError("--tensorboard needs the extra: pip install 'pastiche[tensorboard]'") from error
        require_folder("--tensorboard", folder)
        self._folder = folder
        self._open = RecordWriter
        self._summary, self._messages = summary, event_pb2
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Begin a file. After a resumption TensorBoard ignores what older files have of later steps."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = self._open(str(self._folder / f"events.out.tfevents.{time():.0f}.{gethostname()}"))
        start = self._messages.SessionLog(status=self._messages.SessionLog.START)
        self._append({"file_version": "brain.Event:2"}, {"step": step + 1, "session_log": start})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write each value as a scalar: terms as loss/<term>, others by their own name."""
        tags = {name if name in PLAIN_TAGS else f"loss/{name}": value for name, value in values.items()}
        self._write(step, *(self._summary.scalar(tag, value) for tag, value in tags.items()))

    def preview(self, step: int, picture: Tensor) -> None:
        """Write a picture, float RGB (3, H, W) in [0, 1]."""
        pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
        self._write(step, self._summary.image("preview", pixels.numpy()))

    def close(self) -> None:
        """Close the file. Nothing is left to be written: where something is, that was impossible."""
        writer, self._writer = self._writer, None
        with suppress(OSError):
            if writer:
                writer.close()

    def _write(self, step: int, *summaries: Any) -> None:
        if self._writer is None:
            return
        try:
            self._append(*({"step": step, "summary": summary} for summary in summaries))
        except OSError as error:
            log.warning("%s: no events from step %d on, the training goes on: %s", self._folder, step, error)
            self.close()

    def _append(self, *events: Mapping[str, Any]) -> None:
        """Events by their fields."""
        for fields in events:
            self._writer.write(self._messages.Event(wall_time=time(), **fields).SerializeToString())
        self._writer.flush()
