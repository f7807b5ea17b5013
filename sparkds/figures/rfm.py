"""RFM figures: segments over time, and customers by recency and frequency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparkds.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

PALETTE = (
    "#0b4f6c", "#01baef", "#20bf55", "#8fd694", "#f4d35e", "#ee964b", "#f95738", "#b5179e", "#7209b7", "#adb5bd", "#6c757d", "#343a40",
)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("matplotlib is not installed; pip install 'sparkds[plots]'") from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def segments_over_time(counts: DataFrame) -> Figure:
    """Share of each RFM segment on each snapshot day.

    Parameters
    ----------
    counts : pandas.DataFrame
        Columns ``as_of`` (date), ``rfm_segment`` (text; null for entities without a purchase, which are left out) and
        ``n`` (entities).

    Returns
    -------
    Figure
        Stacked shares in percent, the segment that is largest at the end below.
    """
    table = counts.dropna(subset=["rfm_segment"]).pivot_table(index="as_of", columns="rfm_segment", values="n", aggfunc="sum", fill_value=0)
    table = table[table.iloc[-1].sort_values(ascending=False).index]
    shares = table.div(table.sum(axis=1), axis=0) * 100
    figure = _figure(9, 5)
    axes = figure.add_subplot()
    axes.stackplot(
        list(shares.index), shares.to_numpy().T, labels=list(shares.columns), colors=[PALETTE[i % len(PALETTE)] for i in range(shares.shape[1])]
    )
    axes.set(ylim=(0, 100), ylabel="share of customers (%)", xlabel="as of", title="RFM segments over time")
    axes.margins(x=0)
    axes.tick_params(axis="x", rotation=30)
    handles, labels = axes.get_legend_handles_labels()
    final = {name: float(shares[name].iloc[-1]) for name in shares.columns}
    figure.legend(
        handles[::-1],
        [f"{name.replace('_', ' ')}  {final[name]:.0f} %" for name in labels[::-1]],
        loc="outside right upper",
        frameon=False,
        title="on the last day",
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def recency_frequency_heatmap(counts: DataFrame) -> Figure:
    """Entities by recency and frequency score.

    Parameters
    ----------
    counts : pandas.DataFrame
        Columns ``r_score`` and ``f_score`` (1 … 5) and ``n`` (entities); rows with null scores are left out.

    Returns
    -------
    Figure
        5 × 5 cells with number and share in percent; recency to the right, frequency upwards, 5 the best.
    """
    known = counts.dropna(subset=["r_score", "f_score"])
    table = known.pivot_table(index="f_score", columns="r_score", values="n", aggfunc="sum", fill_value=0)
    table = table.reindex(index=range(1, 6), columns=range(1, 6), fill_value=0)
    total = int(table.to_numpy().sum())
    figure = _figure(6.4, 5.2)
    axes = figure.add_subplot()
    image = axes.imshow(table.to_numpy(), origin="lower", cmap="Blues")
    largest = max(int(table.to_numpy().max()), 1)
    for i in range(5):
        for j in range(5):
            n = int(table.iloc[i, j])
            axes.text(
                j, i, f"{n:,}\n{100 * n / max(total, 1):.1f} %", ha="center", va="center", fontsize=9,
                color="white" if n > 0.55 * largest else "#1b263b",
            )
    axes.set_xticks(range(5), [str(score) for score in range(1, 6)])
    axes.set_yticks(range(5), [str(score) for score in range(1, 6)])
    axes.set(
        xlabel="recency score (5 = bought most recently)",
        ylabel="frequency score (5 = buys most often)",
        title=f"{total:,} customers by recency and frequency",
    )
    figure.colorbar(image, label="customers")
    return figure
