"""Power figure: the chance of showing an effect by the number of units.

Takes the rows of a power curve and gives a matplotlib figure, ready for ``savefig``. Lines differ in lightness and in the marks on
them, so they are told apart without colour vision and in print.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sparkds.errors import ColumnError, DataError
from sparkds.figures.canvas import FAINT, INK, canvas, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
COLUMNS: Final = ("metric", "effect", "relative_effect", "n_total", "power", "method")


def power_curves(curve: DataFrame, *, power: float, n_total: int) -> Figure:
    """Power of one metric by units over all arms, a line per true effect.

    Parameters
    ----------
    curve : pandas.DataFrame
        Rows of `sparkds.experiments.plan.Plan.curve`: ``metric``, ``effect`` and ``relative_effect`` (NaN where the baseline is 0),
        ``n_total`` (units), ``power`` (share; NaN for effects that cannot be), ``method``.
    power : float
        Wanted, as a share.
    n_total : int
        Planned units over all arms.

    Returns
    -------
    matplotlib.figure.Figure
        Dashed lines are the wanted power and the planned units.

    Raises
    ------
    ColumnError
        A column is missing.
    ConfigError
        matplotlib is not installed.
    DataError
        No row has a power.

    Examples
    --------
    >>> power_curves(curve, power=0.8, n_total=62_468).savefig("power.png")  # doctest: +SKIP
    """
    for column in COLUMNS:
        if column not in curve.columns:
            raise ColumnError.missing(column, [str(name) for name in curve.columns], "the power curve to draw")
    known = curve.dropna(subset=["power"])
    if known.empty:
        raise DataError("no row of the power curve has a power; there is nothing to draw")
    effects = list(known.groupby("effect")["power"].mean().sort_values(ascending=False, kind="stable").index)  # as the lines stand
    figure, axes = canvas(9, 5.4)
    for place, effect in enumerate(effects):
        line = known[known["effect"] == effect].sort_values("n_total")
        colour = _colour(place, len(effects))
        axes.plot(
            line["n_total"],
            100 * line["power"],
            color=colour,
            marker=MARKS[place % len(MARKS)],
            markevery=max(1, len(line) // 8),
            markersize=5,
            linewidth=1.8,
            label=_named(effect, float(line["relative_effect"].iloc[0])),
        )
    axes.axhline(100 * power, color=FAINT, linestyle="--", linewidth=1)
    axes.axvline(n_total, color=FAINT, linestyle="--", linewidth=1)
    axes.annotate(
        f"{n_total:,} planned", xy=(n_total, 0), xytext=(4, 6), textcoords="offset points", fontsize=9, color=INK, annotation_clip=False
    )
    axes.set(xlim=(0, float(known["n_total"].max())), ylim=(0, 101), xlabel="units over all arms", ylabel="power (%)")
    axes.set_yticks(sorted({*range(0, 101, 20), round(100 * power, 6)}))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(title="true effect", frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    metric, method = str(known["metric"].iloc[0]), str(known["method"].iloc[0])
    titled(axes, f"Power to show the claim on {metric}", f"wanted {100 * power:g} % at {n_total:,} units  ·  {method}")
    return figure


def _named(effect: float, relative: float) -> str:
    return f"{effect:+.4g}" if math.isnan(relative) else f"{100 * relative:+.3g} %  ({effect:+.4g})"


def _colour(place: int, n: int) -> Any:
    """Colour of a line, from dark to light."""
    from matplotlib import colormaps

    return colormaps["viridis"](float(np.linspace(0.05, 0.85, n)[place]))
