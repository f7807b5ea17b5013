"""Profile page: what a reader sees of a profile - columns, findings, quantiles, frequent values, correlations.

Takes a profile and gives the blocks of a document; histograms also stand in the table as one line of blocks of eight heights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from sparkds.document import Block, Bullets, Heading, Paragraph, Picture, Table
from sparkds.features.profile.declaration import Profile
from sparkds.features.profile.results import FINDINGS, Bar, ColumnProfile, TableProfile

HEIGHTS: Final = "▁▂▃▄▅▆▇█"
MOST_PAIRS: Final = 30
MOST_WARNINGS: Final = 60


def page(profile: TableProfile, spec: Profile, *, title: str, pictures: Sequence[Picture] = ()) -> list[Block]:
    """Document of a profile.

    Parameters
    ----------
    profile : TableProfile
    spec : Profile
    title : str
    pictures : sequence of Picture

    Examples
    --------
    >>> nothing = TableProfile(columns=(), correlations=(), n_slices=0, undated=0)
    >>> page(nothing, Profile(time_zone="UTC"), title="Profile of orders")[1]
    Paragraph(text='The table has no rows; there is nothing to describe.', strong=False)
    """
    columns = profile.columns
    if not columns:
        return [Heading(title, 1), Paragraph("The table has no rows; there is nothing to describe.")]
    blocks: list[Block] = [Heading(title, 1), Paragraph(_range(profile, spec))]
    warnings = profile.warnings
    if warnings:
        more = len(warnings) - MOST_WARNINGS
        blocks += [
            Heading("To look at"),
            Bullets(
                [sentence[0].upper() + sentence[1:] for sentence in warnings[:MOST_WARNINGS]] + ([f"and {more} more"] if more > 0 else [])
            ),
        ]
    blocks += [Heading("Columns"), _columns(columns), Paragraph(NOTE)]
    if pictures:
        blocks += [Heading("Pictures"), *pictures]
    with_quantiles = [c for c in columns if c.quantiles]
    if with_quantiles:
        heads = ["column", "minimum", *(f"{share * 100:g} %" for share in spec.quantiles), "maximum", "error at most"]
        rows = [[c.column, _cut(c.minimum), *(q.shown for q in c.quantiles), _cut(c.maximum), c.quantile_error] for c in with_quantiles]
        blocks += [
            Heading("Quantiles"),
            Table(heads, rows),
            Paragraph("Of texts: of their lengths. Of dates and instants: by day, in UTC."),
        ]
    with_top = [c for c in columns if c.top]
    if with_top:
        rows = [[c.column, _top(c), f"{c.top_error:,}" if c.top_error else "exact"] for c in with_top]
        blocks += [Heading("Most frequent values"), Table(["column", "value (share of values)", "count may be more by"], rows)]
    return blocks + _correlations(profile)


NOTE: Final = (
    "Shares are of all rows. Mean, standard deviation (n - 1) and skewness (g1, biased) are of finite values, of texts of their lengths. "
    "Distinct values with ± are estimates with that relative standard error."
)


def _range(profile: TableProfile, spec: Profile) -> str:
    days = [day for column in profile.columns for day in (column.first_day, column.last_day) if day is not None]
    told = f"{profile.n:,} rows, {len(profile.columns)} columns"
    if days:
        told += f"; days {min(days)} … {max(days)} ({spec.time_zone}, {profile.n_slices:,} slices of '{spec.time}')"
    return told + f". Instants are shown in {spec.time_zone}; timestamps without zone as they stand."


def _columns(columns: Sequence[ColumnProfile]) -> Table:
    heads = ["column", "type", "null", "NaN", "distinct", "zero", "negative", "minimum", "maximum", "mean", "sd", "skewness", "", "finding"]
    rows = []
    for c in columns:
        distinct = "" if c.kind == "other" else f"{c.distinct:,}" + (f" ± {c.distinct_error:.1%}" if c.distinct_error else "")
        findings = "; ".join(FINDINGS[finding] for finding in c.findings)
        shares = [_share(c.null_share), _share(c.nan_share), distinct, _share(c.zero_share), _share(c.negative_share)]
        numbers = [_number(c.mean), _number(c.sd), _number(c.skewness)]
        rows.append([c.column, c.type, *shares, _cut(c.minimum), _cut(c.maximum), *numbers, sparkline(c.histogram), findings])
    return Table(heads, rows)


def sparkline(bars: Sequence[Bar]) -> str:
    """Histogram as one line of text.

    Examples
    --------
    >>> sparkline([Bar(0, 1, 1), Bar(1, 2, 8), Bar(2, 3, 0)])
    '▁█ '
    """
    highest = max((bar.n for bar in bars), default=0)
    return "".join(" " if not bar.n else HEIGHTS[math.ceil(bar.n / highest * len(HEIGHTS)) - 1] for bar in bars)


def _top(column: ColumnProfile) -> str:
    return ", ".join(f"{'(text not kept)' if t.value is None else _cut(t.value) or 'empty text'} ({_share(t.share)})" for t in column.top)


def _correlations(profile: TableProfile) -> list[Block]:
    known = [pair for pair in profile.correlations if not math.isnan(pair.pearson)]
    if not known:
        return []
    strongest = sorted(known, key=lambda pair: -max(abs(pair.pearson), 0 if math.isnan(pair.spearman) else abs(pair.spearman)))[:MOST_PAIRS]
    rows = [[p.column, p.other, f"{p.pearson:.3f}", f"{p.n:,}", _number(p.spearman), f"{p.n_sampled:,}"] for p in strongest]
    note = (
        "Pearson over all rows in which both columns have a finite value (pairwise deletion); Spearman over such rows of a seeded sample."
    )
    return [
        Heading("Strongest correlations"),
        Table(["column", "other", "Pearson", "rows", "Spearman", "sampled rows"], rows),
        Paragraph(note),
    ]


def _share(share: float) -> str:
    return "" if math.isnan(share) else "0" if share == 0 else f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.4g}" if abs(value) < 1e5 else f"{value:.4g}"


def _cut(text: str | None) -> str:
    return "" if text is None else text if len(text) <= 40 else text[:39] + "…"
