from pathlib import Path

import pytest

import pastiche
from pastiche.video.encoder_options import EncoderOptions
from pastiche.video.errors import VideoError
from pastiche.video.trial import try_first_frame
from service.errors import InvalidRequest
from tests.pastiche.video.clips import write_clip


def test_options_that_are_accepted_leave_nothing(tmp_path: Path, style: pastiche.Model) -> None:
    source = write_clip(tmp_path / "in.mp4")
    try_first_frame(source, style, {"strength": "0.5"}, EncoderOptions())
    assert list(tmp_path.iterdir()) == [source]


def test_what_the_model_or_the_encoder_would_refuse_is_refused(tmp_path: Path, style: pastiche.Model) -> None:
    source = write_clip(tmp_path / "in.mp4")
    with pytest.raises(InvalidRequest, match="strength is 'nan'"):
        try_first_frame(source, style, {"strength": "nan"}, EncoderOptions())
    with pytest.raises(VideoError, match="libx265 cannot encode this, 16×12 pixels"):
        try_first_frame(source, style, {"output_size": "16"}, EncoderOptions(codec="libx265"))
