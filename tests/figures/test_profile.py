import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

from sparkds.errors import ColumnError, DataError
from sparkds.figures.profile import MOST_PANELS, correlation_heatmap, small_histograms

BARS = pd.DataFrame([("a $x$", 0.0, 1.0, 4), ("a $x$", 1.0, 2.0, 8), ("born", 19000.0, 19001.0, 3)], columns=["column", "low", "high", "n"])
PAIRS = pd.DataFrame(
    [("a", "b", 0.25, 0.5), ("a", "c", np.nan, np.nan), ("b", "c", -0.9, -1.0)], columns=["column", "other", "pearson", "spearman"]
)


def shown(figure):
    assert isinstance(figure, matplotlib.figure.Figure)
    figure.canvas.draw()
    return [axes for axes in figure.axes if axes.axison]


def test_every_column_has_a_panel_with_its_bars_and_the_ends_of_its_axis():
    ends = BARS.assign(first=["0", "0", "2022-01-08"], last=["2", "2", "2022-01-09"])
    panels = shown(small_histograms(ends))
    assert [panel.get_title(loc="left") for panel in panels] == [r"a \$x\$", "born"]
    assert [bar.get_height() for bar in panels[0].patches] == [4, 8]
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["2022-01-08", "2022-01-09"]
    assert [label.get_text() for label in shown(small_histograms(BARS))[0].get_xticklabels()] == ["0", "2"]


def test_asked_columns_are_drawn_in_order_and_no_more_than_fit():
    assert [panel.get_title(loc="left") for panel in shown(small_histograms(BARS, columns=["born", "no such"]))] == ["born"]
    many = pd.DataFrame([(f"c{i}", 0.0, 1.0, 1) for i in range(60)], columns=["column", "low", "high", "n"])
    assert len(shown(small_histograms(many))) == MOST_PANELS


def test_the_heatmap_is_symmetric_and_says_the_numbers():
    figure = correlation_heatmap(PAIRS)
    axes = shown(figure)[0]
    matrix = np.asarray(axes.images[0].get_array().filled(np.nan))
    assert matrix[0, 1] == matrix[1, 0] == 0.25
    assert np.isnan(matrix[0, 2])
    assert {text.get_text() for text in axes.texts} >= {"0.25", "-0.90", "–"}
    assert "Spearman's correlations" in {text.get_text() for text in shown(correlation_heatmap(PAIRS, value="spearman"))[0].texts}
    names = [f"c{i}" for i in range(70)]
    wide = pd.DataFrame([(a, b, 0.1) for i, a in enumerate(names) for b in names[:i]], columns=["column", "other", "pearson"])
    assert len(shown(correlation_heatmap(wide))[0].get_xticks()) == 0


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(DataError, match="no column has a histogram"):
        small_histograms(BARS.iloc[:0])
    with pytest.raises(DataError, match="no two columns are correlated"):
        correlation_heatmap(PAIRS.iloc[:0])
    with pytest.raises(ColumnError, match="column 'n' not found"):
        small_histograms(BARS.drop(columns="n"))
