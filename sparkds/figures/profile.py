"""Figures of a profile: small histograms of many columns side by side, and the matrix of correlations as a heatmap.

Takes small pandas frames and gives matplotlib figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sparkds.errors import ColumnError, DataError
from sparkds.figures.canvas import FAINT, INK, canvas, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

ACROSS: Final = 4
MOST_PANELS: Final = 48
MOST_NAMES: Final = 60
"""With more columns the heatmap has no names at its axes."""
NUMBERED: Final = 14
"""Up to so many columns the heatmap has numbers in its cells."""
BAR: Final = "#3a6ea5"


def small_histograms(bars: DataFrame, *, columns: Sequence[str] | None = None) -> Figure:
    """Histogram of each column in a panel of its own.

    Parameters
    ----------
    bars : DataFrame
        ``column``, ``low``, ``high``, ``n``: rows from `low` to below `high`, ascending; optionally ``first`` and ``last``, the texts
        at the ends of the axis.
    columns : sequence of str, optional
        Columns to draw, in order; those of `bars` if absent, at most 48.

    Raises
    ------
    DataError
        There is nothing to draw.

    Examples
    --------
    >>> small_histograms(pd.DataFrame([("x", 0.0, 1.0, 5), ("x", 1.0, 2.0, 7)], columns=["column", "low", "high", "n"]))  # doctest: +SKIP
    """
    _holds(bars, ("column", "low", "high", "n"))
    names = list(dict.fromkeys(bars["column"])) if columns is None else list(columns)
    names = [name for name in names if (bars["column"] == name).any()][:MOST_PANELS]
    if not names:
        raise DataError("no column has a histogram; there is nothing to draw")
    down = -(-len(names) // ACROSS)
    figure, whole = canvas(11, 1.0 + 1.35 * down)
    whole.remove()
    grid = figure.subplots(down, ACROSS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        _panel(axes, name, bars[bars["column"] == name])
    return figure


def _panel(axes: Axes, name: str, bars: DataFrame) -> None:
    axes.set_axis_on()
    low, high, n = (bars[c].to_numpy(dtype=float) for c in ("low", "high", "n"))
    axes.bar(low, n, width=high - low, align="edge", color=BAR, edgecolor="white", linewidth=0.3)
    axes.set_title(_plain(name if len(name) < 28 else name[:27] + "…"), fontsize=8.5, loc="left", color=INK, pad=3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    ends = [str(bars[c].iloc[0]) for c in ("first", "last")] if "first" in bars.columns else [f"{low[0]:.4g}", f"{high[-1]:.4g}"]
    axes.set_xticks([low[0], high[-1]], [_plain(end) for end in ends], fontsize=7, color="#56637a")
    left, right = axes.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
    axes.set_yticks([])
    axes.tick_params(length=0)


def correlation_heatmap(correlations: DataFrame, *, value: str = "pearson") -> Figure:
    """Matrix of the correlations of columns.

    Parameters
    ----------
    correlations : DataFrame
        ``column``, ``other`` and `value` in [-1, 1], each pair once; NaN where there is none.
    value : str
        ``pearson`` or ``spearman``.

    Raises
    ------
    DataError
        There are no pairs.
    """
    _holds(correlations, ("column", "other", value))
    if not len(correlations):
        raise DataError("no two columns are correlated; there is nothing to draw")
    names = list(dict.fromkeys([*correlations["column"], *correlations["other"]]))
    place = {name: i for i, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(matrix, 1)
    i, j = (correlations[c].map(place).to_numpy() for c in ("column", "other"))
    matrix[i, j] = matrix[j, i] = correlations[value].to_numpy(dtype=float)
    side = min(11.0, 3.2 + 0.42 * len(names))
    figure, axes = canvas(side + 1.2, side)
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    if len(names) <= MOST_NAMES:
        size = 8.5 if len(names) <= 20 else 6
        axes.set_xticks(range(len(names)), [_plain(name) for name in names], rotation=60, ha="right", fontsize=size)
        axes.set_yticks(range(len(names)), [_plain(name) for name in names], fontsize=size)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(names) <= NUMBERED:
        for row, column in np.ndindex(matrix.shape):
            r = matrix[row, column]
            if row != column:
                dark = abs(r) > 0.6
                axes.text(column, row, f"{r:.2f}" if r == r else "–", ha="center", va="center", fontsize=7, color="white" if dark else INK)
    bar = figure.colorbar(image, shrink=0.7)
    bar.outline.set_visible(False)
    titled(axes, f"{value.capitalize()}'s correlations", f"{len(names)} numeric columns; white where there is none")
    return figure


def _holds(frame: DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise ColumnError.missing(column, [str(name) for name in frame.columns], "the rows to draw")


def _plain(name: Any) -> str:
    """Text that matplotlib does not read as mathematics."""
    return str(name).replace("$", r"\$")
