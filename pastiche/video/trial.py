"""Tries what a conversion will do."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pastiche.model import Model
from pastiche.video.encoder import write_segment
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.flicker import Flicker
from pastiche.video.painting import paint
from pastiche.video.source import open_video


def try_first_frame(source: Path, model: Model, options: Mapping[str, Any], encoder: EncoderOptions) -> None:
    """Paint and encode the first frame, and forget it: options that are refused leave what is on the disk alone.

    Raises what a conversion does: VideoError, ServiceError or OSError.
    """
    with open_video(source) as video, TemporaryDirectory(prefix="pastiche-") as folder:
        painted = paint(islice(video.frames(), 1), model, options, Flicker())
        write_segment(Path(folder) / "first.mp4", painted, video.timing, encoder)
