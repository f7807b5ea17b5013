"""Leakage check: the statement of what a table's columns mean in time, how it is split, and from which figure on something is a leak.

Takes names, times and thresholds, checks that they fit together, and gives nothing but what was stated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.features.leakage.finding import SEVERITY, Gate, Kind, Level

Task = Literal["binary", "regression"]
Positive = str | int | float | bool


class Instant(Declaration):
    """A column as an instant; a date stands for its first instant in the check's time zone.

    Attributes
    ----------
    column : str
        Of type date, timestamp or timestamp without zone.
    plus_days : int
        Days added, calendar days of the time zone to a date: ``{column: as_of, plus_days: 1}`` is midnight after `as_of`.
    """

    column: str = Field(description="column with a date or a timestamp")
    plus_days: int = Field(default=0, description="days added")


class FeatureWindow(Declaration):
    """Which days some features are made of: up to and with a day that a column has, or that is counted from the row's time.

    Attributes
    ----------
    features : tuple of str
        Names, or patterns with ``*``.
    as_of : str, optional
        Column with the last day covered.
    last_day : int, optional
        Last day covered, counted from the day of the row's time: -1 is the day before it, 7 a week after.

    Examples
    --------
    >>> FeatureWindow(features=("next_*",), last_day=30).covers("next_month")
    True
    """

    features: tuple[str, ...] = Field(min_length=1, description="features, or patterns with *")
    as_of: str | None = Field(default=None, description="column with the last day covered")
    last_day: int | None = Field(default=None, description="last day covered, counted from the day of the row's time")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.as_of is None) == (self.last_day is None):
            raise ValueError("a window ends with `as_of` (a column) or with `last_day` (a number of days); give one of them")
        return self

    def covers(self, feature: str) -> bool:
        """Whether the window is of this feature."""
        return any(fnmatchcase(feature, pattern) for pattern in self.features)

    @property
    def end(self) -> str:
        """What the window ends with, for sentences."""
        return f"'{self.as_of}'" if self.as_of is not None else f"day {self.last_day} counted from the row's time"


class Split(Declaration):
    """How rows are put on the training and the other side.

    Attributes
    ----------
    column : str, optional
        Column with the part of each row.
    table : str, optional
        Table of its own that has `column`, and `on`: the columns by which it is joined.
    on : tuple of str, optional
        Keys if absent.
    until : date, optional
        Rows whose time lies before the first instant of this day train, the others test.
    test_table : str, optional
        Table of its own that holds the test rows; all rows of the first one train.
    train, test : str
        Values of `column`, and the names of the parts.
    others : tuple of str
        Further values that are known and not compared; a value beside all of these is refused.
    by : {"entity", "time", "row"}
        What keeps the sides apart. Entities on both sides are an error where it is the entity, to be expected (info) where it is time,
        and a warning where it is the row. Always ``time`` with `until`.
    """

    column: str | None = Field(default=None, description="column with the part of each row")
    table: str | None = Field(default=None, description="table of its own that has the column")
    on: tuple[str, ...] | None = Field(default=None, min_length=1, description="columns by which that table is joined; the keys if absent")
    until: date | None = Field(default=None, description="rows before this day train, the others test")
    test_table: str | None = Field(default=None, description="table of its own that holds the test rows")
    train: str = Field(default="train", description="value of the training rows")
    test: str = Field(default="test", description="value of the test rows")
    others: tuple[str, ...] = Field(default=("validation", "gap"), description="further known values, not compared")
    by: Literal["entity", "time", "row"] = Field(default="row", description="what keeps the sides apart")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if [self.column, self.until, self.test_table].count(None) != 2:
            raise ValueError("a split is told by `column`, by `until` or by `test_table`; give one of them")
        if (self.table is not None and self.column is None) or (self.on is not None and self.table is None):
            raise ValueError("`table` needs the `column` it has, and `on` belongs to `table`; give them together")
        names = (self.train, self.test, *self.others)
        if len(set(names)) < len(names):
            raise ValueError(f"parts {', '.join(names)} repeat a name; give each part one of its own")
        return self

    @property
    def apart_by(self) -> str:
        """What keeps the sides apart."""
        return "time" if self.until is not None else self.by


class Lag(Declaration):
    """How features of the previous period are found: those of the same entity's row before.

    Attributes
    ----------
    most_days : int, optional
        A row whose previous one is older than this has none.
    skill : float
        A feature is looked at from this skill on, see `Thresholds.skill`; in (0, 1).
    loss : float
        Relative loss of skill from which on it has collapsed; in (0, 1).
    """

    most_days: int | None = Field(default=None, ge=1, description="a previous row older than this is none")
    skill: float = Field(default=0.5, gt=0, lt=1, description="skill from which on a feature is looked at: 2 AUC - 1, or correlation")
    loss: float = Field(default=0.5, gt=0, lt=1, description="relative loss of skill that is a collapse")


class Thresholds(Declaration):
    """From which figures on something is a finding; each needs its q-value below `q` too, or at least `least` rows.

    Attributes
    ----------
    q : float
        Benjamini-Hochberg over the columns of a kind; 0.001, since a handful of kinds is judged at once and leaks are no slight effects.
    least : int
        Rows of a part, or rows in all, below which distributions and skills are not judged.
    auc, correlation : float
        Of one feature alone (binary, regression).
    presence_auc, presence_correlation : float
        Of the pattern of nulls alone.
    distinct_share : float
        Distinct values per row (or entity) from which on a text or whole number names it.
    copied_share : float
        Share of test rows that are copies, beyond the share that repeats by chance.
    unseen_share : float
        Share of rows with a category that training rows do not have, beyond what is to be expected.
    null_share : float
        Difference of the shares of nulls.
    psi : float
        Beyond what is to be expected without a shift; 0.1 and 0.25 are the customary marks of a moderate and a large one.
    ks : float
        Largest difference of the distribution functions.
    target_rate : float
        Difference of the shares of positives relative to the training part's; of a number, of means in standard deviations.
    """

    q: float = Field(default=0.001, gt=0, lt=1, description="largest q-value of a finding")
    least: int = Field(default=100, ge=20, description="least rows of a part")
    auc: float = Field(default=0.95, gt=0.5, le=1, description="AUC of one feature alone")
    correlation: float = Field(default=0.95, gt=0, le=1, description="absolute correlation of one feature alone")
    presence_auc: float = Field(default=0.8, gt=0.5, le=1, description="AUC of the pattern of nulls")
    presence_correlation: float = Field(default=0.6, gt=0, le=1, description="absolute correlation of the pattern of nulls")
    distinct_share: float = Field(default=0.97, gt=0, le=1, description="distinct values per row of a column that names rows")
    copied_share: float = Field(default=0.01, ge=0, lt=1, description="share of copied rows beyond chance")
    unseen_share: float = Field(default=0.01, ge=0, lt=1, description="share of rows with unseen categories beyond chance")
    null_share: float = Field(default=0.05, gt=0, lt=1, description="difference of the shares of nulls")
    psi: float = Field(default=0.25, gt=0, description="population stability index beyond its expectation without a shift")
    ks: float = Field(default=0.1, gt=0, lt=1, description="Kolmogorov-Smirnov distance")
    target_rate: float = Field(default=0.2, gt=0, description="relative difference of label rates, or of means in standard deviations")


class Accepted(Declaration):
    """A finding that a person has looked at and accepts: it stays in the report as info and stops nothing."""

    kind: Kind
    column: str = Field(default="", description="column of the finding; empty for findings of rows")
    reason: str = Field(min_length=1, description="why it is no leak")


class LeakageCheck(Declaration):
    """What is looked at for leaks and shifts.

    Attributes
    ----------
    keys : tuple of str
        Columns that name the entity.
    label : str
    task : {"binary", "regression"}
    positive : str, int, float or bool, optional
        Class that counts as 1; true or 1 if absent.
    time : str or Instant, optional
        Instant of the row: what is known up to it may be a feature. With the keys it names the row.
    time_zone : str, optional
        IANA zone of dates; required where dates meet timestamps, and for timestamps without zone.
    label_from : str or Instant, optional
        First instant of the label's period; the row's time if absent.
    label_until : str or Instant, optional
        Last day (a date, included) or end (a timestamp, excluded) of the label's period.
    known_at : tuple of str or Instant
        Columns with the instant from which features are known.
    feature_times : tuple of str or Instant, optional
        Columns with the time of what features are made of; if absent, all features that are dates or timestamps (at most a warning).
    windows : tuple of FeatureWindow
    features : tuple of str, optional
        Columns that are looked at; if absent, all but those that have another role here.
    ignore : tuple of str
        Columns that are no features.
    split : Split, optional
    lag : Lag, optional
        Look at features one period back; needs `time`.
    thresholds : Thresholds
    severity : mapping of kind to level
        Overrides; ``off`` leaves a check out.
    accepted : tuple of Accepted
    gate : {"none", "info", "warning", "error"}
        Severity from which on a finding stops a run, after everything is written.
    seed : int
        Of samples for bin edges.

    Examples
    --------
    >>> check = LeakageCheck(keys=("customer_id",), label="churned", task="binary", time="at", split=Split(column="split", by="entity"))
    >>> check.level("psi")
    'warning'
    """

    keys: tuple[str, ...] = Field(min_length=1, description="columns that name the entity")
    label: str = Field(description="column of the label")
    task: Task = Field(description="binary or regression")
    positive: Positive | None = Field(default=None, description="class that counts as 1; true or 1 if absent")
    time: str | Instant | None = Field(default=None, description="instant of the row")
    time_zone: str | None = Field(default=None, description="IANA zone of dates and of timestamps without zone")
    label_from: str | Instant | None = Field(default=None, description="first instant of the label's period; the row's time if absent")
    label_until: str | Instant | None = Field(default=None, description="last day or end of the label's period")
    known_at: tuple[str | Instant, ...] = Field(default=(), description="columns with the instant from which features are known")
    feature_times: tuple[str | Instant, ...] | None = Field(default=None, description="columns with the time of what features are made of")
    windows: tuple[FeatureWindow, ...] = Field(default=(), description="which days features are made of")
    features: tuple[str, ...] | None = Field(default=None, min_length=1, description="columns looked at; all others if absent")
    ignore: tuple[str, ...] = Field(default=(), description="columns that are no features")
    split: Split | None = Field(default=None, description="how rows are put on sides")
    lag: Lag | None = Field(default=None, description="look at features one period back")
    thresholds: Thresholds = Field(default=Thresholds(), description="from which figures on something is a finding")
    severity: Mapping[Kind, Level | Literal["off"]] = Field(default={}, description="severity by kind; off leaves a check out")
    accepted: tuple[Accepted, ...] = Field(default=(), description="findings that were looked at and are no leaks")
    gate: Gate = Field(default="error", description="severity from which on a finding stops: none, info, warning or error")
    seed: int = Field(default=0, ge=0, description="seed of samples for bin edges")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.keys)) < len(self.keys):
            raise ValueError(f"keys {', '.join(self.keys)} repeat a column; name each once")
        if self.label in self.keys:
            raise ValueError(f"label '{self.label}' is a key; the label is what a model is to tell")
        if self.task == "regression" and self.positive is not None:
            raise ValueError("task regression has no positive class; leave `positive` out")
        needing = {
            "lag": self.lag is not None,
            "split.until": self.split is not None and self.split.until is not None,
            "windows.last_day": any(window.last_day is not None for window in self.windows),
        }
        if self.time is None and any(needing.values()):
            raise ValueError(f"{', '.join(name for name, needs in needing.items() if needs)} needs `time`, the instant of the row")
        if self.label_start is None and (self.known_at or self.feature_times or self.windows):
            raise ValueError("known_at, feature_times and windows are held against the label's period; give `time` or `label_from`")
        if self.features is not None and (twice := set(self.features) & {self.label, *self.keys}):
            raise ValueError(f"'{min(twice)}' is label or key and no feature; leave it out of features")
        try:
            _ = None if self.time_zone is None else ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"time_zone '{self.time_zone}' is not known; give an IANA name such as Europe/Berlin") from error
        return self

    @property
    def moment(self) -> Instant | None:
        """The row's time."""
        return as_instant(self.time)

    @property
    def label_start(self) -> Instant | None:
        """First instant of the label's period."""
        return as_instant(self.label_from) or self.moment

    @property
    def label_end(self) -> Instant | None:
        """End of the label's period."""
        return as_instant(self.label_until)

    @property
    def roles(self) -> dict[str, str]:
        """Columns that are no features, with what they are."""
        told = dict.fromkeys(self.keys, "key")
        told[self.label] = "label"
        for instant, role in ((self.moment, "time"), (as_instant(self.label_from), "label_from"), (self.label_end, "label_until")):
            if instant is not None:
                told.setdefault(instant.column, role)
        for role, columns in (("known_at", self.known_at), ("feature_times", self.feature_times or ())):
            for given in columns:
                told.setdefault(instant_of(given).column, role)
        for window in self.windows:
            if window.as_of is not None:
                told.setdefault(window.as_of, "as_of of a window")
        if self.split is not None and self.split.column is not None:
            told.setdefault(self.split.column, "split")
        return {**told, **dict.fromkeys((name for name in self.ignore if name not in told), "ignored")}

    def level(self, kind: Kind) -> Level | None:
        """Severity of a kind; None where it is not looked at."""
        if kind in self.severity:
            level = self.severity[kind]
            return None if level == "off" else level
        if kind in ("entity_overlap", "copied_rows") and self.split is not None and self.split.apart_by != "entity":
            return "info" if self.split.apart_by == "time" else "warning"
        return SEVERITY[kind]


def instant_of(given: str | Instant) -> Instant:
    """Instant of a column given by name or in full."""
    return Instant(column=given) if isinstance(given, str) else given


def as_instant(given: str | Instant | None) -> Instant | None:
    """As `instant_of`; None for None."""
    return None if given is None else instant_of(given)
