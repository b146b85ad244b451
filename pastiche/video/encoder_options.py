"""The options of the encoders: what each accepts, and how it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Codec = Literal["libx264", "libx265", "libsvtav1", "libvpx-vp9"]

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")

NARROW = 64
"""Columns below which x265 (of a build that was tried, up to 48) writes beyond its memory, unless cutree is off."""


@dataclass(frozen=True)
class Accepted:
    """What one encoder accepts."""

    usual_crf: int
    """Hardly a visible loss."""
    worst_crf: int
    presets: Sequence[str]


ACCEPTED = {
    "libx264": Accepted(18, 51, _PRESETS),
    "libx265": Accepted(20, 51, _PRESETS),
    "libsvtav1": Accepted(28, 63, tuple(map(str, range(14)))),
    "libvpx-vp9": Accepted(28, 63, ()),
}


class EncoderOptions(BaseModel):
    """How frames are encoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: Codec = "libx264"
    crf: int | None = Field(None, ge=0)
    """Constant quality: a smaller number is better and larger; None for the default of the codec."""
    preset: str | None = None
    """Of the encoder, such as slow or veryfast; None for its own default."""

    @field_validator("crf")
    @classmethod
    def _within_range(cls, crf: int | None, info: ValidationInfo) -> int | None:
        if crf is not None and "codec" in info.data and crf > (worst := ACCEPTED[info.data["codec"]].worst_crf):
            raise ValueError(f"{info.data['codec']} accepts 0 to {worst}")
        return crf

    @field_validator("preset")
    @classmethod
    def _known(cls, preset: str | None, info: ValidationInfo) -> str | None:
        if preset is not None and "codec" in info.data:
            known = ACCEPTED[info.data["codec"]].presets
            if preset not in known:
                accepted = f"accepts {', '.join(known)}" if known else "has no presets"
                raise ValueError(f"{info.data['codec']} {accepted}")
        return preset

    def arguments(self, width: int) -> dict[str, str]:
        """As the encoder takes them, for frames of that width."""
        quality = ACCEPTED[self.codec].usual_crf if self.crf is None else self.crf
        preset = {} if self.preset is None else {"preset": self.preset}
        return {"crf": str(quality), **preset, **_own_arguments(self.codec, width)}


def _own_arguments(codec: Codec, width: int) -> dict[str, str]:
    if codec != "libx265":
        return {}
    return {"x265-params": "log-level=none" + (":cutree=0" if width < NARROW else "")}
