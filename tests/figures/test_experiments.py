"""Experiment figures: what is drawn where, and what is refused."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from sparkds.errors import ColumnError, DataError
from sparkds.experiments.result_rows import Result
from sparkds.figures import cumulative_effect, forest, sample_ratio_by_day


def rows(*made):
    return pd.DataFrame([asdict(row) for row in made])


def effect(name, role, value, low, high, **told):
    return Result("e", "effect", name, "declared", "t", scale="relative", role=role, value=value, low=low, high=high, **told)


def test_primary_metrics_stand_on_top_and_reasons_are_written(tmp_path):
    figure = forest(
        rows(
            effect("n", "secondary", 0.01, -0.02, 0.04),
            effect("revenue", "primary", 0.05, 0.01, 0.09, status="not_final"),
            effect("load", "guardrail", -0.01, -0.03, float("inf")),
            effect("broken", "secondary", float("nan"), float("nan"), float("nan"), reason="arm 't' has 0 units"),
        ),
        margins={"load": -0.02},
    )
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["revenue  ·  t", "load  ·  t", "broken  ·  t", "n  ·  t"]
    assert any("arm 't' has 0 units" in text.get_text() for text in axes.texts)
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert marks[0].get_xdata()[0] == pytest.approx(5)
    assert any(list(line.get_xdata()) == [-2, -2] for line in axes.lines)
    low, high = axes.get_xlim()
    assert low == -high
    figure.savefig(tmp_path / "forest.png")


def test_an_effect_over_the_days_has_its_band():
    series = pd.DataFrame(
        {"as_of": pd.date_range("2026-01-03", periods=3), "value": [1.0, 2.0, 1.5], "low": [-np.inf, 0.5, 0.7], "high": [np.inf, 3.0, 2.2]}
    )
    (axes,) = cumulative_effect(series.iloc[::-1], name="revenue", arm="t").axes
    assert axes.lines[0].get_ydata().tolist() == [1.0, 2.0, 1.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2026-01-03", "2026-01-04", "2026-01-05"]


def test_shares_of_arms_are_cumulative():
    counts = pd.DataFrame(
        {"day": ["2026-01-02", "2026-01-01", "2026-01-01", "2026-01-02"], "arm": ["c", "c", "t", "t"], "n": [10, 30, 10, 50]}
    )
    (axes,) = sample_ratio_by_day(counts, weights={"c": 0.5, "t": 0.5}).axes
    drawn = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert drawn == [[75.0, 40.0], [25.0, 60.0]]


def test_missing_columns_and_nothing_to_draw_are_told():
    with pytest.raises(ColumnError, match="'low' not found"):
        cumulative_effect(pd.DataFrame({"as_of": [], "value": [], "hgh": []}), name="x", arm="t")
    with pytest.raises(DataError, match="no relative effect"):
        forest(rows(Result("e", "check", "x")))
    with pytest.raises(DataError, match="no day has an effect of 'x'"):
        cumulative_effect(pd.DataFrame({"as_of": ["d"], "value": [np.nan], "low": [0.0], "high": [0.0]}), name="x", arm="t")
    with pytest.raises(DataError, match="no units"):
        sample_ratio_by_day(pd.DataFrame({"day": ["d"], "arm": ["c"], "n": [0]}), weights={"c": 1.0})
