"""Training figures: how a model's figure spreads over folds, and how it grows with the rows that it learns from.

Takes the trainer's metric rows as pandas and gives matplotlib figures, ready for ``savefig``.
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

COLUMNS: Final = ("model", "part", "metric", "value", "n")


def cross_validation(metrics: DataFrame, *, metric: str, model: str = "candidate") -> Figure:
    """A figure in every fold, with its mean and one standard deviation on either side.

    Parameters
    ----------
    metrics : pandas.DataFrame
        Rows of the trainer's table of metrics: model, part, metric, value, n.
    metric : str
        E.g. ``auc``.
    model : str

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        No fold has a value.

    Examples
    --------
    >>> cross_validation(metrics, metric="auc").savefig("folds.png")  # doctest: +SKIP
    """
    rows = _of(metrics, model, metric)
    folds = rows[rows["part"].str.fullmatch(r"fold_\d+")].copy()
    if folds.empty:
        raise DataError(f"no fold of '{model}' has a value of '{metric}' to draw")
    folds["fold"] = folds["part"].str.removeprefix("fold_").astype(int)
    folds = folds.sort_values("fold")
    value = folds["value"].to_numpy(dtype=float)
    mean, std = float(value.mean()), float(value.std(ddof=1)) if len(value) > 1 else 0.0
    figure, axes = canvas(6.4, 4.2)
    axes.axhspan(mean - std, mean + std, color=COLOURS[0], alpha=0.12, linewidth=0)
    axes.axhline(mean, color=FAINT, linestyle="--", linewidth=1)
    axes.plot(folds["fold"], value, "o", color=COLOURS[0], markersize=7)
    axes.set_xticks(folds["fold"], [f"{fold}\n({n:,.0f})" for fold, n in zip(folds["fold"], folds["n"], strict=True)])
    axes.set_xlabel("fold (rows judged)")
    axes.set_ylabel(metric)
    axes.margins(x=0.15)
    titled(axes, f"Cross-validation of {model}", f"{metric} {mean:.4g}, standard deviation over {len(value)} folds {std:.2g}")
    return figure


def learning_curve(metrics: DataFrame, *, metric: str, model: str = "candidate") -> Figure:
    """A figure on the validation rows by the number of training rows; arguments and errors as of `cross_validation`."""
    rows = _of(metrics, model, metric)
    curve = rows[rows["part"].str.fullmatch(r"learning_\d+")].copy()
    if curve.empty:
        raise DataError(f"'{model}' has no learning curve of '{metric}' to draw")
    curve["rows"] = curve["part"].str.removeprefix("learning_").astype(int)
    curve = curve.sort_values("rows")
    figure, axes = canvas(6.4, 4.2)
    axes.plot(curve["rows"], curve["value"], color=COLOURS[0], marker="o", markersize=6)
    axes.set_xscale("log")
    axes.set_xticks(curve["rows"], [f"{n:,}" for n in curve["rows"]], color=INK)
    axes.minorticks_off()
    axes.set_xlabel("training rows (logarithmic)")
    axes.set_ylabel(f"{metric} on validation rows")
    last = np.diff(curve["value"].to_numpy(dtype=float))[-1:] if len(curve) > 1 else np.array([])
    told = f"  ·  the last step changed it by {last[0]:+.2g}" if len(last) else ""
    titled(axes, f"Learning curve of {model}", f"{curve['n'].iloc[-1]:,.0f} validation rows{told}")
    return figure


def _of(metrics: DataFrame, model: str, metric: str) -> DataFrame:
    for column in COLUMNS:
        if column not in metrics.columns:
            raise ColumnError.missing(column, [str(name) for name in metrics.columns], "the training metrics to draw")
    rows = metrics[(metrics["model"] == model) & (metrics["metric"] == metric)]
    return rows.dropna(subset=["value"])
