"""Overview: rows by part and offending rows of every rule about time from one aggregation, and distinct values from another.

Takes a frame and what the check says of its columns, gives columns of parts and instants and the small states of single scans.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import DataError
from sparkds.features.leakage.columns import WHOLE, Columns
from sparkds.features.leakage.finding import Kind
from sparkds.features.leakage.leakage_check import Instant, LeakageCheck, instant_of
from sparkds.features.leakage.states import Distinct, LabelMoments, Overview, TimeCount
from sparkds.instants import MICROSECONDS_A_DAY, instant_column
from sparkds.sql import finite, quoted

PART: Final = "part of the row"
"""Column that `with_part` adds."""
SKETCH: Final = 14
"""Logarithm of the registers of a sketch of distinct values (HyperLogLog): standard error about 0.8 %."""


@dataclass(frozen=True)
class Rule:
    """A rule about time as columns: which rows break it, which could, the offending instant (microseconds) and how far it lies beyond."""

    kind: Kind
    column: str
    bad: Column
    known: Column
    at: Column
    beyond: Column
    is_day: bool
    declared: bool = True
    against: str = "the label's first instant"


class Instants:
    """Columns of the check's instants, in microseconds since 1970 (UTC)."""

    def __init__(self, check: LeakageCheck, types: Mapping[str, str], zone: str) -> None:
        self.check, self.types, self.zone = check, types, zone
        self.time = self.of(check.moment) if check.moment is not None else None
        self.start = self.of(check.label_start) if check.label_start is not None else None
        self.end = self.of(check.label_end, after=1) if check.label_end is not None else None

    def of(self, instant: Instant, *, after: int = 0) -> Column:
        """Instant of a column; of a date, its first instant, `after` days later."""
        kind = self.types[instant.column]
        if kind == "date":
            return self.day_start(F.date_add(F.col(quoted(instant.column)), instant.plus_days + after))
        return instant_column(instant.column, kind, self.zone) + F.lit(instant.plus_days * MICROSECONDS_A_DAY)

    def day_start(self, day: Column) -> Column:
        """First instant of a local day."""
        wall = F.timestamp_micros(F.unix_date(day).cast("bigint") * F.lit(MICROSECONDS_A_DAY))
        return F.unix_micros(F.to_utc_timestamp(wall, self.zone))

    def day_of(self, instant: Instant) -> Column:
        """Local day of an instant."""
        if self.types[instant.column] == "date":
            return F.date_add(F.col(quoted(instant.column)), instant.plus_days)
        local = F.unix_micros(F.from_utc_timestamp(F.timestamp_micros(self.of(instant)), self.zone))
        return F.date_from_unix_date(F.floor(local / F.lit(MICROSECONDS_A_DAY)).cast("int"))

    def is_day(self, instant: Instant) -> bool:
        """Whether it is told as a day."""
        return self.types[instant.column] == "date"


def part_column(check: LeakageCheck, instants: Instants) -> Column:
    """Part of each row: the training or test part's name, the value itself where it is another; null where it has none."""
    split = check.split
    if split is None:
        return F.lit("train")
    if split.test_table is not None:  # its rows are added under their own part
        return F.lit(split.train)
    if split.column is not None:
        return F.col(quoted(split.column)).cast("string")
    assert check.moment is not None
    assert split.until is not None
    day = instants.day_of(check.moment)
    return F.when(day < F.lit(split.until), F.lit(split.train)).when(day >= F.lit(split.until), F.lit(split.test))


def with_part(frame: DataFrame, check: LeakageCheck, instants: Instants) -> DataFrame:
    """Frame with the column `PART`."""
    return frame.select("*", part_column(check, instants).alias(PART))


def overview_of(frame: DataFrame, check: LeakageCheck, columns: Columns, instants: Instants) -> Overview:
    """Rows by part, and those that break a rule about time; one scan.

    Parameters
    ----------
    frame : DataFrame
        From `with_part`.

    Raises
    ------
    DataError
        There is no row, a part has a value that the split does not declare, a side has no row, or no row has a label.
    """
    split = check.split
    train, test, others = ("train", None, ()) if split is None else (split.train, split.test, split.others)
    part = F.col(quoted(PART))
    sides = (train,) if test is None else (train, test)
    inside = part.isin(*sides)
    unknown = part.isNotNull() & ~part.isin(*sides, *others)
    label = F.expr(finite(check.label, columns.types[check.label]))
    measures = {
        "n": F.count(F.lit(1)),
        "n_no_part": F.count_if(part.isNull()),
        "n_others": F.count_if(part.isin(*others)) if others else F.lit(0).cast("bigint"),
        "n_unknown": F.count_if(unknown),
        "unknown": F.min(F.when(unknown, part)),
        "n_no_label": F.count_if(inside & label.isNull()),
        "n_no_time": F.lit(0).cast("bigint") if instants.time is None else F.count_if(inside & instants.time.isNull()),
    }
    for i, side in enumerate(sides):
        here = part == F.lit(side)
        measures[f"n{i}"] = F.count_if(here)
        measures[f"label{i}"] = F.count_if(here & label.isNotNull())
        if check.task == "regression":
            number = F.when(here, label.cast("double"))
            measures |= {f"mean{i}": F.avg(number), f"variance{i}": F.var_samp(number)}
    rules = rules_of(check, columns, instants)
    for i, rule in enumerate(rules):
        bad = inside & rule.bad
        measures |= {f"bad{i}": F.count_if(bad), f"known{i}": F.count_if(inside & rule.known)}
        measures |= {f"first{i}": F.min(F.when(bad, rule.at)), f"last{i}": F.max(F.when(bad, rule.at))}
        measures[f"beyond{i}"] = F.max(F.when(bad, rule.beyond))
    if _by_time(check) and split is not None and split.until is None and instants.end is not None and instants.time is not None:
        measures["reaches"] = F.max(F.when(part == F.lit(train), instants.end))
        measures["judged_from"] = F.min(F.when(part == F.lit(test), instants.time))
    row = collect.one_row(frame.agg(*(measure.alias(name) for name, measure in measures.items()))).asDict()
    _refuse(row, check, sides)
    counts = tuple(_time_count(rule, row, i, instants.zone) for i, rule in enumerate(rules))
    return Overview(
        n_rows=row["n"],
        parts={side: row[f"n{i}"] for i, side in enumerate(sides)},
        n_others=row["n_others"],
        n_no_part=row["n_no_part"],
        n_no_label=row["n_no_label"],
        n_no_time=row["n_no_time"],
        times=(*counts, *_reaching(check, row, instants)),
        label={
            side: LabelMoments(row[f"label{i}"], _number(row[f"mean{i}"]), _number(row[f"variance{i}"]))
            for i, side in enumerate(sides)
            if check.task == "regression"
        },
    )


def distinct_of(frame: DataFrame, check: LeakageCheck, columns: Columns, names: Sequence[str]) -> tuple[Distinct, ...]:
    """Estimated numbers of distinct values; one scan.

    Parameters
    ----------
    frame : DataFrame
        Rows of the parts that are compared.
    names : sequence of str
        Texts and whole numbers.
    """
    if not names:
        return ()
    entity = [F.col(quoted(key)) for key in check.keys]
    measures = {"entities": _estimated(F.xxhash64(*entity))}
    for i, name in enumerate(names):
        value = F.col(quoted(name))
        measures[f"value{i}"] = F.count(value)
        measures[f"distinct{i}"] = _estimated(F.when(value.isNotNull(), F.xxhash64(value)))
        measures[f"pairs{i}"] = _estimated(F.when(value.isNotNull(), F.xxhash64(*entity, value)))
        if columns.types[name] in WHOLE:
            measures |= {f"low{i}": F.min(value), f"high{i}": F.max(value)}
    row = collect.one_row(frame.agg(*(measure.alias(name) for name, measure in measures.items()))).asDict()
    return tuple(
        Distinct(
            name,
            row[f"value{i}"],
            float(row[f"distinct{i}"] or 0),
            float(row[f"pairs{i}"] or 0),
            float(row["entities"] or 0),
            *(_number(row.get(f"{end}{i}")) for end in ("low", "high")),
        )
        for i, name in enumerate(names)
    )


def _estimated(value: Column) -> Column:
    """Estimated number of distinct values, without null."""
    return F.hll_sketch_estimate(F.hll_sketch_agg(value, F.lit(SKETCH)))


def rules_of(check: LeakageCheck, columns: Columns, instants: Instants) -> list[Rule]:
    """Rules about time that the check's statement makes possible."""
    rules: list[Rule] = []
    time, start, end = instants.time, instants.start, instants.end
    if start is None:
        return rules

    def rule(kind: Kind, name: str, at: Column, limit: Column, bad: Column, is_day: bool, **told: Any) -> None:
        if check.level(kind) is not None:
            rules.append(Rule(kind, name, bad, (at.isNotNull() & limit.isNotNull()), at, at - limit, is_day, **told))

    declared = check.feature_times is not None
    timed = [instant_of(given) for given in check.feature_times or ()] if declared else [Instant(column=name) for name in columns.times]
    for instant in timed:
        at = instants.of(instant)
        rule("feature_time", instant.column, at, start, at >= start, instants.is_day(instant), declared=declared)
    for known in map(instant_of, check.known_at):
        at, is_day = instants.of(known), instants.is_day(known)
        rule("known_after_label", known.column, at, start, at > start, is_day)
        if time is not None and check.label_from is not None:
            late = (at > time) & ((at <= start) | start.isNull())
            rule("known_after_time", known.column, at, time, late, is_day, against="the row's time")
    if time is not None and check.label_from is not None:
        begin = instant_of(check.label_from)
        early = Rule(
            "label_before_time", begin.column, start < time, start.isNotNull() & time.isNotNull(), start, time - start,
            instants.is_day(begin), against="the row's time",
        )  # fmt: skip
        rules += [early] if check.level("label_before_time") is not None else []
    if time is not None and end is not None and check.label_end is not None:
        over = Rule(
            "label_before_time", check.label_end.column, end <= time, end.isNotNull() & time.isNotNull(), end, time - end,
            False, against="the row's time",
        )  # fmt: skip
        rules += [over] if check.level("label_before_time") is not None else []
    for window in check.windows:
        if window.as_of is not None:
            day = F.col(quoted(window.as_of))
        else:
            assert check.moment is not None
            assert window.last_day is not None
            day = F.date_add(instants.day_of(check.moment), window.last_day)
        closed = instants.day_start(F.date_add(day, 1))
        covered = ", ".join(name for name in columns.names if window.covers(name))
        rule("window_overlap", covered, closed, start, closed > start, False)
    if _by_time(check) and check.split is not None and check.split.until is not None and end is not None and check.label_end is not None:
        judged_from = instants.day_start(F.lit(check.split.until))
        trains, against = F.col(quoted(PART)) == F.lit(check.split.train), f"the first instant of the test part ({check.split.until})"
        bad = trains & (end > judged_from)
        reaching = Rule("label_reaches_test", check.label_end.column, bad, trains & end.isNotNull(), end, end - judged_from, False)
        rules.append(replace(reaching, against=against))
    return rules


def _by_time(check: LeakageCheck) -> bool:
    return check.split is not None and check.split.apart_by == "time" and check.level("label_reaches_test") is not None


def _reaching(check: LeakageCheck, row: Mapping[str, Any], instants: Instants) -> list[TimeCount]:
    """Whether labels of training rows reach into the time of the test part."""
    if row.get("reaches") is None or row.get("judged_from") is None:
        return []
    assert check.label_end is not None
    beyond = row["reaches"] - row["judged_from"]
    first = _told(row["judged_from"], instants.zone, is_day=False)
    against = f"the first time of the test part ({first})"
    known = row["n0"]
    if beyond <= 0:
        return [TimeCount("label_reaches_test", check.label_end.column, 0, known, against=against)]
    last = _told(row["reaches"], instants.zone, is_day=False)
    return [TimeCount("label_reaches_test", check.label_end.column, -1, known, last, last, beyond / MICROSECONDS_A_DAY, against=against)]


def _time_count(rule: Rule, row: Mapping[str, Any], i: int, zone: str) -> TimeCount:
    n_bad = row[f"bad{i}"]
    if not n_bad:
        return TimeCount(rule.kind, rule.column, 0, row[f"known{i}"], declared=rule.declared, against=rule.against)
    first, last = (_told(row[f"{end}{i}"], zone, is_day=rule.is_day) for end in ("first", "last"))
    days = row[f"beyond{i}"] / MICROSECONDS_A_DAY
    return TimeCount(rule.kind, rule.column, n_bad, row[f"known{i}"], first, last, days, rule.declared, rule.against)


def _told(micros: int, zone: str, *, is_day: bool) -> str:
    """Instant as text in the zone; of a day its date."""
    try:
        local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).astimezone(ZoneInfo(zone))
    except OverflowError:  # beyond the year 9999
        return f"{micros} microseconds since 1970"
    return local.date().isoformat() if is_day else local.isoformat(timespec="seconds")


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _refuse(row: Mapping[str, Any], check: LeakageCheck, sides: tuple[str, ...]) -> None:
    split = check.split
    if not row["n"]:
        raise DataError("the table has no row; there is nothing to look at")
    if split is not None and row["n_unknown"]:
        known = ", ".join((*sides, *split.others))
        raise DataError(
            f"split column '{split.column}' has {row['n_unknown']} rows with values that are not declared, such as '{row['unknown']}'; "
            f"known are {known}: mend the column, or name the value under train, test or others"
        )
    for i, side in enumerate(sides):
        if not row[f"n{i}"]:
            how = "" if split is None else f" ({f'column {split.column!r}' if split.column else f'until {split.until}'})"
            told = ", ".join(f"{name} {row[f'n{k}']}" for k, name in enumerate(sides))
            raise DataError(f"no row is in the part '{side}'{how}: rows by part are {told}, none {row['n_no_part']}; mend the split")
    if not sum(row[f"label{i}"] for i in range(len(sides))):
        raise DataError(f"none of {row['n_no_label']} rows has a label in column '{check.label}'; look at how it was joined")
