"""Time findings: rules about time that rows break, and what stands on both sides of a split.

Takes the small states of the passes and gives findings; nothing here is left to chance, so there are no q-values but for copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from sparkds.features.leakage.finding import Finding, Kind, Level
from sparkds.features.leakage.leakage_check import LeakageCheck
from sparkds.features.leakage.states import Overlap, Overview, TimeCount
from sparkds.stats.shift import excess_pvalue

TIME_KINDS: Final[tuple[Kind, ...]] = (
    "feature_time",
    "known_after_label",
    "known_after_time",
    "label_before_time",
    "window_overlap",
    "label_reaches_test",
)
NEEDS: Final[dict[Kind, str]] = {
    "feature_time": "`time` or `label_from`, and features or feature_times that are dates or timestamps",
    "known_after_label": "`known_at`",
    "known_after_time": "`known_at`, `time` and a `label_from` of its own",
    "label_before_time": "`time`, and `label_from` or `label_until`",
    "window_overlap": "`windows`",
    "label_reaches_test": "`label_until`, `time` and a split by time",
}
TO_DO: Final[dict[Kind, str]] = {
    "feature_time": "join only what happened before the label's period (point in time), or leave the column out",
    "known_after_label": "join by the instant at which values became known, not by the one they are about",
    "known_after_time": "such values are not there yet when the row is scored: join by the instant at which values became known",
    "label_before_time": "let the label's period begin at the row's time or after it, or move the row's time back",
    "window_overlap": "let windows end on the last day before the label's period",
    "label_reaches_test": "leave a gap as long as the label's period between the training and the test part",
}
LEAST_COPIES: Final = 5
"""Copied rows below which nothing is said of them."""


def time_findings(overview: Overview, check: LeakageCheck) -> list[Finding]:
    """Findings of `overview_of`: one for each rule that is broken, one for each kind that was looked at without any.

    Parameters
    ----------
    overview : Overview
    check : LeakageCheck
    """
    findings: list[Finding] = []
    for kind in TIME_KINDS:
        level = check.level(kind)
        if level is None:
            continue
        counts = [count for count in overview.times if count.kind == kind]
        broken = [count for count in counts if count.n_bad]
        findings += [_broken(count, check) for count in broken]
        if not counts:
            findings.append(Finding(kind, "skipped", what=f"not looked at: needs {NEEDS[kind]}"))
        elif not broken:
            n = max(count.n_known for count in counts)
            looked = ", ".join(dict.fromkeys(f"'{count.column}'" for count in counts))
            what = f"{looked}: no row of {n:,} lies beyond {counts[0].against}"
            findings.append(Finding(kind, "ok", figure=0.0, measure="share of rows", n_rows=0, what=what))
    return findings


def _broken(count: TimeCount, check: LeakageCheck) -> Finding:
    level = check.level(count.kind)
    assert level is not None
    if not count.declared and level == "error":
        level = "warning"
    share = count.n_bad / count.n_known if count.n_bad > 0 and count.n_known else math.nan
    rows = "rows" if count.n_bad < 0 else f"{count.n_bad:,} of {count.n_known:,} rows ({share:.2%})"
    if count.kind == "label_before_time":
        lies = f"'{count.column}' lies before {count.against} in {rows}, up to {_days(count.most_days)} before it"
    elif count.kind == "window_overlap":
        lies = f"the window of {count.column} reaches beyond {count.against} in {rows}, up to {_days(count.most_days)}"
    elif count.kind == "label_reaches_test":
        lies = f"labels end ('{count.column}') after {count.against} in {rows} of the training part, up to {_days(count.most_days)}"
    elif count.kind == "feature_time":
        lies = f"'{count.column}' lies at or after {count.against} in {rows}, up to {_days(count.most_days)} after it"
    else:
        lies = f"values are known ('{count.column}') after {count.against} in {rows}, up to {_days(count.most_days)} after it"
    example = f"{count.first} to {count.last}" if count.first != count.last else count.first
    to_do = TO_DO[count.kind]
    if not count.declared:
        to_do += "; if it is a date that was planned before, say under feature_times which columns tell when features happened"
    return Finding(
        count.kind,
        level,
        count.column,
        figure=share,
        measure="share of rows",
        n_rows=max(count.n_bad, 0),
        what=f"{lies}; offending values: {example}",
        to_do=to_do,
    )


def _days(days: float) -> str:
    return f"{days:,.2f} days" if days < 10 else f"{days:,.0f} days"


def overlap_findings(overlap: Overlap | None, check: LeakageCheck) -> list[Finding]:
    """Findings of `read_overlap`.

    Copies are counted against chance: were the rows put on sides by lot, a test row would stand in the training part about as often as a
    training row stands there a second time (the argument of Good and Turing); only the share beyond that is held against the threshold.

    Parameters
    ----------
    overlap : Overlap, optional
        None without a split.
    check : LeakageCheck
    """
    makers: dict[Kind, Callable[[Overlap, LeakageCheck, Level], Finding]] = {
        "entity_overlap": _entities,
        "duplicate_rows": _duplicates,
        "copied_rows": _copies,
    }
    looked = {kind: level for kind in makers if (level := check.level(kind)) is not None}
    if overlap is None:
        return [Finding(kind, "skipped", what="not looked at: needs `split`") for kind in looked]
    return [makers[kind](overlap, check, level) for kind, level in looked.items()]


def _entities(overlap: Overlap, check: LeakageCheck, level: Level) -> Finding:
    n, rows, by = overlap.n_entities_both, overlap.n_rows_of_both, check.split.apart_by if check.split is not None else "row"
    to_do = {
        "entity": "split by the hash of the entity, so that all its rows are on one side",
        "time": "to be expected of a split by time; figures then hold for known entities, judge new ones apart",
        "row": "split by entity or by time, else the model is judged on entities that it knows",
    }[by]
    return Finding(
        "entity_overlap",
        level if n else "ok",
        figure=rows / overlap.n_test,
        measure="share of test rows",
        n_rows=rows,
        what=f"{n:,} of {overlap.n_entities_test:,} entities of the test part ({', '.join(check.keys)}) are in the training part too, "
        f"with {rows:,} test rows",
        to_do=to_do if n else "",
    )


def _duplicates(overlap: Overlap, check: LeakageCheck, level: Level) -> Finding:
    del check
    n = overlap.n_duplicates
    return Finding(
        "duplicate_rows",
        level if n else "ok",
        figure=n / overlap.n_test,
        measure="share of test rows",
        n_rows=n,
        what=f"{n:,} of {overlap.n_test:,} test rows stand in the training part with all their values",
        to_do="drop duplicates before the split, and look for the join that makes them" if n else "",
    )


def _copies(overlap: Overlap, check: LeakageCheck, level: Level) -> Finding:
    n, m, limits = overlap.n_copied, overlap.n_test - overlap.n_duplicates, check.thresholds
    chance = overlap.n_repeated_train / overlap.n_train
    share = n / m if m else 0.0
    pvalue = excess_pvalue(n, m, overlap.n_repeated_train, overlap.n_train) if m else 1.0
    is_found = n >= LEAST_COPIES and share - chance >= limits.copied_share and pvalue < limits.q
    to_do = "look for entities with several keys and for rows copied to fill up a class, and keep copies on one side"
    return Finding(
        "copied_rows",
        level if is_found else "ok",
        figure=share - chance,
        measure="share of test rows beyond chance",
        threshold=limits.copied_share,
        qvalue=pvalue,
        n_rows=n,
        what=f"features and label of {n:,} of {m:,} test rows ({share:.2%}) stand in the training part under another key or time; "
        f"inside of the training part {chance:.2%} of the rows repeat",
        to_do=to_do if is_found else "",
    )
