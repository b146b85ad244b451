"""What is measured of networks when they are loaded, and decides on last bits: once for all devices of a pool.

Each device on its own could choose other forms of layers and other sizes of batches, and the bytes of an answer would
depend on where it was computed.
"""

from dataclasses import dataclass, field

import torch

from model_store import LayerForm
from service.engine.calibration import Calibration, SampleType

FormsKey = tuple[str, torch.dtype]
"""The specification of a network, as JSON, and its precision."""

CalibrationKey = tuple[str, SampleType, bool]
"""The specification of a network, as JSON, the type of its images, and whether torch computes it."""


@dataclass(frozen=True)
class Measurements:
    """Of networks of one architecture, which share them."""

    forms: dict[FormsKey, dict[int, LayerForm]] = field(default_factory=dict)
    """Of thin layers, by position."""
    calibrations: dict[CalibrationKey, Calibration] = field(default_factory=dict)
