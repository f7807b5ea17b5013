"""Splits: which rows train a model, which choose its settings and which judge it, from nothing but their key, class or day.

Takes declarations and gives a part or fold for every row, by the hash of `sparkds.hashing` under the salts ``split:<seed>`` and
``fold:<seed>``; `sparkds.models.split_columns` gives the same on Spark. An entity of several columns is hashed as their texts with
0x1F between; whole numbers as decimal digits, days as YYYY-MM-DD.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Annotated, Final, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, DataError
from sparkds.hashing import BUCKETS, SEPARATOR, bucket, decimal_value, threshold, unit_text

PARTS: Final = ("train", "validation", "test")
GAP: Final = "gap"
"""Part of the rows that no model sees: between two parts of a temporal split."""

Indices = NDArray[np.int64]


def entity_text(values: Iterable[object]) -> str:
    """Text of an entity as it is hashed.

    Parameters
    ----------
    values : iterable of str, int or date
        Of its columns, in the declared order.

    Raises
    ------
    DataError
        A value is null, or of a type whose text differs between languages.

    Examples
    --------
    >>> entity_text(["DE", 7, date(2026, 1, 2)]).split(SEPARATOR)
    ['DE', '7', '2026-01-02']
    """
    return SEPARATOR.join(value.isoformat() if type(value) is date else unit_text(value) for value in values)


class Shares(Declaration):
    """Shares of the parts; a model without validation rows has neither calibration nor a threshold.

    Attributes
    ----------
    train, validation, test : float
        In (0, 1), with at most six decimals and sum 1.
    """

    train: float = Field(gt=0, lt=1, description="share of the rows that train")
    validation: float = Field(gt=0, lt=1, description="share of the rows that choose settings, calibration and threshold")
    test: float = Field(gt=0, lt=1, description="share of the rows that judge")

    @model_validator(mode="after")
    def _are_all(self) -> Self:
        values = [decimal_value(share) for share in (self.train, self.validation, self.test)]
        if any((value * 1_000_000).denominator != 1 for value in values):
            raise ValueError(f"shares {self.train}, {self.validation}, {self.test} have more than six decimals; round them")
        if sum(values) != 1:
            raise ValueError(f"shares of train, validation and test sum to {float(sum(values)):.6g}; they must sum to 1")
        return self

    @property
    def cuts(self) -> tuple[Fraction, Fraction]:
        """Where train ends, and where validation ends."""
        return decimal_value(self.train), decimal_value(self.train) + decimal_value(self.validation)


class Cuts(NamedTuple):
    """First buckets beyond train and beyond validation."""

    train: int
    validation: int

    def part_at(self, place: int) -> str:
        """Part of a bucket."""
        return PARTS[0] if place < self.train else PARTS[1] if place < self.validation else PARTS[2]


class _ByHash(Declaration):
    seed: int = Field(ge=0, description="seed of the hash")
    by: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="columns that name the entity, which is never on both sides; the table's keys if absent"
    )

    @property
    def salt(self) -> str:
        """Salt of the hash."""
        return f"split:{self.seed}"


class Hashed(_ByHash):
    """Every entity goes to a part by its hash alone; with ``by`` a customer's rows stay together (a grouped split).

    A row's part never depends on the other rows, so that shares are right up to chance: standard deviation ``sqrt(p (1 - p) / n)``.

    Examples
    --------
    >>> split = Hashed(seed=1, by=("customer_id",), shares=Shares(train=0.7, validation=0.15, test=0.15))
    >>> [split.part_of(entity_text([key])) for key in (1, 2, 3, 4)]
    ['train', 'train', 'train', 'train']
    """

    kind: Literal["hash"] = "hash"
    shares: Shares

    @property
    def cuts(self) -> Cuts:
        """Cuts of the hash space."""
        return Cuts(*(threshold(cut) for cut in self.shares.cuts))

    def part_of(self, entity: str) -> str:
        """Part of an entity, given as `entity_text`."""
        return self.cuts.part_at(bucket(entity, self.salt))


class Stratified(_ByHash):
    """The same shares in every class, exact within rounding: classes are cut at order statistics of their own buckets.

    Of the n rows of a class the ``floor(c n + 1/2)`` with the smallest buckets lie before cut c. The cuts are kept with the model,
    so that the part of any row, also of a new one, is a function of its key and class.

    Attributes
    ----------
    stratum : str, optional
        Column of the class; the label if absent. An entity must be of one class.
    """

    kind: Literal["stratified"] = "stratified"
    shares: Shares
    stratum: str | None = Field(default=None, description="column whose values keep their shares; the label if absent")

    def ranks(self, n: int) -> tuple[int, int]:
        """Rows of a class of n rows before each cut."""
        first, second = (int((2 * cut * n + 1) // 2) for cut in self.shares.cuts)
        return first, second


class Temporal(Declaration):
    """Train on the past, judge on the future; rows of the ``gap_days`` before a boundary are in no part.

    Attributes
    ----------
    time : str
        Column with a date or a timestamp; of the day on which the features were known.
    validation_from, test_from : date
        First local days of these parts.
    gap_days : int
        Days before each boundary that are left out; at least as long as the label looks ahead, or the label of a training row
        is made of the days it is judged on.
    until : date, optional
        Days from here on are in no part.
    time_zone : str, optional
        IANA zone in which days are told; required if `time` is a timestamp.

    Examples
    --------
    >>> split = Temporal(time="day", validation_from=date(2026, 3, 1), test_from=date(2026, 4, 1), gap_days=7)
    >>> [split.part_of(date(2026, 2, day)) for day in (21, 22)], split.part_of(date(2026, 3, 25))
    (['train', 'gap'], 'gap')
    """

    kind: Literal["temporal"] = "temporal"
    time: str = Field(description="column with a date or a timestamp")
    validation_from: date = Field(description="first day of validation")
    test_from: date = Field(description="first day of test")
    gap_days: int = Field(ge=0, description="days before each boundary that are left out")
    until: date | None = Field(default=None, description="days from here on are left out")
    time_zone: str | None = Field(default=None, description="IANA zone of the days; required for a timestamp")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.validation_from + timedelta(days=self.gap_days) >= self.test_from:
            raise ValueError(
                f"validation from {self.validation_from} has no day left before the gap of {self.gap_days} days ahead of {self.test_from}; "
                "move test_from or shorten gap_days"
            )
        if self.until is not None and self.until <= self.test_from:
            raise ValueError(f"until {self.until} leaves no day for a test from {self.test_from}")
        _check_zone(self.time_zone)
        return self

    def part_of(self, day: date) -> str | None:
        """Part of a local day; None from ``until`` on."""
        if self.until is not None and day >= self.until:
            return None
        gap = timedelta(days=self.gap_days)
        for start, part in ((self.test_from, "test"), (self.validation_from, "validation")):
            if day >= start:
                return part
            if day >= start - gap:
                return GAP
        return "train"


AnySplit = Annotated[Hashed | Stratified | Temporal, Field(discriminator="kind")]
"""Every kind of split; the registry."""


class HashFolds(Declaration):
    """k folds of entities by hash; an entity is never trained on and judged in one fold."""

    kind: Literal["hash"] = "hash"
    n_folds: int = Field(ge=2, le=100, description="number of folds")
    seed: int = Field(ge=0, description="seed of the hash")
    by: tuple[str, ...] | None = Field(default=None, min_length=1, description="columns that name the entity; the table's keys if absent")

    @property
    def salt(self) -> str:
        """Salt of the hash."""
        return f"fold:{self.seed}"

    @property
    def width(self) -> int:
        """Buckets of a fold; the last one may have fewer."""
        return -(-BUCKETS // self.n_folds)

    def fold_of(self, entity: str) -> int:
        """Fold in which an entity, given as `entity_text`, is judged."""
        return bucket(entity, self.salt) // self.width

    def indices(self, entities: Sequence[str]) -> list[tuple[Indices, Indices]]:
        """Positions to train on and to judge on, fold by fold.

        Parameters
        ----------
        entities : (n_rows,) sequence of str
        """
        told = np.fromiter((self.fold_of(entity) for entity in entities), np.int64, len(entities))
        return [(np.flatnonzero(told != fold), np.flatnonzero(told == fold)) for fold in range(self.n_folds)]


class ExpandingFolds(Declaration):
    """Folds of time: each judges ``test_days`` and trains on everything before them but the gap.

    Fold i of k judges the days ``until - (k - i) test_days`` up to ``until - (k - i - 1) test_days``, the end excluded.
    """

    kind: Literal["expanding"] = "expanding"
    time: str = Field(description="column with a date or a timestamp")
    n_folds: int = Field(ge=1, le=100, description="number of folds")
    test_days: int = Field(ge=1, description="days that each fold judges")
    gap_days: int = Field(ge=0, description="days left out between training and judging")
    until: date = Field(description="first day after the last fold")
    time_zone: str | None = Field(default=None, description="IANA zone of the days; required for a timestamp")

    @model_validator(mode="after")
    def _zone_exists(self) -> Self:
        _check_zone(self.time_zone)
        return self

    def start_of(self, fold: int) -> date:
        """First day that a fold judges."""
        return self.until - timedelta(days=(self.n_folds - fold) * self.test_days)

    def fold_of(self, day: date) -> int | None:
        """Fold in which a day is judged; None for days before and after all folds."""
        behind = (self.until - day).days
        if not 0 < behind <= self.n_folds * self.test_days:
            return None
        return self.n_folds - 1 - (behind - 1) // self.test_days

    def indices(self, days: Sequence[date]) -> list[tuple[Indices, Indices]]:
        """Positions to train on and to judge on, fold by fold.

        Parameters
        ----------
        days : (n_rows,) sequence of date
        """
        told = np.asarray(days, dtype="datetime64[D]")
        found = []
        for fold in range(self.n_folds):
            start = np.datetime64(self.start_of(fold), "D")
            tested = (told >= start) & (told < start + self.test_days)
            found.append((np.flatnonzero(told < start - self.gap_days), np.flatnonzero(tested)))
        return found


AnyFolds = Annotated[HashFolds | ExpandingFolds, Field(discriminator="kind")]
"""Every kind of cross-validation folds; the registry."""


def stratified_cuts(split: Stratified, entities: Sequence[str], strata: Sequence[str]) -> dict[str, Cuts]:
    """Cuts of every class, from all rows: the reference of `split_columns.stratified_cuts_of`.

    Parameters
    ----------
    split : Stratified
    entities : (n_rows,) sequence of str
        As `entity_text`.
    strata : (n_rows,) sequence of str

    Returns
    -------
    dict of class to Cuts
        A cut is the smallest bucket beyond it, or 2^60 when there is none.

    Raises
    ------
    DataError
        An entity is of two classes, so that it would stand on both sides.
    """
    classes: dict[str, str] = {}
    places: dict[str, list[int]] = {}
    for entity, stratum in zip(entities, strata, strict=True):
        if classes.setdefault(entity, stratum) != stratum:
            raise both_classes(1)
        places.setdefault(stratum, []).append(bucket(entity, split.salt))
    found = {}
    for stratum, buckets in places.items():
        ranked = sorted(buckets)
        found[stratum] = Cuts(*(ranked[rank] if rank < len(ranked) else BUCKETS for rank in split.ranks(len(ranked))))
    return found


def both_classes(n: int) -> DataError:
    """Error for entities whose rows are of several classes."""
    return DataError(
        f"stratified split: {n} entities have rows of several classes, so that they would stand on both sides; "
        "split by the row's keys, or use kind hash, which keeps an entity together"
    )


def parts_of(split: Stratified, cuts: Mapping[str, Cuts], entities: Sequence[str], strata: Sequence[str]) -> list[str | None]:
    """Part of every row of a stratified split; None for a class without cuts."""
    return [
        cuts[stratum].part_at(bucket(entity, split.salt)) if stratum in cuts else None
        for entity, stratum in zip(entities, strata, strict=True)
    ]


def _check_zone(zone: str | None) -> None:
    try:
        _ = None if zone is None else ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"time_zone '{zone}' is not known; give an IANA name such as Europe/Berlin") from error


def zone_for(split: Temporal | ExpandingFolds) -> str:
    """Zone of a timestamp's days.

    Raises
    ------
    ConfigError
        None is declared.
    """
    if split.time_zone is None:
        raise ConfigError(f"column '{split.time}' is a timestamp, whose days depend on a zone; give time_zone, e.g. Europe/Berlin")
    return split.time_zone
