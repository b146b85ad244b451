from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from pastiche.video.colours import VideoColours
from pastiche.video.encoder import Painted, write_segment
from pastiche.video.encoder_options import ACCEPTED, EncoderOptions
from pastiche.video.source import Timing
from tests.pastiche.video.clips import panned, require_encoder

EVERY_PRESET = [(codec, preset) for codec, accepted in sorted(ACCEPTED.items()) for preset in accepted.presets]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "mpeg1video"}, "'libx264', 'libx265', 'libsvtav1' or 'libvpx-vp9'"),
        ({"crf": 52}, "libx264 accepts 0 to 51"),
        ({"codec": "libx265", "crf": "63"}, "libx265 accepts 0 to 51"),
        ({"codec": "libvpx-vp9", "crf": 64}, "libvpx-vp9 accepts 0 to 63"),
        ({"crf": -1}, "greater than or equal to 0"),
        ({"preset": "nonsense"}, "libx264 accepts ultrafast, superfast, "),
        ({"preset": ""}, "libx264 accepts ultrafast, superfast, "),
        ({"codec": "libsvtav1", "preset": "slow"}, "libsvtav1 accepts 0, 1, 2, "),
        ({"codec": "libvpx-vp9", "preset": "slow"}, "libvpx-vp9 has no presets"),
    ],
)
def test_what_an_encoder_would_not_take_is_refused(options: dict[str, str | int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EncoderOptions.model_validate(options)


@pytest.mark.parametrize(("codec", "preset"), EVERY_PRESET)
def test_presets_and_the_worst_quality_are_taken(tmp_path: Path, codec: str, preset: str) -> None:
    require_encoder(codec)
    worst = ACCEPTED[codec].worst_crf
    options = EncoderOptions.model_validate({"codec": codec, "crf": worst, "preset": preset})
    frames = iter([Painted(panned(0), 0, 24, Fraction(1), VideoColours(1, 1, 1, 1, 8, 48))])
    timing = Timing(Fraction(1, 600), Fraction(25), "yuv420p")
    assert write_segment(tmp_path / "one.mp4", frames, timing, options).frames == 1


def test_quality_is_the_usual_one_by_default() -> None:
    assert EncoderOptions().arguments(640) == {"crf": "18"}
    assert EncoderOptions(crf=30, preset="slow").arguments(640) == {"crf": "30", "preset": "slow"}
