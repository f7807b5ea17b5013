"""Model figures: how models rank, how well they are calibrated, whom they select, and what they rest on.

Takes rows of an evaluation table as pandas and gives matplotlib figures, ready for ``savefig``. Models differ in lightness and in the
marks on their lines, so that they are told apart without colour vision and in print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sparkds.errors import ColumnError, DataError
from sparkds.figures.canvas import FAINT, INK, canvas, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

COLOURS: Final = ("#1d4ed8", "#b45309", "#0f766e", "#7c3aed", "#64748b", "#be123c")
MARKS: Final = ("o", "s", "^", "D", "v", "P")
COLUMNS: Final = ("kind", "model", "group", "group_value", "name", "at", "value", "low", "high", "n", "reason")
RATES: Final = {
    "base_rate": "share of positives (%)",
    "selection_rate": "selected (%)",
    "recall": "true positives found (%)",
    "false_positive_rate": "negatives selected (%)",
    "precision": "positives among selected (%)",
    "accuracy": "right (%)",
    "observed_by_expected": "positives by expected positives (%)",
}


def roc(evaluation: DataFrame, *, models: Sequence[str] | None = None) -> Figure:
    """ROC curves: share of the positives found by the share of the negatives that are selected with them.

    Parameters
    ----------
    evaluation : pandas.DataFrame
        Rows in the columns of `sparkds.models.evaluation.COLUMNS`; those of kind ``curve`` and ``metric`` over all rows are drawn.
    models : sequence of str, optional
        Which models, in this order; all if absent.

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        No model has a curve.

    Examples
    --------
    >>> roc(evaluation).savefig("roc.png")  # doctest: +SKIP
    """
    rows, names = _of_models(evaluation, models, "curve", "roc")
    figure, axes = canvas(6.4, 6)
    axes.plot([0, 100], [0, 100], color=FAINT, linestyle="--", linewidth=1)
    for i, model in enumerate(names):
        line = rows[rows["model"] == model].sort_values(["at", "value"])
        _line(axes, i, 100 * line["at"], 100 * line["value"], f"{model}  {_figure(evaluation, model, 'auc', 'AUC')}")
    axes.set_xlabel("negatives selected (%)")
    axes.set_ylabel("positives selected (%)")
    axes.set_aspect("equal")
    axes.legend(loc="lower right", frameon=False, fontsize=8.5)
    titled(axes, "Ranking of positives and negatives", f"ROC curve on {_rows(rows)} rows  ·  dashed: no skill")
    return figure


def precision_recall(evaluation: DataFrame, *, models: Sequence[str] | None = None) -> Figure:
    """Precision by recall; arguments and errors as of `roc`."""
    rows, names = _of_models(evaluation, models, "curve", "precision_recall")
    figure, axes = canvas(6.4, 6)
    base = evaluation[(evaluation["kind"] == "metric") & (evaluation["name"] == "base_rate") & (evaluation["group"] == "")]["value"]
    if len(base):
        axes.axhline(100 * float(base.iloc[0]), color=FAINT, linestyle="--", linewidth=1)
    for i, model in enumerate(names):
        line = rows[rows["model"] == model].sort_values("at", kind="stable")
        label = f"{model}  {_figure(evaluation, model, 'average_precision', 'AP')}"
        _line(axes, i, 100 * line["at"], 100 * line["value"], label, drawstyle="steps-pre")
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    axes.set_xlabel("recall: positives selected (%)")
    axes.set_ylabel("precision: positives among selected (%)")
    axes.legend(loc="best", frameon=False, fontsize=8.5)
    titled(axes, "Precision by recall", f"{_rows(rows)} rows  ·  dashed: share of positives in all rows")
    return figure


def calibration(evaluation: DataFrame, *, model: str) -> Figure:
    """Observed share of positives by mean score of each group of scores, with its interval; arguments and errors as of `roc`."""
    rows, _ = _of_models(evaluation, (model,), "calibration", "observed")
    mean, _ = _of_models(evaluation, (model,), "calibration", "mean_score")
    table = rows.merge(mean[["at", "value"]].rename(columns={"value": "mean_score"}), on="at").sort_values("at")
    x, y = 100 * table["mean_score"].to_numpy(dtype=float), 100 * table["value"].to_numpy(dtype=float)
    low, high = (100 * table[end].to_numpy(dtype=float) for end in ("low", "high"))
    figure, axes = canvas(6.4, 6)
    top = min(102.0, 1.08 * float(np.nanmax(np.concatenate([x, y, high, [1.0]]))))
    axes.plot([0, top], [0, top], color=FAINT, linestyle="--", linewidth=1)
    axes.vlines(x, low, high, color=COLOURS[0], linewidth=1.8, alpha=0.5)
    axes.plot(x, y, color=COLOURS[0], marker="o", markersize=5)
    axes.set_xlim(-0.02 * top, top)
    axes.set_ylim(-0.02 * top, top)
    axes.set_aspect("equal")
    axes.set_xlabel("mean score (%)")
    axes.set_ylabel("positives observed (%)")
    sizes = f"{table['n'].min():,.0f}" if table["n"].min() == table["n"].max() else f"{table['n'].min():,.0f} to {table['n'].max():,.0f}"
    titled(axes, f"Calibration of {model}", f"{len(table)} groups of {sizes} rows by score  ·  bars: interval of the observed share")
    return figure


def gain(evaluation: DataFrame, *, models: Sequence[str] | None = None) -> Figure:
    """Share of the positives reached by the share of rows taken from the top, with the lift of the first group; as of `roc`."""
    rows, names = _of_models(evaluation, models, "lift", "gain")
    share, _ = _of_models(evaluation, names, "lift", "n_share")
    lifts, _ = _of_models(evaluation, names, "lift", "lift")
    figure, axes = canvas(7.2, 5.4)
    axes.plot([0, 100], [0, 100], color=FAINT, linestyle="--", linewidth=1)
    for i, model in enumerate(names):
        line = rows[rows["model"] == model].sort_values("at")
        taken = share[share["model"] == model].sort_values("at")["value"].to_numpy(dtype=float)
        first = lifts[lifts["model"] == model].sort_values("at")["value"].iloc[0]
        y = np.concatenate([[0.0], line["value"].to_numpy(dtype=float)])
        x = np.concatenate([[0.0], taken])
        axes.plot(
            100 * x, 100 * y, color=COLOURS[i % 6], marker=MARKS[i % 6], markersize=4.5, label=f"{model}  lift {first:.2f} at the top"
        )
    axes.set_xlabel("rows taken, highest scores first (%)")
    axes.set_ylabel("positives reached (%)")
    axes.legend(loc="lower right", frameon=False, fontsize=8.5)
    n = rows.groupby("model")["n"].sum().max()
    titled(axes, "Gain", f"{n:,.0f} rows in groups by score  ·  dashed: taken at random")
    return figure


def score_distribution(evaluation: DataFrame, *, model: str) -> Figure:
    """Scores of positives and of negatives; arguments and errors as of `roc`."""
    figure, axes = canvas(7.2, 4.6)
    peak = 0.0
    told = []
    for i, (name, label) in enumerate((("score_share_negative", "negatives"), ("score_share_positive", "positives"))):
        rows, _ = _of_models(evaluation, (model,), "curve", name)
        rows = rows.sort_values("at")
        left, share = 100 * rows["at"].to_numpy(dtype=float), 100 * rows["value"].to_numpy(dtype=float)
        width = float(left[1] - left[0]) if len(left) > 1 else 100.0
        axes.stairs(share, np.append(left, left[-1] + width), color=COLOURS[i], fill=True, alpha=0.25, label=label)
        axes.stairs(share, np.append(left, left[-1] + width), color=COLOURS[i], linewidth=1.4, linestyle="-" if i else "--")
        peak = max(peak, float(share.max()))
        told.append(f"{rows['n'].iloc[0]:,.0f} {label}")
    axes.set_ylim(0, 1.08 * peak)
    axes.set_xlabel("score (%)")
    axes.set_ylabel("share of the class (%)")
    axes.legend(frameon=False, fontsize=8.5)
    titled(axes, f"Scores of {model}", " and ".join(told))
    return figure


def confusion(evaluation: DataFrame, *, model: str, threshold: float) -> Figure:
    """Counts of right and wrong decisions at a threshold; arguments and errors as of `roc`."""
    wanted = ("true_negative", "false_positive", "false_negative", "true_positive")
    _check(evaluation)
    at = evaluation[
        (evaluation["kind"] == "threshold") & (evaluation["model"] == model) & (evaluation["group"] == "") & (evaluation["at"] == threshold)
    ]
    found = {row["name"]: float(row["value"]) for row in at.to_dict("records") if row["name"] in wanted}
    if len(found) < 4:
        raise DataError(f"model '{model}' has no counts at the threshold {threshold:g} to draw")
    cells = np.array([found[name] for name in wanted]).reshape(2, 2)
    by_class = np.divide(cells, cells.sum(axis=1, keepdims=True), out=np.zeros((2, 2)), where=cells.sum(axis=1, keepdims=True) > 0)
    figure, axes = canvas(5.6, 4.8)
    axes.imshow(by_class, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i in range(2):
        for j in range(2):
            ink = "white" if by_class[i, j] > 0.55 else INK
            axes.annotate(f"{cells[i, j]:,.0f}", (j, i), color=ink, ha="center", va="bottom", fontsize=14, weight="bold")
            axes.annotate(f"{100 * by_class[i, j]:.1f} % of the class", (j, i), xytext=(0, -6), textcoords="offset points", color=ink,
                          ha="center", va="top", fontsize=8.5)  # fmt: skip
    axes.set_xticks([0, 1], ["not selected", "selected"])
    axes.set_yticks([0, 1], ["negative", "positive"])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    titled(axes, f"Decisions of {model}", f"{cells.sum():,.0f} rows, selected from a score of {threshold:g} on")
    return figure


def fairness(
    evaluation: DataFrame, *, model: str, group: str, rates: Sequence[str] = ("selection_rate", "recall", "false_positive_rate")
) -> Figure:
    """Rates by value of a group with their intervals, a panel per rate; arguments and errors as of `roc`.

    Parameters
    ----------
    evaluation, model
    group : str
        Column of the group.
    rates : sequence of str
        Among ``base_rate``, ``selection_rate``, ``recall``, ``false_positive_rate``, ``precision``, ``accuracy``, ``observed_by_expected``.
    """
    _check(evaluation)
    rows = evaluation[
        (evaluation["kind"] == "fairness")
        & (evaluation["model"] == model)
        & (evaluation["group"] == group)
        & (evaluation["group_value"] != "")
    ]
    rows = rows[rows["name"].isin(rates)]
    if rows.empty:
        raise DataError(f"model '{model}' has no rates by '{group}' to draw")
    values = sorted(rows["group_value"].unique(), key=str)
    figure, first = canvas(2.2 + 3.1 * len(rates), 1.9 + 0.42 * len(values))
    first.remove()
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    for axes, rate in zip(panels, rates, strict=True):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        of_rate = rows[rows["name"] == rate].set_index("group_value")
        for y, value in enumerate(values):
            row = of_rate.loc[value]
            if row["reason"]:
                axes.annotate(
                    f"undefined: {row['reason']}", (0.03, y), xycoords=("axes fraction", "data"), fontsize=8, color=FAINT, va="center"
                )
                continue
            axes.plot([100 * row["low"], 100 * row["high"]], [y, y], color=COLOURS[0], linewidth=2, alpha=0.5)
            axes.plot([100 * row["value"]], [y], MARKS[0], color=COLOURS[0], markersize=6)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_xlabel(RATES.get(rate, rate), fontsize=9)
        axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
    n = rows.groupby("group_value")["n"].max()
    panels[0].set_yticks(range(len(values)), [f"{value}  ({n[value]:,.0f})" for value in values])
    titled(panels[0], f"Rates of {model} by {group}", "rows in brackets  ·  bars: Wilson intervals")
    return figure


def residuals(evaluation: DataFrame, *, model: str) -> Figure:
    """Mean label by mean prediction of each group of predictions; arguments and errors as of `roc`."""
    mean, _ = _of_models(evaluation, (model,), "residual", "mean_prediction")
    seen, _ = _of_models(evaluation, (model,), "residual", "mean_label")
    table = seen.merge(mean[["at", "value"]].rename(columns={"value": "mean_prediction"}), on="at").sort_values("at")
    x, y = table["mean_prediction"].to_numpy(dtype=float), table["value"].to_numpy(dtype=float)
    figure, axes = canvas(6.4, 6)
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    axes.plot(ends, ends, color=FAINT, linestyle="--", linewidth=1)
    axes.plot(x, y, color=COLOURS[0], marker="o", markersize=5)
    axes.set_xlabel("mean prediction")
    axes.set_ylabel("mean label")
    told = f"{len(table)} groups of rows by prediction  ·  dashed: without bias"
    titled(axes, f"Labels by prediction of {model}", told)
    return figure


def by_period(evaluation: DataFrame, *, model: str, name: str, period: str = "period") -> Figure:
    """A metric by period with its interval, where it has one; arguments and errors as of `roc`.

    Parameters
    ----------
    evaluation, model
    name : str
        Name of the metric, e.g. ``auc``.
    period : str
        Group whose values are periods (ISO 8601).
    """
    _check(evaluation)
    wanted = (
        (evaluation["kind"] == "metric") & (evaluation["group"] == period) & (evaluation["model"] == model) & (evaluation["name"] == name)
    )
    rows = evaluation[wanted].dropna(subset=["value"]).sort_values("group_value")
    if rows.empty:
        raise DataError(f"model '{model}' has no '{name}' by {period} to draw")
    figure, axes = canvas(max(5.0, 2.4 + 0.55 * len(rows)), 4.2)
    x = np.arange(len(rows))
    axes.vlines(x, rows["low"], rows["high"], color=COLOURS[0], linewidth=2, alpha=0.5)
    axes.plot(x, rows["value"], color=COLOURS[0], marker="o", markersize=6, linewidth=1)
    axes.set_xticks(x, [f"{value}\n({n:,.0f})" for value, n in zip(rows["group_value"], rows["n"], strict=True)], fontsize=8)
    axes.set_ylabel(name.replace("_", " "))
    titled(axes, f"{name.replace('_', ' ')} of {model} over time", "rows in brackets  ·  bars: intervals")
    return figure


def importances(importance: DataFrame, *, model: str, most: int = 20, coverage: float | None = 0.9) -> Figure:
    """Importance of features, the largest first.

    Parameters
    ----------
    importance : pandas.DataFrame
        ``feature``, ``importance``; ``std`` (over shuffles) is drawn where it is there.
    model : str
    most : int
        Features that are drawn.
    coverage : float, optional
        Share of the importance after which a line is drawn.

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        There are no features.
    """
    for column in ("feature", "importance"):
        if column not in importance.columns:
            raise ColumnError.missing(column, [str(name) for name in importance.columns], "the importances to draw")
    if importance.empty:
        raise DataError("there are no importances to draw")
    ranked = importance.sort_values("importance", ascending=False, kind="stable").reset_index(drop=True)
    shown = ranked.iloc[:most]
    figure, axes = canvas(7.6, 1.5 + 0.32 * len(shown))
    error = shown["std"].to_numpy(dtype=float) if "std" in shown else None
    axes.barh(np.arange(len(shown)), shown["importance"].to_numpy(dtype=float), color=COLOURS[0], height=0.68, xerr=error,
              error_kw={"ecolor": INK, "elinewidth": 1})  # fmt: skip
    axes.set_yticks(range(len(shown)), [str(name) for name in shown["feature"]])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("importance")
    told = f"{len(shown)} of {len(ranked)} features"
    positive = ranked["importance"].clip(lower=0)
    if coverage is not None and positive.sum() > 0:
        needed = int(np.searchsorted((positive.cumsum() / positive.sum()).to_numpy(), coverage - 1e-12)) + 1
        told += f"  ·  the first {needed} hold {100 * coverage:g} % of the importance"
        if needed < len(shown):
            axes.axhline(needed - 0.5, color=FAINT, linestyle="--", linewidth=1)
    titled(axes, f"What {model} rests on", told)
    return figure


def _line(axes: Any, i: int, x: Any, y: Any, label: str, **style: Any) -> None:
    axes.plot(x, y, color=COLOURS[i % 6], marker=MARKS[i % 6], markersize=4.5, markevery=max(1, len(x) // 10), linewidth=1.6, label=label,
              **style)  # fmt: skip


def _check(frame: DataFrame) -> None:
    for column in COLUMNS:
        if column not in frame.columns:
            raise ColumnError.missing(column, [str(name) for name in frame.columns], "the evaluation rows to draw")


def _of_models(frame: DataFrame, models: Sequence[str] | None, kind: str, name: str) -> tuple[DataFrame, list[str]]:
    """Rows over all rows of a kind and name, without those that are not computable, and the models that have some."""
    _check(frame)
    rows = frame[(frame["kind"] == kind) & (frame["name"] == name) & (frame["group"] == "")].dropna(subset=["value"])
    found = list(dict.fromkeys(rows["model"]))
    names = found if models is None else [model for model in models if model in found]
    if not names:
        raise DataError(f"no model{'' if models is None else ' of ' + ', '.join(models)} has rows of {kind} '{name}' to draw")
    return rows[rows["model"].isin(names)], names


def _figure(frame: DataFrame, model: str, name: str, told: str) -> str:
    found = frame[(frame["kind"] == "metric") & (frame["model"] == model) & (frame["group"] == "") & (frame["name"] == name)]
    return f"{told} {found['value'].iloc[0]:.3f}" if len(found) and not found["reason"].iloc[0] else ""


def _rows(rows: DataFrame) -> str:
    return f"{rows['n'].max():,.0f}"
