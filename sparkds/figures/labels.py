"""Label figures: how often what is to be predicted happens, over time.

Takes one row per cut-off as pandas and gives a matplotlib figure, ready for ``savefig``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparkds.errors import ColumnError, DataError
from sparkds.figures.canvas import INK, canvas, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def shares_over_time(rows: DataFrame, *, time: str, share: str, what: str) -> Figure:
    """A share at every cut-off, from zero on, so that heights compare.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row per cut-off.
    time : str
        Column of the days.
    share : str
        Column of shares in [0, 1].
    what : str
        What the share is of; the title.

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        There is no row.

    Examples
    --------
    >>> shares_over_time(by_day, time="as_of", share="share", what="share who buy").savefig("share.png")  # doctest: +SKIP
    """
    for column in (time, share):
        if column not in rows.columns:
            raise ColumnError.missing(column, rows.columns, "the shares")
    if rows.empty:
        raise DataError("there is no cut-off whose share could be drawn")
    rows = rows.sort_values(time)
    figure, axes = canvas(7.2, 3.6)
    axes.plot(range(len(rows)), rows[share].to_numpy(dtype=float), color=INK, marker="o", linewidth=1.6)
    axes.set_xticks(range(len(rows)), [str(day) for day in rows[time]], rotation=40, ha="right", fontsize=8)
    axes.set_ylim(0, max(float(rows[share].max()) * 1.15, 0.01))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    titled(axes, what[:1].upper() + what[1:], f"{len(rows)} cut-offs, {rows[time].iloc[0]} to {rows[time].iloc[-1]}")
    return figure
