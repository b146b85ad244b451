"""Measures flicker: how much a result changes from frame to frame where the video itself stands still."""

import numpy as np
from PIL import Image

from pastiche.pictures import Array

STILL = 2
"""Levels of 256 by which each channel of a pixel that stands still may differ."""


class Flicker:
    """Adds up pairs of consecutive frames. All frames have one size."""

    def __init__(self, still: int = STILL) -> None:
        self._still = still
        self._last: tuple[Array, Array] | None = None
        self._given = self._made = 0.0
        self.pairs = 0
        """Of consecutive frames."""
        self.pixels = 0
        """That stood still, in all pairs."""

    def add(self, given: Array, made: Array) -> None:
        """The next frame of the video, uint8 (H, W, 3), and of its result, uint8 of any size."""
        height, width = given.shape[:2]
        reduced = np.asarray(Image.fromarray(made).resize((width, height), Image.Resampling.BOX))
        frames = given.astype(np.int16), reduced.astype(np.int16)
        if self._last is not None:
            self.pairs += 1
            before, after = np.abs(frames[0] - self._last[0]), np.abs(frames[1] - self._last[1])
            still = before.max(axis=2) <= self._still
            self.pixels += int(still.sum())
            self._given += float(before[still].mean(axis=1).sum())
            self._made += float(after[still].mean(axis=1).sum())
        self._last = frames

    @property
    def given(self) -> float:
        """Mean absolute change of the video where it stands still, in levels of 256; 0 where nothing does."""
        return self._given / self.pixels if self.pixels else 0.0

    @property
    def made(self) -> float:
        """The same of the result: its flicker."""
        return self._made / self.pixels if self.pixels else 0.0

    def __str__(self) -> str:
        if not self.pairs:
            return "flicker: not measured, as no two frames were painted one after the other"
        if not self.pixels:
            return "flicker: nothing stands still"
        return f"flicker: {self.made:.2f} levels of 256 where the video changes by {self.given:.2f}"
