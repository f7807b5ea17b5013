"""Alignment: how the distribution of each column in the test part, or in a table to be scored, differs from the training part.

Takes counts of bins and categories by part and gives rows of figures and findings; a finding needs an effect and a q-value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from sparkds.features.leakage.finding import Finding, Kind
from sparkds.features.leakage.leakage_check import LeakageCheck
from sparkds.features.leakage.states import AlignmentRow, Categories, LabelMoments
from sparkds.stats.multiplicity import adjust
from sparkds.stats.relevance import FeatureCounts
from sparkds.stats.shift import (
    added_up,
    adjacent_groups,
    expected_psi,
    frequent_groups,
    homogeneity_pvalue,
    ks,
    means_pvalue,
    psi,
    share_pvalue,
    unseen_pvalue,
    unseen_share,
)

LEAST_UNSEEN: Final = 5
"""Rows with unseen categories below which nothing is said of them."""


def alignment_rows(
    counts: Sequence[FeatureCounts],
    parts: Sequence[str],
    kinds: Mapping[str, str],
    check: LeakageCheck,
    *,
    train: str,
    categories: Sequence[Categories] = (),
    without: Mapping[str, Mapping[str, str]] | None = None,
) -> list[AlignmentRow]:
    """Figures of each column in each part against the training part; q-values are over all of them.

    Parameters
    ----------
    counts : sequence of FeatureCounts
        With the part in the place of the class, in the order of `parts`; the last bin is null.
    parts : sequence of str
    kinds : mapping of column to {"number", "text", "time"}
        Of a time only nulls are compared.
    check : LeakageCheck
    train : str
    categories : sequence of Categories
    without : mapping of part to (column to reason), optional
        Columns that are not compared in a part.
    """
    unseen = {(one.column, one.part): one for one in categories}
    rows: list[AlignmentRow] = []
    null_p, psi_p, ks_p = [], [], []
    of_train = parts.index(train)
    for one in counts:
        reference = one.n[:, of_train]
        for k, part in enumerate(parts):
            reason = (without or {}).get(part, {}).get(one.column, "")
            if part == train:
                continue
            compared = one.n[:, k]
            n, m = reference.sum(), compared.sum()
            figures = {"psi": math.nan, "expected": math.nan, "psi_p": math.nan, "ks": math.nan, "bound": math.nan, "ks_p": math.nan}
            n_groups = 0
            known, known_there = reference[:-1].sum(), compared[:-1].sum()
            if not reason and min(known, known_there) < check.thresholds.least:
                reason = (
                    f"{known:.0f} training rows and {known_there:.0f} rows of the part have a value; {check.thresholds.least} are needed"
                )
            elif not reason and kinds[one.column] == "time":
                reason = "distributions of times are not compared"
            elif not reason:
                left, right = reference[:-1].astype(np.int64), compared[:-1].astype(np.int64)
                group = adjacent_groups(left, known_there) if one.is_ordered else frequent_groups(left, known_there)
                a, b = added_up(left, group), added_up(right, group)
                a, b = a[a + b > 0], b[a + b > 0]
                n_groups = len(a)
                figures |= {
                    "psi": psi(a, b),
                    "expected": expected_psi(n_groups, float(known), float(known_there)),
                    "psi_p": homogeneity_pvalue(a, b),
                }
                if one.is_ordered:
                    distance = ks(left, right)
                    figures |= {"ks": distance.distance, "bound": distance.bound, "ks_p": distance.pvalue}
            gone = part in (without or {}) and one.column in (without or {})[part]
            null_p.append(math.nan if gone else share_pvalue(reference[-1], n, compared[-1], m))
            psi_p.append(figures["psi_p"])
            ks_p.append(figures["ks_p"])
            new = unseen.get((one.column, part))
            rows.append(
                AlignmentRow(
                    one.column,
                    part,
                    train,
                    kinds[one.column],
                    int(m),
                    math.nan if gone else float(compared[-1] / m) if m else math.nan,
                    float(reference[-1] / n) if n else math.nan,
                    psi=figures["psi"],
                    psi_expected=figures["expected"],
                    ks=figures["ks"],
                    ks_bound=figures["bound"],
                    n_groups=n_groups,
                    unseen_share=new.n_unseen / new.n if new is not None and new.n else math.nan,
                    unseen_share_expected=unseen_share(new.n_once, new.n_train) if new is not None else math.nan,
                    reason=reason,
                )
            )
    null_q, psi_q, ks_q = (adjust(family, method="bh", alpha=check.thresholds.q).pvalues for family in (null_p, psi_p, ks_p))
    return [
        replace(row, null_share_qvalue=float(null_q[i]), psi_qvalue=float(psi_q[i]), ks_qvalue=float(ks_q[i])) for i, row in enumerate(rows)
    ]


def alignment_findings(rows: Sequence[AlignmentRow], categories: Sequence[Categories], check: LeakageCheck) -> list[Finding]:
    """Findings ``null_share``, ``psi``, ``ks`` and ``missing_categories``.

    Parameters
    ----------
    rows : sequence of AlignmentRow
        Without the label.
    categories : sequence of Categories
    check : LeakageCheck
    """
    if not rows:
        kinds: tuple[Kind, ...] = ("null_share", "psi", "ks", "missing_categories")
        why = "not looked at: needs `split` or a table to be scored"
        return [Finding(kind, "skipped", what=why) for kind in kinds if check.level(kind) is not None]
    limits = check.thresholds

    def enough(row: AlignmentRow) -> bool:
        return row.n >= limits.least

    return [
        *_judged(
            "null_share", "difference of null shares", rows, limits.null_share, check,
            figure=lambda row: abs(row.null_share - row.null_share_reference),
            qvalue=lambda row: row.null_share_qvalue,
            holds=enough,
            tell=lambda row: f"'{row.column}' is null in {row.null_share:.1%} of the rows of '{row.part}', "
            f"in {row.null_share_reference:.1%} of '{row.reference}'",
            to_do="look whether the source changed or joins fail; a model has learned another meaning of its absence",
        ),
        *_judged(
            "psi", "PSI beyond chance", rows, limits.psi, check,
            figure=lambda row: row.psi - row.psi_expected,
            qvalue=lambda row: row.psi_qvalue,
            holds=enough,
            tell=lambda row: f"the distribution of '{row.column}' in '{row.part}' has PSI {row.psi:.3f} against '{row.reference}' over "
            f"{row.n_groups} groups ({row.psi_expected:.3f} is to be expected without a shift)",
            to_do="look whether its meaning or the population changed; train on newer rows, or leave it out",
        ),
        *_judged(
            "ks", "KS distance", rows, limits.ks, check,
            figure=lambda row: row.ks,
            qvalue=lambda row: row.ks_qvalue,
            holds=enough,
            tell=lambda row: f"the distribution function of '{row.column}' in '{row.part}' lies up to {row.ks:.3f} from that of "
            f"'{row.reference}' at the edges of bins",
            to_do="look whether its meaning or the population changed; train on newer rows, or leave it out",
        ),
        *_category_findings(categories, check),
    ]  # fmt: skip


def _judged(
    kind: Kind,
    measure: str,
    rows: Sequence[AlignmentRow],
    limit: float,
    check: LeakageCheck,
    *,
    figure: Callable[[AlignmentRow], float],
    qvalue: Callable[[AlignmentRow], float],
    holds: Callable[[AlignmentRow], bool],
    tell: Callable[[AlignmentRow], str],
    to_do: str,
) -> list[Finding]:
    level = check.level(kind)
    if level is None:
        return []
    known = [row for row in rows if not math.isnan(figure(row))]
    found = [row for row in known if holds(row) and figure(row) >= limit and qvalue(row) < check.thresholds.q]
    if found:
        return [
            Finding(kind, level, row.column, row.part, figure(row), measure, limit, qvalue(row), row.n, tell(row), to_do) for row in found
        ]
    if not known:
        return [Finding(kind, "ok", measure=measure, threshold=limit, what="no column has enough rows for this figure")]
    top = max(known, key=figure)
    what = f"the largest {measure} of {len({row.column for row in known})} columns: {tell(top)}"
    return [Finding(kind, "ok", top.column, top.part, figure(top), measure, limit, qvalue(top), top.n, what)]


def _category_findings(categories: Sequence[Categories], check: LeakageCheck) -> list[Finding]:
    """Rows with unseen categories, beyond the share that long tails bring by themselves (`unseen_share`)."""
    level, limits, measure = check.level("missing_categories"), check.thresholds, "share of rows beyond chance"
    if level is None:
        return []
    judged = [one for one in categories if one.n and one.n_train]
    if not judged:
        return [Finding("missing_categories", "ok", what="no text has values in two parts")]
    pvalues = [unseen_pvalue(one.n_unseen, one.n, one.n_once, one.n_twice, one.n_train) for one in judged]
    qvalues = adjust(pvalues, method="bh", alpha=limits.q).pvalues
    beyond = [one.n_unseen / one.n - unseen_share(one.n_once, one.n_train) for one in judged]
    lines = [
        Finding("missing_categories", "ok", one.column, one.part, figure, measure, limits.unseen_share, float(q), one.n_unseen)
        for one, figure, q in zip(judged, beyond, qvalues, strict=True)
    ]
    found = []
    for one, line in zip(judged, lines, strict=True):
        if one.n_unseen < LEAST_UNSEEN or one.n < limits.least or line.figure < limits.unseen_share or line.qvalue >= limits.q:
            continue
        what = (
            f"{one.n_unseen:,} of {one.n:,} rows of '{one.part}' have one of {one.n_values:,} values of '{one.column}' that the training "
            f"part has not, such as '{one.example}' ({unseen_share(one.n_once, one.n_train):.2%} were to be expected)"
        )
        to_do = "give unknown categories a value of their own in the encoding, and look where the new ones come from"
        found.append(replace(line, severity=level, what=what, to_do=to_do))
    if found:
        return found
    top = judged[int(np.argmax(beyond))]
    most = f"'{top.column}' has most rows with unseen categories in '{top.part}': {top.n_unseen:,}"
    what = f"of {len({one.column for one in judged})} texts, {most}"
    return [replace(lines[int(np.argmax(beyond))], what=what)]


def target_findings(
    label: FeatureCounts | None,
    parts: Sequence[str],
    moments: Mapping[str, LabelMoments],
    check: LeakageCheck,
    *,
    train: str,
    values: Sequence[str],
) -> list[Finding]:
    """Finding ``target_rate``: share of positives, or mean of the label, of the test part against the training part.

    Parameters
    ----------
    label : FeatureCounts, optional
        Label by part; of a binary task with one bin a class.
    parts : sequence of str
    moments : mapping of part to LabelMoments
        Of a regression.
    check : LeakageCheck
    train : str
    values : sequence of str
        Class of each bin.
    """
    level, limit = check.level("target_rate"), check.thresholds.target_rate
    if level is None:
        return []
    if label is None or check.split is None:
        return [Finding("target_rate", "skipped", what="not looked at: needs `split`")]
    test = check.split.test
    if check.task == "binary":
        at = list(values).index(positive_class(label, values, check))
        by_part = label.n[:-1].sum(axis=0)
        (x, n), (y, m) = ((label.n[at, parts.index(part)], by_part[parts.index(part)]) for part in (train, test))
        if not n or not m:
            return [Finding("target_rate", "skipped", what="not looked at: a part has no label")]
        figure = abs(y / m - x / n) / (x / n) if x else math.inf if y else 0.0
        pvalue, smaller = share_pvalue(x, n, y, m), min(n, m)
        what = f"the share of '{values[at]}' is {y / m:.2%} of {m:,.0f} rows of '{test}', {x / n:.2%} of {n:,.0f} rows of '{train}'"
        measure = "relative difference of shares"
    else:
        a, b = moments[train], moments[test]
        if not a.n or not b.n:
            return [Finding("target_rate", "skipped", what="not looked at: a part has no label")]
        spread = math.sqrt(a.variance) if a.variance > 0 else math.nan
        figure = abs(b.mean - a.mean) / spread
        pvalue, smaller = means_pvalue(a.mean, a.variance, a.n, b.mean, b.variance, b.n), min(a.n, b.n)
        what = f"the mean of '{check.label}' is {b.mean:.4g} over {b.n:,} rows of '{test}', {a.mean:.4g} over {a.n:,} rows of '{train}'"
        measure = "difference of means in standard deviations"
    is_found = figure >= limit and pvalue < check.thresholds.q and smaller >= check.thresholds.least
    to_do = "look whether the label is defined alike; a split by time shows a change, a split by chance should not"
    return [
        Finding(
            "target_rate", level if is_found else "ok", check.label, test, figure, measure, limit, pvalue, int(smaller), what,
            to_do if is_found else "",
        )
    ]  # fmt: skip


def positive_class(label: FeatureCounts, values: Sequence[str], check: LeakageCheck) -> str:
    """Declared positive class as text; else true or 1, else the rarer one."""
    for value in values:
        if check.positive is not None and is_class(value, check.positive):
            return value
    for value in values:
        if is_class(value, True) or is_class(value, 1):
            return value
    totals = label.n[:-1].sum(axis=1)
    return values[int(np.argmin(totals[: len(values)]))]


def is_class(value: str, declared: str | int | float | bool) -> bool:
    """Whether the text of a class is a declared one.

    Examples
    --------
    >>> is_class("true", True), is_class("1.0", 1), is_class("01", "1")
    (True, True, False)
    """
    if isinstance(declared, bool):
        return value == str(declared).lower()
    if isinstance(declared, str):
        return value == declared
    try:
        return float(value) == float(declared)
    except ValueError:
        return False


def type_findings(
    types: Mapping[str, str], others: Mapping[str, Mapping[str, str]], features: Sequence[str], check: LeakageCheck
) -> list[Finding]:
    """Findings ``column_missing`` and ``type_differs``: columns of a table to be scored against those of the training table.

    Parameters
    ----------
    types : mapping of str to str
        Spark types of the training table.
    others : mapping of part to types
    features : sequence of str
    check : LeakageCheck
    """
    findings: list[Finding] = []
    for kind in ("column_missing", "type_differs"):
        level = check.level(kind)
        if level is None:
            continue
        if not others:
            findings.append(Finding(kind, "skipped", what="not looked at: needs a table to be scored, or a test part of its own"))
            continue
        found = []
        for part, there in others.items():
            for name in features:
                if kind == "column_missing" and name not in there:
                    what, to_do = f"'{part}' has no column '{name}' ({types[name]})", "compute it there too, or leave it out"
                elif kind == "type_differs" and name in there and there[name] != types[name]:
                    what = f"'{name}' is {there[name]} in '{part}' and {types[name]} in the training table"
                    to_do = "cast it to the training table's type where it is made"
                else:
                    continue
                found.append(Finding(kind, level, name, part, measure="columns", what=what, to_do=to_do))
        told = f"all {len(features)} features are in {', '.join(others)}" + ("" if kind == "column_missing" else " with the same types")
        findings += found or [Finding(kind, "ok", figure=0.0, measure="columns", what=told)]
    return findings
