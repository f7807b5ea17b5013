import sys

import numpy as np
import pandas as pd
import pytest

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.figures import power_curves

CURVE = pd.DataFrame(
    [
        {"metric": "bought", "effect": e, "relative_effect": e / 0.05, "n_total": n, "power": p, "method": "z pooled"}
        for e, powers in ((0.0025, (0.1, 0.2, 0.3)), (0.005, (0.3, 0.6, 0.8)), (-0.005, (0.35, 0.65, np.nan)))
        for n, p in zip((100, 200, 300), powers, strict=True)
    ]
)


def drawn(curve=CURVE):
    return power_curves(curve, power=0.8, n_total=250)


def test_each_effect_has_its_line_in_percent():
    (axes,) = drawn().axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["+10 %  (+0.005)", "-10 %  (-0.005)", "+5 %  (+0.0025)"]
    np.testing.assert_allclose(lines["+10 %  (+0.005)"].get_xdata(), [100, 200, 300])
    np.testing.assert_allclose(lines["+10 %  (+0.005)"].get_ydata(), [30, 60, 80])
    np.testing.assert_allclose(lines["-10 %  (-0.005)"].get_ydata(), [35, 65])


def test_wanted_power_and_planned_units_are_marked():
    (axes,) = drawn().axes
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert {tuple(line.get_ydata()) for line in dashed if len(set(line.get_ydata())) == 1} == {(80.0, 80.0)}
    assert {tuple(line.get_xdata()) for line in dashed if len(set(line.get_xdata())) == 1} == {(250, 250)}
    assert "250 planned" in [text.get_text() for text in axes.texts]


def test_axes_and_title_say_what_is_drawn():
    (axes,) = drawn().axes
    assert axes.get_xlabel() == "units over all arms"
    assert axes.get_ylabel() == "power (%)"
    assert axes.get_title(loc="left") == "wanted 80 % at 250 units  ·  z pooled"
    assert "Power to show the claim on bought" in [text.get_text() for text in axes.texts]


def test_effects_without_a_baseline_are_named_by_their_size():
    (axes,) = drawn(CURVE.assign(relative_effect=np.nan)).axes
    assert "+0.005" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_figure_is_written_as_a_picture(tmp_path):
    drawn().savefig(tmp_path / "power.png")
    assert (tmp_path / "power.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_what_cannot_be_drawn_is_told(monkeypatch):
    with pytest.raises(ColumnError, match="column 'power' not found in the power curve to draw"):
        drawn(CURVE.drop(columns="power"))
    with pytest.raises(DataError, match="nothing to draw"):
        drawn(CURVE.assign(power=np.nan))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'sparkds\[plots\]'"):
        drawn()
