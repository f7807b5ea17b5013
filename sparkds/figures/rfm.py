"""RFM figures: segments over time, and customers by recency and frequency.

Take small frames of counts and give matplotlib figures, ready for ``savefig``; no backend is chosen and no global state of
matplotlib is touched. Colours differ in lightness, so they are told apart without colour vision and in print.
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

SCORES: Final = (1, 2, 3, 4, 5)
LABEL_GAP: Final = 3.4
"""Smallest distance of two labels beside the bands, in percent of the axis."""


def segments_over_time(counts: DataFrame, *, order: Sequence[str] | None = None) -> Figure:
    """Share of each RFM segment on each snapshot day.

    Parameters
    ----------
    counts : pandas.DataFrame
        Columns ``as_of`` (date), ``rfm_segment`` (text; null for entities without a purchase, which are left out) and
        ``n`` (entities).
    order : sequence of str, optional
        Segments from top to bottom, e.g. from the best to the worst; the smallest on the last day on top if absent. A
        segment that is not in it comes below.

    Returns
    -------
    matplotlib.figure.Figure
        Stacked shares in percent, each band named beside its end with its share on the last day. Dots below the axis are
        the snapshot days; between them the bands are straight.

    Raises
    ------
    ColumnError
        A column is missing.
    ConfigError
        matplotlib is not installed.
    DataError
        No entity has a segment.

    Examples
    --------
    >>> segments_over_time(counts).savefig("segments.png")  # doctest: +SKIP
    """
    table = _known(counts, ("as_of", "rfm_segment", "n"), needed="rfm_segment").pivot_table(
        index="as_of", columns="rfm_segment", values="n", aggfunc="sum", fill_value=0
    )
    by_size = [str(name) for name in table.iloc[-1].sort_values(kind="stable").index]
    names = by_size if order is None else [*(s for s in order if s in by_size), *(s for s in by_size if s not in order)]
    names = names[::-1]  # bands are stacked from below
    entities = table[names].to_numpy(dtype=float)  # (n_days, n_segments)
    shares = 100 * entities / entities.sum(axis=1, keepdims=True)
    days = list(table.index)
    n_days, last = len(days), str(days[-1])[:10]
    if n_days == 1:  # a band needs two ends
        days, shares = days * 2, np.repeat(shares, 2, axis=0)

    figure, axes = canvas(10, 5.6)
    places = np.arange(len(shares)) if n_days == 1 else days
    bands = axes.stackplot(places, shares.T, colors=_colours(len(names)), edgecolor="white", linewidth=0.8)
    for band, name in zip(bands, names, strict=True):
        band.set_label(name)
    _name_bands(axes, names, shares[-1])
    axes.set(ylim=(0, 100), ylabel="share of customers with a purchase (%)")
    axes.margins(x=0)
    axes.set_yticks(range(0, 101, 20))
    if n_days == 1:
        axes.set_xticks([])
        axes.set_xlabel(f"snapshot of {last}")
    else:
        axes.plot(days, np.zeros(n_days), ".", color=INK, markersize=4, clip_on=False, zorder=3, transform=axes.get_xaxis_transform())
        axes.set_xlabel("snapshot day as_of (dots)")
        _date_ticks(axes)
    n_last = int(entities[-1].sum())
    first = str(days[0])[:10]
    span = f"  ·  {n_days} snapshots, {first} to {last}" if n_days > 1 else ""
    titled(axes, "RFM segments over time", f"{n_last:,} customers on {last}{span}")
    return figure


def recency_frequency_heatmap(counts: DataFrame) -> Figure:
    """Entities by recency and frequency score.

    Parameters
    ----------
    counts : pandas.DataFrame
        Columns ``r_score`` and ``f_score`` (1 … 5), ``n`` (entities), and optionally ``monetary`` (their mean value); rows
        with null scores are left out.

    Returns
    -------
    matplotlib.figure.Figure
        5 × 5 cells with number, share in percent and mean value; recency to the right, frequency upwards, 5 the best.

    Raises
    ------
    ColumnError
        A column is missing.
    ConfigError
        matplotlib is not installed.
    DataError
        No entity has scores.

    Examples
    --------
    >>> recency_frequency_heatmap(cells).savefig("recency_frequency.png")  # doctest: +SKIP
    """
    known = _known(counts, ("r_score", "f_score", "n"), needed="r_score").dropna(subset=["f_score"])
    entities = _cells(known, known["n"])
    value = _cells(known, known["n"] * known["monetary"].astype(float)) if "monetary" in known.columns else None
    total = entities.sum()
    shares = 100 * entities / total

    figure, axes = canvas(7.6, 6.2)
    image = axes.imshow(shares, origin="lower", cmap="Blues", vmin=0)
    for f, r in np.ndindex(5, 5):
        n = int(entities[f, r])
        lines = [f"{n:,}", f"{shares[f, r]:.1f} %"]
        if value is not None and n:
            lines.append(f"⌀ {value[f, r] / n:,.2f}")
        red, green, blue, _ = image.cmap(image.norm(shares[f, r]))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        axes.text(r, f, "\n".join(lines) if n else "–", ha="center", va="center", fontsize=9, color="white" if dark else INK)
    axes.set_xticks(range(5), [str(score) for score in SCORES])
    axes.set_yticks(range(5), [str(score) for score in SCORES])
    axes.set_xticks(np.arange(0.5, 4), minor=True)
    axes.set_yticks(np.arange(0.5, 4), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="recency score  (5 = bought most recently)", ylabel="frequency score  (5 = buys most often)")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, label="share of customers (%)", shrink=0.85)
    bar.outline.set_visible(False)
    told = "number, share" if value is None else "number, share and mean monetary value"
    titled(axes, "Customers by recency and frequency", f"{int(total):,} customers with a purchase  ·  {told} in each cell")
    return figure


def _known(counts: DataFrame, columns: Sequence[str], *, needed: str) -> DataFrame:
    """Rows in which the column `needed` is not null."""
    for column in columns:
        if column not in counts.columns:
            raise ColumnError.missing(column, [str(name) for name in counts.columns], "the counts to draw")
    known = counts.dropna(subset=[needed])
    if not known["n"].sum() > 0:
        raise DataError(f"no entity has a value in '{needed}'; there is nothing to draw")
    return known


def _cells(known: DataFrame, values: Any) -> Any:
    """Sum of values by score: (5, 5), frequency by recency."""
    cells = np.zeros((5, 5))
    np.add.at(cells, (known["f_score"].to_numpy(dtype=int) - 1, known["r_score"].to_numpy(dtype=int) - 1), values)
    return cells


def _colours(n: int) -> Any:
    """Colours from light to dark, for bands from below: (n, 4)."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0.95, 0.08, n))


def _name_bands(axes: Axes, names: Sequence[str], shares: Any) -> None:
    """Write each band's name and share beside its end, moved apart where bands are thin."""
    ends = np.cumsum(shares)
    middles = ends - shares / 2
    places = middles.copy()
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + LABEL_GAP)
    places[-1] = min(places[-1], 100 - LABEL_GAP / 2)
    for i in range(len(places) - 2, -1, -1):
        places[i] = min(places[i], places[i + 1] - LABEL_GAP)
    for name, share, middle, place in zip(names, shares, middles, places, strict=True):
        axes.annotate(
            f"{name.replace('_', ' ')}  {share:.0f} %",
            xy=(1, middle),
            xytext=(1.035, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)},
        )


def _date_ticks(axes: Axes) -> None:
    from matplotlib import dates as untyped

    dates: Any = untyped
    first, last = axes.get_xlim()
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=8))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%b %Y" if last - first > 120 else "%-d %b %Y"))
