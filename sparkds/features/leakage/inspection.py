"""Inspection: everything that a leakage check looks at, in a handful of passes.

Takes a training table (and tables that are to look like it) and gives findings with figures; passes are lazy frames of other modules, and
what comes to the driver is counts and one bounded sample for bin edges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds.errors import ColumnError, DataError
from sparkds.features.leakage.alignment import alignment_findings, alignment_rows, is_class, target_findings, type_findings
from sparkds.features.leakage.column_findings import id_findings, lag_findings, nameable, skill_findings
from sparkds.features.leakage.columns import Columns, columns_of, kind_of, zone_of
from sparkds.features.leakage.finding import Finding, Kind, rank, stopping
from sparkds.features.leakage.leakage_check import LeakageCheck
from sparkds.features.leakage.overlap import categories_frame, overlap_frame, read_categories, read_overlap
from sparkds.features.leakage.overview import PART, Instants, distinct_of, overview_of, with_part
from sparkds.features.leakage.previous_period import BEFORE, lagged_frame
from sparkds.features.leakage.states import AlignmentRow, Categories, Distinct, Lagged, Overlap, Overview
from sparkds.features.leakage.time_findings import overlap_findings, time_findings
from sparkds.features.relevance import feature_bins, label_counts_frame, labelled_counts, read_counts
from sparkds.sql import quoted
from sparkds.stats.relevance import FeatureCounts, Relevance, relevances

LABEL_TEXT: Final = "label as text"
N_BINS: Final = 50
UNHASHABLE: Final = ("map<", "variant")
"""Types that Spark gives no hash of."""


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes
    ----------
    check : LeakageCheck
    findings : tuple of Finding
        Findings, then one for each check that found nothing or was not looked at; the worst first.
    alignment : tuple of AlignmentRow
        The label first.
    relevances : tuple of Relevance
        Of each feature alone.
    overview : Overview
    columns : Columns
    n_sampled : int
        Rows that bins were made from.
    warnings : tuple of str
        What was left out.
    """

    check: LeakageCheck
    findings: tuple[Finding, ...]
    alignment: tuple[AlignmentRow, ...]
    relevances: tuple[Relevance, ...]
    overview: Overview
    columns: Columns
    n_sampled: int
    warnings: tuple[str, ...]

    @property
    def stopping(self) -> list[Finding]:
        """Findings at or above the level of the gate."""
        return stopping(self.findings, self.check.gate)


def inspected(
    frame: DataFrame,
    check: LeakageCheck,
    *,
    splits: DataFrame | None = None,
    test: DataFrame | None = None,
    others: Mapping[str, DataFrame] | None = None,
    where: str = "the table",
) -> Inspection:
    """Look at a table for leaks, and at its parts for shifts.

    Parameters
    ----------
    frame : DataFrame
        One row an entity and time, with label and features.
    check : LeakageCheck
    splits : DataFrame, optional
        With the column of the split, where the check says that it is in a table of its own.
    test : DataFrame, optional
        Rows of the test part, where the check says that they are in a table of their own.
    others : mapping of name to DataFrame, optional
        Tables that are to look like the training table, e.g. one to be scored; they need no label.
    where : str
        What `frame` is, for messages.

    Raises
    ------
    ColumnError, ConfigError, DataError

    Notes
    -----
    Scans of the table: one for rules about time, two for single features (bins, counts), one for overlap, three for alignment (bins,
    counts, categories), one for distinct values where a column has many, and two for `lag` where a feature has skill. A check that is
    ``off`` costs nothing.

    Examples
    --------
    >>> check = LeakageCheck(keys=("customer_id",), label="bought", task="binary")
    >>> [one.what for one in inspected(training, check).stopping]  # doctest: +SKIP
    ["'refund_id' alone tells the label with AUC 1.000 on 4,120 rows"]
    """
    return _Look(frame, check, splits, test, dict(others or {}), where).all()


class _Look:
    """One look: the prepared frame and what the passes over it find."""

    def __init__(
        self,
        frame: DataFrame,
        check: LeakageCheck,
        splits: DataFrame | None,
        test: DataFrame | None,
        others: dict[str, DataFrame],
        where: str,
    ) -> None:
        self.check, self.others = check, others
        split = check.split
        if split is not None and split.table is not None:
            frame = _with_split(frame, check, splits, where)
        self.columns = columns_of(dict(frame.dtypes), check, where)
        self.train = "train" if split is None else split.train
        self.sides = (self.train,) if split is None else (self.train, split.test)
        instants = Instants(check, self.columns.types, zone_of(check, self.columns.types, self.columns.times))
        self.typed: dict[str, Mapping[str, str]] = {name: dict(other.dtypes) for name, other in others.items()}
        self.frame = with_part(frame, check, instants)
        if split is not None and split.test_table is not None:
            if test is None:
                raise DataError(f"the check's test rows are in table '{split.test_table}', which is not given; give it as `test`")
            self.typed = {split.test: dict(test.dtypes), **self.typed}
            self.frame = self._both(test)
        self.instants = instants
        taken = set(others) & {*self.sides}
        if taken:
            raise ColumnError(f"'{min(taken)}' is the name of a part and of another table; give the table another name")
        self.categories: list[Categories] = []
        self.parts: list[str] = [*self.sides, *others]
        self.bins_rows = 0

    def _both(self, test: DataFrame) -> DataFrame:
        """Training and test rows together; numbers of two types as doubles, what cannot be compared as null in the test part."""
        assert self.check.split is not None
        there = dict(test.dtypes)
        for name, role in self.check.roles.items():
            if name in self.columns.types and name not in there and role != "ignored":
                raise ColumnError.missing(name, there, f"table '{self.check.split.test_table}', named as {role}")
        left, right = [], []
        for name, kind in self.columns.types.items():
            column = F.col(quoted(name))
            if there.get(name) == kind:
                left.append(column)
                right.append(column)
            elif name in there and kind_of(kind) == kind_of(there[name]) == "number":
                left.append(column.cast("double").alias(name))
                right.append(column.cast("double").alias(name))
            elif name in self.check.roles and name in there and self.check.roles[name] != "ignored":
                raise ColumnError(f"'{name}' is {kind} in the training table and {there[name]} in the test table; cast it before")
            else:
                left.append(column)
                right.append(F.lit(None).cast(kind).alias(name))
        trains = self.frame.select(*left, F.lit(self.train).alias(PART))
        return trains.unionAll(test.select(*right, F.lit(self.check.split.test).alias(PART)))

    def all(self) -> Inspection:
        """Run the passes and judge."""
        check, columns = self.check, self.columns
        overview = overview_of(self.frame, check, columns, self.instants)
        inside = self.frame.where(F.col(quoted(PART)).isin(*self.sides))
        counts, found = self._skills(inside)
        overlap = self._overlap(inside)
        alignment, label, of_label = self._alignment(inside)
        rows = [row for row in alignment if row.column != LABEL_TEXT]
        findings = [
            *time_findings(overview, check),
            *skill_findings(counts, found, check),
            *id_findings(self._distinct(inside, counts), check, looked=len(columns.nameable)),
            *self._lagged(inside, found),
            *overlap_findings(overlap, check),
            *type_findings(columns.types, self.typed, columns.names, check),
            *alignment_findings(rows, self.categories, check),
            *target_findings(label, self.parts, overview.label, check, train=self.train, values=of_label),
        ]
        judged, unused = _accepted(findings, check)
        judged.sort(key=lambda one: -rank(one.severity))
        named = [replace(row, column=check.label) if row.column == LABEL_TEXT else row for row in alignment]
        return Inspection(
            check, tuple(judged), tuple(named), tuple(found), overview, columns, self.bins_rows, (*self._warnings(overview), *unused)
        )

    def _wanted(self, *kinds: Kind) -> bool:
        """Whether a check of these is on."""
        return any(self.check.level(kind) is not None for kind in kinds)

    def _skills(self, inside: DataFrame) -> tuple[list[FeatureCounts], list[Relevance]]:
        """Counts of each feature by label; two scans."""
        check = self.check
        if check.lag is None and not self._wanted("single_feature", "presence"):
            return [], []
        counted = labelled_counts(inside, label=check.label, task=check.task, columns=self.columns.names, n_bins=N_BINS, seed=check.seed)
        self.bins_rows = counted.bins.n_sampled
        if check.positive is not None and not any(is_class(value, check.positive) for value in counted.classes):
            raise DataError(
                f"positive class {check.positive!r} does not occur in label '{check.label}', whose classes are {', '.join(counted.classes)}"
            )
        return counted.features, relevances(counted.features, task=check.task)

    def _distinct(self, inside: DataFrame, counts: Sequence[FeatureCounts]) -> tuple[Distinct, ...]:
        """Distinct values of columns that could name rows; one scan, none where every column has few values."""
        if not self._wanted("id_like"):
            return ()
        return distinct_of(inside, self.check, self.columns, nameable(counts, self.columns.nameable, n_bins=N_BINS))

    def _overlap(self, inside: DataFrame) -> Overlap | None:
        """Entities and rows on both sides; one scan."""
        check = self.check
        if check.split is None or not self._wanted("entity_overlap", "duplicate_rows", "copied_rows"):
            return None
        content = [*self.columns.names, check.label]
        beside = [name for name in self.columns.types if name not in content and name != check.split.column]
        name = [one for one in beside if not any(kind in self.columns.types[one] for kind in UNHASHABLE)]
        return read_overlap(overlap_frame(inside, train=self.train, test=check.split.test, keys=check.keys, name=name, content=content))

    def _alignment(self, inside: DataFrame) -> tuple[list[AlignmentRow], FeatureCounts | None, tuple[str, ...]]:
        """Figures of every column in every part, the label's counts by part, and its classes.

        One scan for bins, one of every table for counts, one of every table for categories.
        """
        check, columns = self.check, self.columns
        if len(self.parts) == 1 or not self._wanted("null_share", "psi", "ks", "missing_categories", "target_rate"):
            return [], None, ()
        label = F.col(quoted(check.label)).cast("string" if check.task == "binary" else "double").alias(LABEL_TEXT)
        values = [F.col(quoted(name)) for name in columns.names]
        plain = inside.select(F.col(quoted(PART)), label, *values)
        names = (LABEL_TEXT, *columns.names)
        trains = plain.where(F.col(quoted(PART)) == F.lit(self.train))
        bins = feature_bins(trains, label=PART, task="multiclass", columns=names, n_bins=N_BINS, seed=check.seed)
        frames, without = [plain], {}
        for name, other in self.others.items():
            conformed, missing = self._conformed(name, other)
            frames.append(conformed)
            without[name] = missing
        for part, there in self.typed.items():
            if part not in without:
                without[part] = self._incomparable(there)
        counted = None
        for one in frames:
            lazy = label_counts_frame(one, label=PART, task="multiclass", bins=bins)
            counted = lazy if counted is None else counted.unionAll(lazy)
        assert counted is not None
        read = read_counts(counted, label=PART, task="multiclass", bins=bins)
        present = [part for part in self.parts if part in read.classes]
        order = [list(read.classes).index(part) for part in present]
        features = [one._replace(n=one.n[:, order]) for one in read.features]
        if empty := set(self.parts) - set(present):
            raise DataError(f"table '{min(empty)}', which is to look like the training table, has no row")
        texts = [name for name in columns.texts if columns.types[name] == "string"]
        if texts and check.level("missing_categories") is not None:
            compared = [part for part in present if part != self.train]
            lazy = categories_frame(frames, train=self.train, parts=compared, texts=texts)
            told = read_categories(lazy, parts=compared, texts=texts)
            self.categories = [one for one in told if one.column not in without.get(one.part, {})]
        kinds = {name: kind_of(columns.types[name]) for name in columns.names} | {
            LABEL_TEXT: "text" if check.task == "binary" else "number"
        }
        for unlabelled in self.others:
            without[unlabelled] = {**without[unlabelled], LABEL_TEXT: "the label of this table is not looked at"}
        rows = alignment_rows(features, present, kinds, check, train=self.train, categories=self.categories, without=without)
        return rows, features[0], bins.values[0] or ()

    def _conformed(self, name: str, other: DataFrame) -> tuple[DataFrame, dict[str, str]]:
        """Another table in the columns of the training table, null where they cannot be compared."""
        there = dict(other.dtypes)
        missing = self._incomparable(there)
        columns = [
            F.lit(None).cast(self.columns.types[feature]).alias(feature) if feature in missing else F.col(quoted(feature))
            for feature in self.columns.names
        ]
        label = F.lit(None).cast("string" if self.check.task == "binary" else "double").alias(LABEL_TEXT)
        return other.select(F.lit(name).alias(PART), label, *columns), missing

    def _incomparable(self, there: Mapping[str, str]) -> dict[str, str]:
        """Features that a table lacks or has in another kind, with the reason."""
        types, found = self.columns.types, {}
        for name in self.columns.names:
            if name not in there:
                found[name] = "the part has no such column"
            elif kind_of(there[name]) != kind_of(types[name]) or (there[name] == "boolean") != (types[name] == "boolean"):
                found[name] = f"it is {there[name]} in the part and {types[name]} in the training table"
        return found

    def _lagged(self, inside: DataFrame, found: Sequence[Relevance]) -> list[Finding]:
        """Features with skill against their previous period; one exchange, read twice, of these features only."""
        check = self.check
        if check.lag is None or self.instants.time is None or check.level("lag_collapse") is None:
            return lag_findings([], check, looked=len(found))
        skilful = [one.column for one in found if _scaled(one.skill, check) >= check.lag.skill and one.qvalue < check.thresholds.q]
        if not skilful:
            reason = f"none of {len(found)} features has the skill ({check.lag.skill:g}) from which on it is looked at"
            return lag_findings([], check, looked=len(found), reason=reason)
        pairs = lagged_frame(
            inside, keys=check.keys, time=self.instants.time, label=check.label, features=skilful, most_days=check.lag.most_days
        )
        both = [*skilful, *(BEFORE + name for name in skilful)]
        try:
            counted = labelled_counts(pairs, label=check.label, task=check.task, columns=both, n_bins=N_BINS, seed=check.seed)
        except DataError as error:
            return lag_findings([], check, looked=0, reason=f"not looked at, of rows with a previous one of the same entity: {error}")
        told = relevances(counted.features, task=check.task)
        k = len(skilful)
        lagged = []
        for now, before, counts in zip(told[:k], told[k:], counted.features[:k], strict=True):
            by_class = counts.n.sum(axis=0)
            smaller = int(by_class.min() if check.task == "binary" else by_class.sum())
            skill_before = 0.0 if math.isnan(before.skill) else _scaled(before.skill, check)
            lagged.append(Lagged(now.column, now.n, smaller, _scaled(now.skill, check), skill_before))
        return lag_findings(lagged, check, looked=len(found))

    def _warnings(self, overview: Overview) -> list[str]:
        told = {
            "rows are in no part and are not looked at": overview.n_no_part,
            "rows have no label; no skill is of them": overview.n_no_label,
            "rows have no time; no rule about time is of them": overview.n_no_time,
        }
        skipped = ", ".join(f"{name} ({kind})" for name, kind in list(self.columns.skipped.items())[:20])
        return [*(f"{n} {what}" for what, n in told.items() if n), *([f"columns not looked at: {skipped}"] if skipped else [])]


def _scaled(skill: float, check: LeakageCheck) -> float:
    """Skill in [0, 1]: 2 AUC - 1, or the correlation ratio; NaN stays."""
    return 2 * skill - 1 if check.task == "binary" else math.sqrt(max(skill, 0.0)) if not math.isnan(skill) else skill


def _accepted(findings: Sequence[Finding], check: LeakageCheck) -> tuple[list[Finding], list[str]]:
    """Findings with those that a person accepts as info, and a warning for each acceptance without a finding."""
    reasons = {(one.kind, one.column): one.reason for one in check.accepted}
    used: set[tuple[str, str]] = set()
    judged = []
    for one in findings:
        at = (one.kind, one.column)
        if at in reasons and one.severity in ("warning", "error", "info"):
            used.add(at)
            one = replace(one, severity="info", what=f"{one.what} (accepted: {reasons[at]})")
        judged.append(one)
    left = [f"{kind} of '{column}'" if column else kind for kind, column in reasons if (kind, column) not in used]
    return judged, [f"accepted but not found: {', '.join(left)}; take it out of `accepted`"] if left else []


def _with_split(frame: DataFrame, check: LeakageCheck, splits: DataFrame | None, where: str) -> DataFrame:
    """Frame with the column of a split that is in a table of its own; a row in several parts shows all of them, and is refused later."""
    split = check.split
    assert split is not None
    assert split.column is not None
    if splits is None:
        raise DataError(f"the check's split is in table '{split.table}', which is not given; give it as `splits`")
    on = split.on or check.keys
    for name in (*on, split.column):
        if name not in splits.columns:
            raise ColumnError.missing(name, splits.columns, f"table '{split.table}'")
        if name != split.column and name not in frame.columns:
            raise ColumnError.missing(name, frame.columns, where)
    if split.column in frame.columns:
        raise ColumnError(f"{where} has a column '{split.column}' itself; leave `table` out, or rename it")
    part = F.col(quoted(split.column)).cast("string")
    by = splits.groupBy(*(F.col(quoted(name)).alias(f"on{i}") for i, name in enumerate(on))).agg(
        F.min(part).alias("low"), F.max(part).alias("high")
    )
    told = F.when(F.col("low") == F.col("high"), F.col("low")).otherwise(F.concat_ws(" and ", "low", "high"))
    same = F.lit(True)
    for i, name in enumerate(on):
        same &= F.col(quoted(name)) == F.col(f"on{i}")
    joined = frame.join(by.select(*(f"on{i}" for i in range(len(on))), told.alias("part of the split")), same, "left")
    return joined.select(*(F.col(quoted(name)) for name in frame.columns), F.col(quoted("part of the split")).alias(split.column))
