"""Shares over time: what is drawn, and what cannot be."""

from datetime import date

import pandas as pd
import pytest

from sparkds.errors import ColumnError, DataError
from sparkds.figures import shares_over_time

ROWS = pd.DataFrame({"as_of": [date(1997, 12, 31), date(1997, 11, 30)], "share": [0.2, 0.1]})


def test_shares_are_drawn_in_the_order_of_time_from_zero_on():
    figure = shares_over_time(ROWS, time="as_of", share="share", what="share who buy")
    (axes,) = figure.axes
    assert list(axes.lines[0].get_ydata()) == [0.1, 0.2]
    assert axes.get_ylim() == pytest.approx((0, 0.23))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1997-11-30", "1997-12-31"]


def test_shares_without_rows_or_columns_are_refused():
    with pytest.raises(DataError, match="no cut-off"):
        shares_over_time(ROWS.head(0), time="as_of", share="share", what="x")
    with pytest.raises(ColumnError, match="'shre' not found"):
        shares_over_time(ROWS, time="as_of", share="shre", what="x")
