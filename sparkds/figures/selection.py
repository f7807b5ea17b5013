"""Selection figures: which columns a selection keeps, and how important each is to the model.

Takes rows of the table of decisions as pandas and gives matplotlib figures, ready for ``savefig``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sparkds.errors import ColumnError, DataError
from sparkds.figures.canvas import FAINT, INK, canvas, titled
from sparkds.figures.models import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

COLUMNS: Final = ("column", "kept", "importance", "importance_sd", "selected_in")
LONGEST: Final = 40


def importances(decisions: DataFrame, *, most: int = 25, unit: str = "importance") -> Figure:
    """Bars of the most important columns with one standard deviation on either side; kept ones in colour, the others pale.

    Parameters
    ----------
    decisions : pandas.DataFrame
        Rows of the table of decisions: column, kept, importance, importance_sd, selected_in.
    most : int
        Columns that are shown.
    unit : str
        Of the importances, for the axis.

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        No column has an importance.

    Examples
    --------
    >>> importances(decisions).savefig("importances.png")  # doctest: +SKIP
    """
    for column in COLUMNS:
        if column not in decisions.columns:
            raise ColumnError.missing(column, [str(name) for name in decisions.columns], "the decisions to draw")
    judged = decisions.dropna(subset=["importance"]).sort_values("importance", ascending=False, kind="stable")
    if judged.empty:
        raise DataError("no column has an importance to draw; select with importance")
    shown = judged.iloc[:most].iloc[::-1]
    kept = shown["kept"].to_numpy(dtype=bool)
    figure, axes = canvas(7.2, 1.6 + 0.28 * len(shown))
    place = np.arange(len(shown))
    spread = shown["importance_sd"].fillna(0.0).to_numpy(dtype=float)
    axes.barh(place, shown["importance"].to_numpy(dtype=float), color=[COLOURS[0] if one else FAINT for one in kept], height=0.7)
    axes.errorbar(shown["importance"].to_numpy(dtype=float), place, xerr=spread, fmt="none", ecolor=INK, elinewidth=1)
    names = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in shown["column"]]
    axes.set_yticks(place, [name.replace("$", r"\$") for name in names])
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel(unit)
    n_kept = int(decisions["kept"].sum())
    hidden = f", the first {len(shown)} shown" if len(shown) < len(judged) else ""
    titled(axes, "Importance of features", f"{n_kept} of {len(decisions)} columns kept, {len(judged)} judged{hidden}")
    return figure
