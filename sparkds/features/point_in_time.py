"""Point in time: what a training set is made of - a spine of keys and instants, and feature tables whose rows are known from an instant on.

Takes the columns of the tables and says which column of which row a training set has, or what does not fit; looks at no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import Field, field_validator, model_validator

from sparkds.days import checked_zone
from sparkds.declaration import Declaration
from sparkds.errors import ColumnError, ConfigError, closest

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame

NO_FEATURES: Final = ("as_of", "known_at", "valid_from", "valid_to", "complete")
"""Columns of snapshots and histories that say when a row holds, and are no features."""
DAY_SUFFIX: Final = "_from"
"""End of the name under which a history stores the day from which a feature counts days."""
TIMES: Final = ("timestamp", "timestamp_ntz", "date")
WHOLE: Final = ("tinyint", "smallint", "int", "bigint")


class Spine(Declaration):
    """Rows that a training set shall have: who, and at which instant.

    Attributes
    ----------
    keys : tuple of str
        Columns that name the entity; null keys are allowed and find nothing.
    time : str
        Column of the instant t: a timestamp; a date, which is the first instant of that local day; or a timestamp without zone,
        which is read in `time_zone`. Never null.
    time_zone : str
        IANA name of the zone whose calendar days are meant.
    label : str, optional
        Column that is to be predicted; absent for inference.

    Examples
    --------
    >>> Spine(keys=("customer_id",), time="known_at", time_zone="Europe/Berlin").label is None
    True
    """

    keys: tuple[str, ...] = Field(min_length=1, description="columns that name the entity")
    time: str = Field(description="column of the instant: timestamp, or date for its first instant")
    time_zone: str = Field(description="IANA time zone whose calendar days are meant")
    label: str | None = Field(default=None, description="column that is to be predicted")

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, zone: str) -> str:
        checked_zone(zone)
        return zone

    @model_validator(mode="after")
    def _apart(self) -> Spine:
        named = [*self.keys, self.time, *([] if self.label is None else [self.label])]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"spine column '{name}' is given two parts; keys, time and label are different columns")
        return self

    def check(self, types: Mapping[str, str], where: str = "the spine") -> None:
        """Hold the declaration against the columns of the spine.

        Parameters
        ----------
        types : mapping of column to Spark type name
        where : str
            Name of the spine in messages.

        Raises
        ------
        ColumnError
            A column is missing, the time is none, or a key cannot be compared.
        """
        for name in (*self.keys, self.time, *([] if self.label is None else [self.label])):
            if name not in types:
                raise ColumnError.missing(name, types, where)
        check_time(self.time, types[self.time], where)
        for key in self.keys:
            check_key(key, types[key], where)
        if self.label is not None and not is_comparable(types[self.label]):
            raise ColumnError(f"label '{self.label}' in {where} is {types[self.label]}; a label is a number, a truth value or text")


class FeatureTable(Declaration):
    """Table whose rows are known from an instant on: snapshots, a history, or events; a spine row takes the last row with known_at <= t.

    Attributes
    ----------
    table : str
        Its name.
    name : str, optional
        Name in messages, statistics and the column ``<name>_known_at``; that of the table if absent. The same table may be declared twice
        under two names.
    keys : tuple of str, optional
        Columns of the spine that name its entity; all keys of the spine if absent.
    table_keys : mapping of str to str
        Spine key to its name in the table, where they differ.
    known_at : str
        Column of the instant from which a row is known: a timestamp, or a date, whose row is known from the midnight after that local
        day on. For events, the time of the event, or of its arrival.
    time_zone : str, optional
        IANA zone of a date or of a timestamp without zone; the spine's if absent.
    lookback_days : int, optional
        A row that was known before the same local time so many calendar days before t is too old, and counts as none.
    tie : str, optional
        Of rows of one key and instant the one with the largest value here is taken (null is the smallest); without it such rows are
        refused, and so are rows that are equal in it.
    columns : tuple of str, optional
        Features; every column but the keys, `known_at`, `tie`, those that `days_since` reads, and the columns of validity if absent.
    leave_out : tuple of str
        Not these.
    prefix : str
        Ahead of the name of every feature.
    days_since : mapping of str to str, optional
        Feature to a stored column of dates: days from that date to the last local day that has ended at t. If absent, of a history (a table
        with ``valid_from`` and ``valid_to``) every feature x of which it stores the date ``x_from``.
    where : str, optional
        SQL predicate of the rows that count.
    take_incomplete : bool
        Whether rows count that a column ``complete`` says were written before their day's data were complete.

    Examples
    --------
    >>> FeatureTable(table="features_history", lookback_days=90, days_since={"recency_days": "last_day"}).label
    'features_history'
    """

    table: str = Field(description="table of features or events")
    name: str | None = Field(default=None, description="name in messages and statistics; the table's if absent")
    keys: tuple[str, ...] | None = Field(default=None, min_length=1, description="spine columns that name its entity")
    table_keys: Mapping[str, str] = Field(default={}, description="spine key: its name in the table, where they differ")
    known_at: str = Field(default="known_at", description="column of the instant (or day) from which a row is known")
    time_zone: str | None = Field(default=None, description="IANA zone of dates and timestamps without zone")
    lookback_days: int | None = Field(default=None, ge=1, description="older rows count as none, calendar days")
    tie: str | None = Field(default=None, description="of rows at one instant, the one with the largest value here")
    columns: tuple[str, ...] | None = Field(default=None, min_length=1, description="features; all that are not keys or times if absent")
    leave_out: tuple[str, ...] = Field(default=(), description="columns that are no features")
    prefix: str = Field(default="", description="ahead of the names of the features")
    days_since: Mapping[str, str] | None = Field(default=None, description="feature: stored date, told as days since it")
    where: str | None = Field(default=None, description="SQL predicate of the rows that count")
    take_incomplete: bool = Field(default=False, description="also rows whose column `complete` is false")

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        return checked_zone(zone)

    @property
    def label(self) -> str:
        """Name of the table in messages, statistics and the column ``<label>_known_at``."""
        return self.name or self.table

    @property
    def known_at_column(self) -> str:
        """Output column with the instant from which the taken row is known."""
        return f"{self.label}_known_at"

    def resolved(self, spine: Spine, spine_types: Mapping[str, str], types: Mapping[str, str]) -> ResolvedTable:
        """Hold the declaration against the columns of the table.

        Raises
        ------
        ColumnError, ConfigError
        """
        where = f"feature table '{self.label}'"
        keys = self.keys or spine.keys
        for name in self.table_keys:
            if name not in keys:
                raise ConfigError(f"{where}: table_keys names '{name}', which is not one of its keys ({', '.join(keys)})")
        key_columns = []
        for key in keys:
            if key not in spine_types:
                raise ColumnError.missing(key, spine_types, "the spine")
            check_key(key, spine_types[key], "the spine")
            own = self.table_keys.get(key, key)
            if own not in types:
                raise ColumnError.missing(own, types, f"{where} (key '{key}' of the spine; say in table_keys if it has another name)")
            check_key(own, types[own], where)
            key_columns.append(KeyColumn(key, own, common_type(key, spine_types[key], own, types[own], where)))
        days = self._days_since(types)
        named = [self.known_at, *self.leave_out, *days.values(), *(self.columns or ()), *([self.tie] if self.tie else [])]
        for name in named:
            if name not in types:
                raise ColumnError.missing(name, types, where)
        check_time(self.known_at, types[self.known_at], where)
        if self.tie is not None and not is_comparable(types[self.tie]):
            raise ColumnError(f"tie '{self.tie}' in {where} is {types[self.tie]}, which has no order")
        for feature, stored in days.items():
            if types[stored] != "date":
                raise ColumnError(f"'{stored}' in {where} is {types[stored]}; days_since ('{feature}') is told from a date")
        if self.columns is not None and "valid_to" in self.columns and "valid_from" in types:
            raise ConfigError(f"{where}: 'valid_to' is known only when the row has ended, so it tells the future; take it out of columns")
        features = [
            Feature(self.prefix + name, name, types[name], False)
            for name in self._feature_columns(tuple(types), {*days.values(), *(key.table for key in key_columns)})
        ]
        features += [Feature(self.prefix + name, stored, "int", True) for name, stored in days.items()]
        if not features:
            raise ConfigError(f"{where} has no column that is a feature (columns: {', '.join(types)}); give columns, or leave it away")
        only_complete = types.get("complete") == "boolean" and not self.take_incomplete
        return ResolvedTable(
            self, tuple(key_columns), types[self.known_at], self.time_zone or spine.time_zone, tuple(features), only_complete
        )

    def _days_since(self, types: Mapping[str, str]) -> Mapping[str, str]:
        """Features that are told from a stored date."""
        if self.days_since is not None:
            return self.days_since
        if not {"valid_from", "valid_to"} <= set(types):
            return {}
        stored = [name for name, dtype in types.items() if dtype == "date" and name.endswith(DAY_SUFFIX) and name != "valid_from"]
        return {name.removesuffix(DAY_SUFFIX): name for name in stored if name not in (self.columns or ()) and name not in self.leave_out}

    def _feature_columns(self, available: tuple[str, ...], no_features: set[str]) -> tuple[str, ...]:
        if self.columns is not None:
            return tuple(name for name in self.columns if name not in self.leave_out)
        others = {*NO_FEATURES, self.known_at, self.tie, *self.leave_out, *no_features}
        return tuple(name for name in available if name not in others)


class KeyColumn(NamedTuple):
    """Column of a key in the spine and in a table, and the type in which both are compared."""

    spine: str
    table: str
    dtype: str


class Feature(NamedTuple):
    """Output column of a training set.

    Attributes
    ----------
    name : str
        In the training set.
    column : str
        In the feature table.
    dtype : str
        Spark type in the training set.
    is_days_since : bool
        Whether `column` is a date that is told as days since it.
    """

    name: str
    column: str
    dtype: str
    is_days_since: bool


class ResolvedTable(NamedTuple):
    """Feature table, held against its columns.

    Attributes
    ----------
    spec : FeatureTable
    keys : tuple of KeyColumn
    known_at_type : str
    time_zone : str
        Of dates and timestamps without zone.
    features : tuple of Feature
    only_complete : bool
        Whether rows whose column ``complete`` is not true are left out.
    """

    spec: FeatureTable
    keys: tuple[KeyColumn, ...]
    known_at_type: str
    time_zone: str
    features: tuple[Feature, ...]
    only_complete: bool


class TrainingSet(Declaration):
    """Spine and the feature tables whose values it takes; the same declaration serves training and inference.

    Attributes
    ----------
    spine : Spine
    features : tuple of FeatureTable
        Those that share their keys are joined in one exchange together.
    keep_order : bool
        Whether rows come out in the order in which the spine is read, at the price of one more exchange (a sort of all rows). Without it
        the rows are the same, in no order, as in every distributed table.

    Examples
    --------
    >>> spec = TrainingSet(
    ...     spine=Spine(keys=("customer_id",), time="known_at", time_zone="UTC", label="buys"),
    ...     features=(FeatureTable(table="features"), FeatureTable(table="visits", known_at="visited_at", prefix="visit_")),
    ... )
    >>> [table.label for table in spec.features]
    ['features', 'visits']

    On a session: ``spec.frame(spine, {"features": features, "visits": visits})`` is a lazy DataFrame.
    """

    spine: Spine = Field(description="rows that the training set shall have")
    features: tuple[FeatureTable, ...] = Field(min_length=1, description="tables whose last known row is taken")
    keep_order: bool = Field(default=False, description="rows in the order of the spine; one more exchange")

    @model_validator(mode="after")
    def _names(self) -> TrainingSet:
        labels = [table.label for table in self.features]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two feature tables have the name '{label}'; give one of them a name of its own")
        return self

    def resolved(self, spine_types: Mapping[str, str], types: Mapping[str, Mapping[str, str]]) -> tuple[ResolvedTable, ...]:
        """Hold the declaration against the columns of all tables, before anything is scanned.

        Parameters
        ----------
        spine_types : mapping of column to Spark type name
        types : mapping of feature table to such a mapping
            By `FeatureTable.label`.

        Raises
        ------
        ColumnError
            A column is missing or of a type that does not fit.
        ConfigError
            A table is not given, or two columns of the training set have one name.
        """
        self.spine.check(spine_types)
        for table in self.features:
            if table.label not in types:
                raise ConfigError(f"feature table '{table.label}' is declared and not given{closest(table.label, types)}")
        tables = tuple(table.resolved(self.spine, spine_types, types[table.label]) for table in self.features)
        taken = {name.lower(): f"the spine's '{name}'" for name in spine_types}
        for resolved in tables:
            label = resolved.spec.label
            for name in (*(feature.name for feature in resolved.features), resolved.spec.known_at_column):
                if name.lower() in taken:
                    raise ConfigError(
                        f"column '{name}' of feature table '{label}' has the name of {taken[name.lower()]}; "
                        "give the table a prefix (or a name), or leave the column out"
                    )
                taken[name.lower()] = f"'{name}' of feature table '{label}'"
        return tables

    def frame(self, spine: DataFrame, tables: Mapping[str, DataFrame], *, times: tuple[datetime, datetime] | None = None) -> DataFrame:
        """Training set as a lazy DataFrame; see `sparkds.features.as_of_join.training_set_frame`."""
        from sparkds.features.as_of_join import training_set_frame

        return training_set_frame(self, spine, tables, times=times)


def check_time(name: str, dtype: str, where: str) -> None:
    """Refuse a column that is no time."""
    if dtype not in TIMES:
        raise ColumnError(f"column '{name}' in {where} is {dtype}; a time is a timestamp or a date: cast it before")


def check_key(name: str, dtype: str, where: str) -> None:
    """Refuse a key that does not compare by value."""
    if dtype in ("float", "double"):
        raise ColumnError(f"key '{name}' in {where} is {dtype}; floats do not name an entity: cast it to a whole number, decimal or string")
    if not is_comparable(dtype):
        raise ColumnError(f"key '{name}' in {where} is {dtype}, which cannot be compared; give plain columns as keys")


def is_comparable(dtype: str) -> bool:
    """Whether a Spark type is a plain value with an order."""
    return not dtype.startswith(("map", "array", "struct", "variant", "interval"))


def common_type(key: str, spine_type: str, column: str, table_type: str, where: str) -> str:
    """Type in which two keys are compared.

    Raises
    ------
    ColumnError
        They are not of one type; nothing is cast that could change a value.
    """
    if spine_type == table_type:
        return spine_type
    if spine_type in WHOLE and table_type in WHOLE:
        return "bigint"
    raise ColumnError(
        f"key '{key}' is {spine_type} in the spine and '{column}' is {table_type} in {where}; "
        "a cast could change its values: give both the same type"
    )
