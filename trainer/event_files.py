"""TensorBoard's event files: losses, speed and previews of a training."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trainer.errors import TrainerError

PLAIN_TAGS = frozenset({"learning_rate", "images_per_second", "gradient"})
"""Values that are no term of the loss, and stand apart."""


class EventFiles:
    """A record in a folder that TensorBoard shows. The constructor raises TrainerError without the extra."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter  # noqa: PLC0415 # an extra
        except ImportError as error:
            raise TrainerError("--tensorboard needs the extra: pip install 'pastiche[tensorboard]'") from error
        self._open = partial(SummaryWriter, str(folder))
        self._opened = ExitStack()

    def begin(self, step: int) -> None:
        """Begin a file. After a resumption TensorBoard ignores what older files have of later steps."""
        self._writer = self._opened.enter_context(closing(self._open(purge_step=step + 1)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write each value as a scalar: terms as loss/<term>, others by their own name."""
        for name, value in values.items():
            self._writer.add_scalar(name if name in PLAIN_TAGS else f"loss/{name}", value, step)

    def preview(self, step: int, picture: Tensor) -> None:
        """Write a picture, float RGB (3, H, W) in [0, 1]."""
        pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
        self._writer.add_image("preview", pixels.numpy(), step)

    def close(self) -> None:
        """Write what is left; nothing where no file was begun."""
        self._opened.close()
