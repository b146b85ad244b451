import io
import sys

import pytest
from PIL import Image

from trainer.errors import TrainerError
from trainer.paper.charts import Line, Panel, chart, require_charts


def test_a_chart_has_its_panels_side_by_side_and_is_always_the_same() -> None:
    panel = Panel("one", [Line("curve", [3.0, 2.0, 1.0], range(3)), Line("level", [1.5], style="--")])
    one, two = (chart([panel] * count, "x", "y") for count in (1, 2))
    assert Image.open(io.BytesIO(two)).width > 1.5 * Image.open(io.BytesIO(one)).width
    assert chart([panel], "x", "y") == one
    assert chart([panel], "x", "y", log_x=True) != one


def test_without_matplotlib_the_advice_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(TrainerError, match=r"pip install 'pastiche\[paper\]'"):
        require_charts()
