"""The picture of a selection: what it shows, and what it refuses."""

import math

import pandas as pd
import pytest

from sparkds.errors import ColumnError, DataError
from sparkds.features.select import ColumnDecision
from sparkds.figures.selection import importances


def decisions(n=30):
    rows = [
        ColumnDecision(f"cost in $ {i}" + "x" * 50, i, "int", i < 5, "", "", importance=1 / (i + 1), importance_sd=0.01) for i in range(n)
    ]
    rows.append(ColumnDecision("dropped", n, "int", False, "null_share", ""))
    return pd.DataFrame([row._asdict() for row in rows])


def test_the_most_important_columns_are_shown_with_the_kept_ones_in_colour(tmp_path):
    figure = importances(decisions(), unit="fall of roc_auc")
    (axes,) = figure.axes
    assert len(axes.patches) == 25
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(widths)
    assert len({bar.get_facecolor() for bar in axes.patches[-5:]}) == 1
    assert axes.patches[-1].get_facecolor() != axes.patches[0].get_facecolor()
    assert axes.get_xlabel() == "fall of roc_auc"
    assert axes.get_title(loc="left") == "5 of 31 columns kept, 30 judged, the first 25 shown"
    figure.savefig(tmp_path / "x.png")


def test_nothing_to_draw_is_told():
    with pytest.raises(DataError, match="no column has an importance to draw"):
        importances(decisions().assign(importance=math.nan))
    with pytest.raises(ColumnError, match="column 'kept' not found in the decisions to draw"):
        importances(decisions().drop(columns="kept"))
