"""The colours of a video: from its frames to RGB arrays and back, by what it declares of them."""

from dataclasses import dataclass, replace

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from pastiche.pictures import Array
from service.imaging.codecs.cicp import HDR_TRANSFERS, PRIMARIES
from service.imaging.codecs.hdr import HdrColours, map_to_srgb

UNSPECIFIED = 2
"""A matrix, primaries or transfer that a video does not declare (ITU-T H.273)."""

HD_HEIGHT = 720
"""Lines from which a video that declares no matrix is taken for BT.709, and below for BT.601, as players do."""

RGB_MATRIX = 0

BT709, BT2020 = 1, 9
"""Of H.273's tables: BT.709 as a matrix, as primaries and as a transfer, and the primaries of BT.2020."""

MATRICES = {1: Colorspace.ITU709, 9: Colorspace.BT2020, 7: Colorspace.SMPTE240M, 4: Colorspace.FCC}
"""Those that are told apart (ITU-T H.273 table 4); the others are BT.601."""

BILINEAR, FULL_CHROMA, ACCURATE_ROUNDING = 0x2, 0x2000, 0x40000
"""Flags of libswscale, as numbers: not every PyAV names them."""


@dataclass(frozen=True)
class VideoColours:
    """What a video declares: numbers of ITU-T H.273, and 1 for limited or 2 for full range."""

    matrix: int
    range: int
    primaries: int
    transfer: int
    depth: int
    """Bits a channel, 8 or more."""
    height: int

    @classmethod
    def of(cls, frame: VideoFrame) -> "VideoColours":
        """What a decoded frame says."""
        depth = max(component.bits for component in frame.format.components)
        declared = int(frame.colorspace), int(frame.color_range), int(frame.color_primaries), int(frame.color_trc)
        return cls(*declared, depth, frame.height)

    @property
    def colorspace(self) -> Colorspace:
        """The matrix by which RGB and YCbCr are converted."""
        if self.matrix in (UNSPECIFIED, RGB_MATRIX):
            return Colorspace.ITU709 if self.height >= HD_HEIGHT else Colorspace.ITU601
        return MATRICES.get(self.matrix, Colorspace.ITU601)

    @property
    def declared_matrix(self) -> int:
        """What a result in YCbCr declares."""
        return UNSPECIFIED if self.matrix == RGB_MATRIX else self.matrix

    @property
    def color_range(self) -> ColorRange:
        """Limited where nothing is declared."""
        return ColorRange.JPEG if self.range == ColorRange.JPEG else ColorRange.MPEG

    @property
    def hdr(self) -> HdrColours | None:
        """Of a video of high dynamic range, PQ or HLG; its primaries are those of BT.2020 unless it says others."""
        if self.transfer not in HDR_TRANSFERS:
            return None
        return HdrColours(HDR_TRANSFERS[self.transfer], PRIMARIES.get(self.primaries, PRIMARIES[BT2020]))

    @property
    def of_result(self) -> "VideoColours":
        """What a result declares, whose frames are those of `to_sdr`."""
        if self.hdr is None:
            return self
        return replace(self, matrix=BT709, range=int(ColorRange.MPEG), primaries=BT709, transfer=BT709)

    @property
    def conversion(self) -> int:
        """How libswscale converts: 8 bits without its shortcuts, by which grey turns green and gets darker.

        With more bits there are none, and some of these flags give wrong colours.
        """
        return BILINEAR | FULL_CHROMA | ACCURATE_ROUNDING if self.depth == 8 else BILINEAR

    def to_sdr(self, pixels: Array) -> Array:
        """RGB of high dynamic range as that of a screen, as it is done with photographs; all else as it is."""
        return pixels if self.hdr is None else map_to_srgb(pixels, self.hdr)

    def to_rgb(self, frame: VideoFrame) -> Array:
        """(H, W, 3), uint8, or uint16 where the video has more than 8 bits a channel."""
        kind = "rgb24" if self.depth == 8 else "rgb48le"
        converted = frame.reformat(
            format=kind,
            interpolation=self.conversion,
            src_colorspace=self.colorspace,
            dst_colorspace=self.colorspace,
            src_color_range=self.color_range,
            dst_color_range=ColorRange.JPEG,
        )
        return np.ascontiguousarray(converted.to_ndarray())

    def from_rgb(self, pixels: Array, pixel_format: str) -> VideoFrame:
        """A frame of that format, which declares the same."""
        frame = VideoFrame.from_ndarray(pixels, format="rgb24" if pixels.dtype == np.uint8 else "rgb48le")
        converted = frame.reformat(
            format=pixel_format,
            interpolation=self.conversion,
            src_colorspace=self.colorspace,
            dst_colorspace=self.colorspace,
            src_color_range=ColorRange.JPEG,
            dst_color_range=self.color_range,
        )
        converted.colorspace, converted.color_range = self.declared_matrix, self.color_range
        converted.color_primaries, converted.color_trc = self.primaries, self.transfer
        return converted
