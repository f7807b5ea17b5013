"""Experiment figures: effects with their intervals, an effect over the days, and the share of each arm by day.

Takes rows of the results and counts tables as pandas and gives matplotlib figures, ready for ``savefig``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from sparkds.errors import ColumnError, DataError
from sparkds.figures.canvas import FAINT, INK, canvas, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

ROLE_COLOUR: Final = {"primary": "#1d4ed8", "secondary": "#64748b", "guardrail": "#b45309"}
ROLE_MARK: Final = {"primary": "o", "secondary": "s", "guardrail": "D"}
ORDER: Final = ("primary", "guardrail", "secondary")


def forest(results: DataFrame, *, margins: Mapping[str, float] | None = None) -> Figure:
    """Relative effects with their intervals, a line per metric and arm, primary metrics first.

    Parameters
    ----------
    results : pandas.DataFrame
        Rows of one experiment and day: ``kind``, ``name``, ``variant``, ``arm``, ``segment``, ``scale``, ``role``, ``value``, ``low``,
        ``high``, ``reason`` and ``status``.
    margins : mapping of str to float, optional
        Guardrail to the relative change that it bears, below 0 for what must not fall.

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        No effect is relative.

    Examples
    --------
    >>> forest(results, margins={"back_in_second_week": -0.02}).savefig("forest.png")  # doctest: +SKIP
    """
    _check(results, ("kind", "name", "variant", "arm", "segment", "scale", "role", "value", "low", "high", "reason", "status"))
    rows = results[
        (results["kind"] == "effect") & (results["variant"] == "declared") & (results["segment"] == "") & (results["scale"] == "relative")
    ]
    if rows.empty:
        raise DataError("there is no relative effect to draw")
    rows = rows.assign(place=rows["role"].map({role: i for i, role in enumerate(ORDER)})).sort_values(
        ["place", "name", "arm"], kind="stable"
    )
    figure, axes = canvas(9, 1.6 + 0.42 * len(rows))
    finite = [100 * v for v in (*rows["low"], *rows["high"], *rows["value"]) if math.isfinite(v)]
    reach = max([abs(v) for v in finite] + [1.0]) * 1.15
    for y, row in enumerate(rows.to_dict("records")):
        colour = ROLE_COLOUR.get(row["role"], INK)
        if row["reason"]:
            axes.annotate(f"not computable: {row['reason']}", (0, y), fontsize=8, color=FAINT, va="center", ha="center")
            continue
        low, high = (max(-reach, min(reach, 100 * row[end])) for end in ("low", "high"))
        faded = 0.45 if row["status"] == "not_final" else 1.0
        axes.plot([low, high], [y, y], color=colour, linewidth=2.2, alpha=faded, solid_capstyle="butt")
        axes.plot([100 * row["value"]], [y], ROLE_MARK.get(row["role"], "o"), color=colour, markersize=6, alpha=faded)
        margin = (margins or {}).get(row["name"])
        if margin is not None:
            axes.plot([100 * margin] * 2, [y - 0.38, y + 0.38], color=colour, linestyle=":", linewidth=1.6)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=0)
    axes.set_yticks(range(len(rows)), [f"{r['name']}  ·  {r['arm']}" for r in rows.to_dict("records")])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("change relative to the control (%)")
    pale = "  ·  pale: not final" if (rows["status"] == "not_final").any() else ""
    titled(axes, "Effects", f"circles primary, diamonds guardrails with margin, squares secondary{pale}")
    return figure


def cumulative_effect(series: DataFrame, *, name: str, arm: str) -> Figure:
    """Effect of one metric and arm by day of analysis, with its interval.

    Parameters
    ----------
    series : pandas.DataFrame
        One row per day: ``as_of``, ``value``, ``low``, ``high`` on one scale.
    name, arm : str
        Metric and arm, for the title.

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        No day has an effect.
    """
    _check(series, ("as_of", "value", "low", "high"))
    rows = series.dropna(subset=["value"]).sort_values("as_of")
    if rows.empty:
        raise DataError(f"no day has an effect of '{name}' to draw")
    days = [str(day)[:10] for day in rows["as_of"]]
    at = np.arange(len(days))
    value, low, high = (rows[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
    figure, axes = canvas(9, 4.6)
    seen = np.concatenate([value, low[np.isfinite(low)], high[np.isfinite(high)], [0.0]])
    room = 0.08 * (seen.max() - seen.min() or 1.0)
    bottom, top = seen.min() - room, seen.max() + room
    axes.fill_between(at, np.clip(low, bottom, top), np.clip(high, bottom, top), color="#bfdbfe", linewidth=0)
    axes.plot(at, value, color=ROLE_COLOUR["primary"], marker="o", markersize=4)
    axes.axhline(0, color=INK, linewidth=0.9)
    step = max(1, len(days) // 10)
    axes.set_xticks(at[::step], days[::step])
    axes.set_ylim(bottom, top)
    axes.set_ylabel("effect")
    titled(
        axes, f"{name}: effect of {arm}", f"all data up to each day, {days[0]} to {days[-1]}; the band is the interval valid on that day"
    )
    return figure


def sample_ratio_by_day(counts: DataFrame, *, weights: Mapping[str, float]) -> Figure:
    """Cumulative share of each arm by day of exposure, with its planned share and four standard errors around it.

    Parameters
    ----------
    counts : pandas.DataFrame
        ``day``, ``arm``, ``n`` (units first exposed on that day).
    weights : mapping of str to float
        Planned shares.

    Raises
    ------
    ColumnError
        A column is missing.
    DataError
        There are no units.
    """
    _check(counts, ("day", "arm", "n"))
    if counts.empty or counts["n"].sum() == 0:
        raise DataError("there are no units to draw")
    table = counts.pivot_table(index="day", columns="arm", values="n", aggfunc="sum", fill_value=0).sort_index().cumsum()
    total = table.sum(axis=1).to_numpy(dtype=float)
    at = np.arange(len(table))
    figure, axes = canvas(9, 4.6)
    for i, (arm, planned) in enumerate(weights.items()):
        colour = ("#1d4ed8", "#b45309", "#047857", "#7c3aed", "#64748b")[i % 5]
        share = (table[arm].to_numpy(dtype=float) if arm in table else np.zeros(len(table))) / total
        spread = 4 * np.sqrt(planned * (1 - planned) / total)
        axes.fill_between(at, 100 * (planned - spread), 100 * (planned + spread), color=colour, alpha=0.12, linewidth=0)
        axes.axhline(100 * planned, color=colour, linestyle="--", linewidth=0.9)
        axes.plot(at, 100 * share, color=colour, marker="o", markersize=3.5)
        axes.annotate(arm, (at[-1], 100 * share[-1]), xytext=(6, 0), textcoords="offset points", va="center", color=colour)
    days = [str(day)[:10] for day in table.index]
    step = max(1, len(days) // 10)
    axes.set_xticks(at[::step], days[::step])
    axes.set_ylabel("share of the units (%)")
    titled(axes, "Sample ratio", f"{int(total[-1]):,} units up to {days[-1]}  ·  dashed: planned  ·  band: four standard errors")
    return figure


def _check(frame: DataFrame, columns: tuple[str, ...]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise ColumnError.missing(column, [str(name) for name in frame.columns], "the rows to draw")
