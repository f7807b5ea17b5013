"""Column findings: features that alone tell the label too well, by their values, by their nulls, by naming rows, or only after the event.

Takes counts of features by label and estimated numbers of distinct values and gives findings; a finding needs an effect and a q-value.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from sparkds.features.leakage.finding import Finding, Kind, Level
from sparkds.features.leakage.leakage_check import LeakageCheck
from sparkds.features.leakage.states import Distinct, Lagged
from sparkds.stats.multiplicity import adjust
from sparkds.stats.relevance import FeatureCounts, Relevance, independence_pvalue
from sparkds.stats.shift import means_pvalue

MEASURE: Final = {"binary": "AUC", "regression": "correlation ratio"}
LEAST_OF_CLASS: Final = 20
"""Rows of the smaller class below which nothing is said of a skill."""
SKETCH_ERROR: Final = 0.025
"""Three standard errors of an estimated number of distinct values."""
DENSE: Final = 0.1
"""Whole numbers that fill at least this share of their range count rows; sparser ones can be amounts."""
WIDEST_AMOUNT: Final = 2.0**40
"""Whole numbers over a wider range are hashes or codes."""


def skill_findings(counts: Sequence[FeatureCounts], relevances: Sequence[Relevance], check: LeakageCheck) -> list[Finding]:
    """Findings ``single_feature`` and ``presence``.

    Parameters
    ----------
    counts, relevances : (k,) sequences
        Of the same features in the same order.
    check : LeakageCheck
    """
    limits, binary = check.thresholds, check.task == "binary"
    enough = [_smaller(one, check) >= (LEAST_OF_CLASS if binary else limits.least) for one in counts]
    values = [_figure(one.skill, check) for one in relevances]
    presences = [_figure(one.presence_skill, check) for one in relevances]
    presence_q = adjust([_presence_pvalue(one, check) for one in counts], method="bh", alpha=limits.q).pvalues
    findings: list[Finding] = []
    if (level := check.level("single_feature")) is not None:
        limit = limits.auc if binary else limits.correlation
        found = [
            Finding(
                "single_feature",
                level,
                one.column,
                figure=figure,
                measure=MEASURE[check.task],
                threshold=limit,
                qvalue=one.qvalue,
                n_rows=one.n,
                what=f"'{one.column}' alone tells the label with {MEASURE[check.task]} {figure:.3f} on {_known(one):,} rows",
                to_do="make sure that it is known before the label's period; else leave it out",
            )
            for one, figure, many in zip(relevances, values, enough, strict=True)
            if many and figure >= limit and one.qvalue < limits.q
        ]
        findings += found or [_nothing("single_feature", dict(zip((r.column for r in relevances), values, strict=True)), limit, check)]
    if (level := check.level("presence")) is not None:
        limit = limits.presence_auc if binary else limits.presence_correlation
        found = [
            Finding(
                "presence",
                level,
                one.column,
                figure=figure,
                measure=MEASURE[check.task],
                threshold=limit,
                qvalue=float(q),
                n_rows=one.n,
                what=f"whether '{one.column}' has a value ({1 - one.null_share:.1%} of the rows) tells the label with "
                f"{MEASURE[check.task]} {figure:.3f}",
                to_do="look whether it is filled in because of the label; if so leave it out, else give it a value for absence",
            )
            for one, figure, q, many in zip(relevances, presences, presence_q, enough, strict=True)
            if many and figure >= limit and q < limits.q
        ]
        findings += found or [_nothing("presence", dict(zip((r.column for r in relevances), presences, strict=True)), limit, check)]
    return findings


def _nothing(kind: Kind, figures: Mapping[str, float], limit: float, check: LeakageCheck) -> Finding:
    """Line of a check that found nothing: its largest figure."""
    known = {name: figure for name, figure in figures.items() if not math.isnan(figure)}
    measure = MEASURE[check.task]
    if not known:
        return Finding(kind, "ok", measure=measure, threshold=limit, what=f"no feature of {len(figures)} has a figure")
    name = max(known, key=lambda column: known[column])
    enough = "" if known[name] < limit else "; there are too few rows to tell it from chance"
    what = f"the largest {measure} of {len(figures)} features is {known[name]:.3f} ('{name}'){enough}"
    return Finding(kind, "ok", name, figure=known[name], measure=measure, threshold=limit, what=what)


def _figure(skill: float, check: LeakageCheck) -> float:
    """AUC, or the root of R²."""
    return skill if check.task == "binary" or math.isnan(skill) else math.sqrt(max(skill, 0.0))


def _known(one: Relevance) -> int:
    return round(one.n * (1 - one.null_share))


def _smaller(counts: FeatureCounts, check: LeakageCheck) -> int:
    """Rows of the smaller class, of all rows; of a regression, rows."""
    by_class = counts.n.sum(axis=0)
    return int(by_class.min() if check.task == "binary" else by_class.sum())


def _presence_pvalue(counts: FeatureCounts, check: LeakageCheck) -> float:
    """P-value of independence of label and having a value; NaN where all or none have one."""
    present = np.stack([counts.n[-1], counts.n[:-1].sum(axis=0)])
    n = present.sum(axis=1)
    if not n.all():
        return math.nan
    if check.task == "binary":
        return independence_pvalue(present)
    sums = np.array([counts.label_sum[-1], counts.label_sum[:-1].sum()])
    squares = np.array([counts.label_square[-1], counts.label_square[:-1].sum()])
    mean = sums / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    return means_pvalue(mean[0], variance[0], n[0], mean[1], variance[1], n[1])


def nameable(counts: Sequence[FeatureCounts], columns: Collection[str], *, n_bins: int) -> list[str]:
    """Of some columns, those with more values than bins, so that they can name rows; where nothing was counted, all of them.

    Parameters
    ----------
    counts : sequence of FeatureCounts
    columns : collection of str
        Texts and whole numbers.
    n_bins : int
        Asked for when the bins were made: a column with no more values has a bin for each, one with more has about as many bins.
    """
    if not counts:
        return list(columns)
    return [one.column for one in counts if one.column in columns and len(one.n) - 1 >= n_bins * 0.8]


def id_findings(distinct: Sequence[Distinct], check: LeakageCheck, *, looked: int) -> list[Finding]:
    """Findings ``id_like``: texts and whole numbers with about as many distinct values as there are rows, or one value an entity.

    Whole numbers that fill little of their range (and no range of a hash) can be amounts, which are distinct by chance: info at most.

    Parameters
    ----------
    distinct : sequence of Distinct
        Of `nameable` columns; numbers of distinct values are estimates with a standard error of 0.8 %.
    check : LeakageCheck
    looked : int
        Texts and whole numbers in all.
    """
    level = check.level("id_like")
    if level is None:
        return []
    if not distinct:
        return [Finding("id_like", "ok", what=f"none of {looked} texts and whole numbers has more than a few values")]
    limits = check.thresholds
    found = []
    for one in distinct:
        names = _what_it_names(one, check)
        if not names or one.n_known < limits.least:
            continue
        share = min(one.n_distinct / (one.n_known if names == "row" else one.n_entities), 1.0)
        filled = one.n_distinct / (one.high - one.low + 1) if not math.isnan(one.low) else 1.0
        amount = not math.isnan(one.low) and filled < DENSE and one.high - one.low < WIDEST_AMOUNT
        severity: Level = "info" if amount else level
        doubt = "; it fills little of its range and can be an amount" if amount else ""
        found.append(
            Finding(
                "id_like",
                severity,
                one.column,
                figure=share,
                measure=f"distinct values per {names}",
                threshold=limits.distinct_share,
                n_rows=one.n_known,
                what=f"'{one.column}' has about {one.n_distinct:,.0f} distinct values in {one.n_known:,} rows of "
                f"{one.n_entities:,.0f} entities, one for each {names}{doubt}",
                to_do="leave it out: it names rows, so that a model learns them by heart; or derive what it stands for",
            )
        )
    if found:
        return found
    best = max(distinct, key=lambda one: one.n_distinct / one.n_known if one.n_known else 0.0)
    share = min(best.n_distinct / best.n_known, 1.0) if best.n_known else 0.0
    what = f"of {looked} texts and whole numbers, '{best.column}' has most distinct values per row: {share:.1%}"
    limit = limits.distinct_share
    return [Finding("id_like", "ok", best.column, figure=share, measure="distinct values per row", threshold=limit, what=what)]


def _what_it_names(one: Distinct, check: LeakageCheck) -> str:
    """``row`` or ``entity``; empty where it names neither."""
    if one.n_known and one.n_distinct >= check.thresholds.distinct_share * one.n_known:
        return "row"
    entities = one.n_entities
    if entities < check.thresholds.least or one.n_known < entities:
        return ""
    one_to_one = all(abs(n / entities - 1) <= SKETCH_ERROR for n in (one.n_distinct, one.n_with_key))
    return "entity" if one_to_one else ""


def lag_findings(lagged: Sequence[Lagged], check: LeakageCheck, *, looked: int, reason: str = "") -> list[Finding]:
    """Findings ``lag_collapse``: features whose skill is gone when the value of the previous period takes their place.

    A figure that is known before the label tells it one period earlier too, unless it changes from period to period without memory; one
    that is filled in after the label does not. The loss of skill counts when it is beyond three standard errors too.

    Parameters
    ----------
    lagged : sequence of Lagged
        Of the features with the declared skill.
    check : LeakageCheck
    looked : int
        Features in all.
    reason : str
        Why nothing was looked at.
    """
    level = check.level("lag_collapse")
    if level is None:
        return []
    if check.lag is None:
        return [Finding("lag_collapse", "skipped", what="not looked at: needs `lag` and `time`")]
    if reason:
        return [Finding("lag_collapse", "ok" if looked else "skipped", threshold=check.lag.loss, what=reason)]
    found, losses = [], {}
    for one in lagged:
        if math.isnan(one.skill) or math.isnan(one.skill_before) or one.n_smaller < LEAST_OF_CLASS or one.n < check.thresholds.least:
            continue
        if one.skill < check.lag.skill:
            continue
        loss = 1 - one.skill_before / one.skill
        losses[one.column] = loss
        if loss < check.lag.loss or one.skill - one.skill_before < 3 * _noise(one, check):
            continue
        measure = "2 AUC - 1" if check.task == "binary" else "correlation ratio"
        found.append(
            Finding(
                "lag_collapse",
                level,
                one.column,
                figure=loss,
                measure="relative loss of skill",
                threshold=check.lag.loss,
                n_rows=one.n,
                what=f"'{one.column}' tells the label with {measure} {one.skill:.3f}, but with {one.skill_before:.3f} when the value of "
                f"one period back takes its place ({one.n:,} rows): it looks as if it was filled in after the label",
                to_do="look when its values are written; join it by the instant at which they became known",
            )
        )
    if found:
        return found
    if not losses:
        what = "too few rows have a previous one, or no feature keeps its skill on those rows"
        return [Finding("lag_collapse", "ok", measure="relative loss of skill", threshold=check.lag.loss, what=what)]
    name = max(losses, key=lambda column: losses[column])
    what = f"of {len(losses)} features with skill, '{name}' loses most of it one period back: {losses[name]:.1%}"
    return [Finding("lag_collapse", "ok", name, figure=losses[name], measure="relative loss of skill", threshold=check.lag.loss, what=what)]


def _noise(one: Lagged, check: LeakageCheck) -> float:
    """Standard error of a skill without any, of 2 AUC - 1 (Mann and Whitney 1947) or of a correlation; doubled variance for two of them."""
    if check.task == "binary":
        other = one.n - one.n_smaller
        return math.sqrt(2 * (one.n + 1) / (3 * one.n_smaller * max(other, 1)))
    return math.sqrt(2 / one.n)
