"""The numbers that Johnson, Alahi and Fei-Fei 2016 publish, and notes on suspected typos in them."""

from collections.abc import Mapping

SPEED: Mapping[int, Mapping[int, float]] = {
    256: {1: 0.015, 100: 3.17, 300: 9.52, 500: 15.86},
    512: {1: 0.05, 100: 10.97, 300: 32.91, 500: 54.85},
    1024: {1: 0.21, 100: 42.89, 300: 128.66, 500: 214.44},
}
"""Table 1: side in pixels → iterations → seconds on a GTX Titan X; the entry for 1 is the network's forward pass."""

SPEEDUP: Mapping[int, Mapping[int, int]] = {
    256: {100: 212, 300: 636, 500: 1060},
    512: {100: 205, 300: 615, 500: 1026},
    1024: {100: 208, 300: 625, 500: 1042},
}
"""Table 1: side in pixels → iterations → seconds of the iterations over those of a pass, computed before rounding."""

EQUIVALENT_ITERATIONS = "50 to 100"
"""Figure 5: the iterations of optimisation that reach the objective of the networks, at every size."""

Score = tuple[float, float]
"""PSNR (dB) and SSIM on luma."""

SUPER_RESOLUTION: Mapping[int, Mapping[str, Mapping[str, Score]]] = {
    4: {
        "bicubic": {"Set5": (28.43, 0.8114), "Set14": (25.99, 0.7301), "BSD100": (25.96, 0.682)},
        "pixel loss": {"Set5": (28.40, 0.8205), "Set14": (25.75, 0.6994), "BSD100": (25.91, 0.6680)},
        "SRCNN": {"Set5": (30.48, 0.8628), "Set14": (27.49, 0.7503), "BSD100": (26.90, 0.7101)},
        "feature loss": {"Set5": (27.09, 0.7680), "Set14": (24.99, 0.6731), "BSD100": (24.95, 0.6317)},
    },
    8: {
        "bicubic": {"Set5": (23.80, 0.6455), "Set14": (22.37, 0.5518), "BSD100": (22.11, 0.5322)},
        "pixel loss": {"Set5": (24.77, 0.6864), "Set14": (23.02, 0.5787), "BSD100": (22.54, 0.5526)},
        "feature loss": {"Set5": (23.26, 0.7058), "Set14": (21.64, 0.5837), "BSD100": (21.35, 0.5474)},
    },
}
"""Figures 8 (×4) and 9 (×8): scale → method → set → score."""

SET5_BICUBIC = {"Set5": (28.43, 0.8113)}
"""Scores of bicubic enlargement ×4 that the usual protocol gives."""

SUSPECTED_TYPOS: Mapping[int, tuple[str, ...]] = {
    4: (
        (
            "Suspected typo of the paper: bicubic on Set14 has SSIM 0.7301; the protocol gives 0.705: perhaps "
            "0.7031, two digits exchanged."
        ),
        "Suspected typo of the paper: bicubic on BSD100 has SSIM 0.682; the protocol gives 0.6682: a digit lost.",
        "Suspected typo of the paper: feature loss on BSD100 is printed with SSIM 63.17, read here as 0.6317.",
        (
            "The paper's networks were trained on blurred (σ = 1) and bicubically reduced images, and its "
            "bicubic row is that of reduction alone; tested so, they are at a disadvantage."
        ),
    ),
    8: (
        (
            "The paper's bicubic row for ×8 is 0.6 to 1.6 dB below the field's protocol, and no variant of it "
            "that we tried gives it; compare by the difference to bicubic, in brackets."
        ),
    ),
}
"""Notes on figures 8 and 9 by scale."""
