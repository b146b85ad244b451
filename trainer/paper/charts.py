"""Line charts as PNG files, drawn by matplotlib, which the extra `paper` installs."""

import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.errors import TrainerError

ADVICE = "charts need matplotlib: pip install 'pastiche[paper]'"


@dataclass(frozen=True)
class Line:
    """A curve y(x); without `x`, a horizontal line at y[0]. `style` is matplotlib's format string."""

    label: str
    y: Sequence[float]
    x: Sequence[float] = ()
    style: str = "-"


@dataclass(frozen=True)
class Panel:
    """One pair of axes with its lines."""

    title: str
    lines: Sequence[Line]


def require_charts() -> None:
    """Raise TrainerError where matplotlib is not installed; called before anything is measured."""
    _matplotlib()


def chart(panels: Sequence[Panel], x: str, y: str, *, log_x: bool = False) -> bytes:
    """Panels side by side as a PNG file, the same bytes for the same lines; y is logarithmic, x only with `log_x`."""
    figure = _matplotlib().Figure(figsize=(4.2 * len(panels) + 0.6, 3.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, line in enumerate(panel.lines):
            if line.x:
                axes.plot(line.x, line.y, line.style, color=f"C{number}", label=line.label)
            else:
                axes.axhline(line.y[0], linestyle=line.style, color=f"C{number}", label=line.label)
        axes.set(title=panel.title, xlabel=x, ylabel=y, yscale="log", xscale="log" if log_x else "linear")
        if log_x:
            axes.set_xticks(*_ticks(panel.lines))
            axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()


def _ticks(lines: Sequence[Line]) -> tuple[list[float], list[str]]:
    """The ticks of a logarithmic x axis: every x of the lines, and its label."""
    places = sorted({x for line in lines for x in line.x})
    return places, [f"{x:g}" for x in places]


def _matplotlib() -> Any:
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise TrainerError(ADVICE) from error
