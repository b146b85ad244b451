"""Presets: options that go well together, under one name. Options that are given explicitly take precedence.

`quick` and `cpu` begin with a shipped network, as the shipped styles did; `gpu` begins anew, with the paper's length.
"""

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["quick", "cpu", "gpu"]

Options = Mapping[str, Any]

_FROM_SHIPPED_STYLE: Options = {
    "architecture": "c9s1-16,d32,d64,R64*5,u32,u16,c9s1-3",
    "warm_start": "udnie",
    "learning_rate": 1e-3,
    "style_ramp": 0.1,
    "zoom_from": 0.85,
}

STYLE_PRESETS: Mapping[str, Options] = {
    "quick": {
        **_FROM_SHIPPED_STYLE,
        "steps": 150,
        "image_size": 128,
        "warmup": 10,
        "ema": 0.97,
        "log_every": 5,
        "preview_every": 25,
        "save_every": 50,
    },
    "cpu": {**_FROM_SHIPPED_STYLE, "steps": 1400, "image_size": 160, "ema": 0.995, "preview_every": 100},
    "gpu": {"steps": 40_000, "batch": 4, "image_size": 256, "device": "cuda"},
}

SUPER_RESOLUTION_PRESETS: Mapping[str, Options] = {
    "quick": {
        "steps": 300,
        "batch": 8,
        "image_size": 128,
        "learning_rate": 4e-4,
        "warmup": 20,
        "ema": 0.98,
        "log_every": 5,
        "preview_every": 25,
        "save_every": 50,
    },
    "cpu": {"steps": 6000, "batch": 16, "image_size": 192, "learning_rate": 6e-4},
    "gpu": {"steps": 200_000, "batch": 16, "image_size": 192, "device": "cuda"},
}

SHIPPED_SCALES = (2, 4, 8)
"""Scales of shipped networks, named x2, x4 and x8."""


def style_preset(name: str) -> Options:
    """The options of a preset for styles; none for an unknown name."""
    return STYLE_PRESETS.get(name, {})


def super_resolution_preset(name: str, scale: int) -> Options:
    """The options of a preset for a scale, with the architecture of the shipped networks where they have that scale."""
    if name not in SUPER_RESOLUTION_PRESETS or scale not in SHIPPED_SCALES:
        return SUPER_RESOLUTION_PRESETS.get(name, {})
    architecture = {"architecture": f"c3s1-64,R64*8,c3s1-{3 * scale**2},p{scale}"}
    begin = {} if name == "gpu" else {"warm_start": f"x{scale}"}
    return {**architecture, **begin, **SUPER_RESOLUTION_PRESETS[name]}


def describe(presets: Mapping[str, Options]) -> str:
    """Every preset with the options that it stands for, as they are typed."""
    listed = (f"{name} = {' '.join(_typed(options))}" for name, options in presets.items())
    return f"a set of options, each of which may be given besides: {'; '.join(listed)}"


def _typed(options: Options) -> list[str]:
    return [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
