"""Derivations: what a kind of derived feature says of itself - its inputs, what it has to fit, and its columns as SQL.

A kind is one frozen class. Nothing here runs: `fitting` computes in few passes what all derivations ask for, `applying` puts their
columns into one select a level.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from sparkds.declaration import Declaration
from sparkds.features.generate.expressions import Inputs

State = Mapping[str, Any]
"""Fitted numbers and texts of one derivation; plain JSON."""


class Output(NamedTuple):
    """A column that a derivation makes.

    Attributes
    ----------
    name : str
    dtype : str
        Spark type; the expression is cast to it, so it must hold every value.
    comment : str
        What it is, with its unit.
    sql : str
        Expression over the columns that stood before.
    """

    name: str
    dtype: str
    comment: str
    sql: str


class Aggregate(NamedTuple):
    """An aggregate over the training slice, giving what JSON knows (double, bigint, string, boolean or arrays of them).

    Attributes
    ----------
    call : str
        SQL of one aggregate function call over ``{x}``, or of a cast of it.
    x : str
        SQL of what is aggregated; null in rows that take no part.
    dtype : str
        Spark type of `x`.

    Examples
    --------
    >>> Aggregate("avg({x})", "cast(price as double)", "double").sql
    'avg(cast(price as double))'
    """

    call: str
    x: str
    dtype: str

    @property
    def sql(self) -> str:
        """SQL of the whole."""
        return self.call.replace("{x}", self.x)


@dataclass(frozen=True)
class Grouped:
    """A grouped fit: aggregates for every different text of a key over the training slice.

    Attributes
    ----------
    keys : str
        SQL of an array of texts; the row counts for each of them (null among them is a key, an empty array is none).
    values : mapping of name to SQL
        One aggregate function call each, giving what JSON knows (double, bigint, string, boolean or arrays of them).
    most : int
        More different keys are refused.
    what : str
        What the keys are, in messages: ``vocabulary of 'colour'``.
    least : int
        Keys of fewer rows are left out before they are counted.
    """

    keys: str
    values: Mapping[str, str]
    most: int
    what: str
    least: int = 1


@dataclass(frozen=True)
class Sample:
    """A sample of the training slice for a fit on the driver: the rows with the smallest hashes, the same under any partitioning.

    Attributes
    ----------
    value : str
        SQL of an array of texts; rows where it is empty take no part.
    by : tuple of str
        SQL whose values are hashed with the seed (Spark's xxhash64); equal hashes go by the value.
    rows : int
        Size; all rows if there are fewer.
    seed : int
    """

    value: str
    by: tuple[str, ...]
    rows: int
    seed: int


@dataclass(frozen=True)
class Fits:
    """What is to be fitted.

    Attributes
    ----------
    values : mapping of name to Aggregate
    groups : mapping of name to Grouped
    samples : mapping of name to Sample
    given : str
        What has to be given from outside the frame, e.g. ``the dates of table 'holidays'``; empty for nothing.
    """

    values: Mapping[str, Aggregate] = field(default_factory=dict)
    groups: Mapping[str, Grouped] = field(default_factory=dict)
    samples: Mapping[str, Sample] = field(default_factory=dict)
    given: str = ""

    def __bool__(self) -> bool:
        return bool(self.reads or self.given)

    @property
    def reads(self) -> bool:
        """Whether the training slice is read."""
        return bool(self.values or self.groups or self.samples)


NOTHING = Fits()


@dataclass(frozen=True)
class Fitted:
    """What the passes found for one derivation.

    Attributes
    ----------
    n_rows : int
        Rows of the training slice.
    values : mapping of name to value
    groups : mapping of name to rows
        Each row has ``key`` and the values of its `Grouped`, in ascending order of the key's code points, null first.
    samples : mapping of name to the texts of each row
    given : object
        What was given from outside.
    """

    n_rows: int
    values: Mapping[str, Any]
    groups: Mapping[str, Sequence[Mapping[str, Any]]]
    samples: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    given: Any = None


class Derivation(Declaration):
    """Fields and methods that every kind has.

    Attributes
    ----------
    name : str, optional
        Name of the derivation in states, status and messages; ``kind(columns)`` if absent.
    """

    kind: str
    name: str | None = Field(default=None, min_length=1, description="name in states and messages; kind(columns) if absent")

    @property
    def in_one_row(self) -> bool:
        """Whether its columns follow from the row alone, so that other rows need not be derived again."""
        return True

    @property
    def stepped(self) -> bool:
        """Whether its expressions read columns that a step of frames makes before; `applying.STEPS` has those of this domain."""
        return not self.in_one_row

    @property
    def given(self) -> str:
        """What it takes from outside the frame when it is fitted, e.g. ``the dates of table 'holidays'``; empty for nothing."""
        return ""

    @property
    def title(self) -> str:
        """Name as given, or ``kind(columns)``, many columns told by their number."""
        return self.name or f"{self.kind}({told_columns(self.inputs)})"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that it reads; columns of the frame or of other derivations."""
        raise TypeError(f"{type(self).__name__} reads no column")

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that it makes, as far as they are known before fitting."""
        raise TypeError(f"{type(self).__name__} makes no column")

    def check(self, of: Inputs) -> None:
        """Hold the declaration against the columns, before anything is scanned.

        Raises
        ------
        ColumnError
        """
        for column in self.inputs:
            of.dtype(column)

    def fits(self, of: Inputs) -> Fits:
        """What has to be fitted on the training slice; nothing by default."""
        return NOTHING

    def state(self, fitted: Fitted) -> State:
        """State from what the passes found.

        Raises
        ------
        DataError
            Nothing can be fitted from these rows, e.g. a column is null everywhere.
        """
        return {}

    def warnings(self, state: State) -> list[str]:
        """What the reader of the run should know of a state."""
        return []

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        """Columns that it makes, each a pure function of the row's columns and the state."""
        raise TypeError(f"{type(self).__name__} makes no column")

    @property
    def fit_fields(self) -> dict[str, Any]:
        """Fields that a state hangs on."""
        return self.model_dump(mode="json", exclude={"name"})

    def fit_hash(self, *told: object) -> str:
        """Hash of what a state hangs on: these fields, and what is told besides (slice, hashes of the derivations before)."""
        text = json.dumps([self.fit_fields, *told], sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def told_columns(columns: Sequence[str]) -> str:
    """Columns as a title tells them.

    Examples
    --------
    >>> told_columns("abcdefg")
    'a, b, c, d, … 7 columns'
    """
    return ", ".join(columns if len(columns) <= 6 else (*columns[:4], f"… {len(columns)} columns"))


class ColumnsDerivation(Derivation):
    """A derivation that makes one column of each of its columns.

    Attributes
    ----------
    columns : tuple of str
    suffix : str
        The column made of ``x`` is ``x_{suffix}``.
    """

    columns: tuple[str, ...] = Field(min_length=1, description="columns that are read")
    suffix: str

    @field_validator("columns")
    @classmethod
    def _once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError(f"column '{next(c for c in columns if columns.count(c) > 1)}' is given twice; give each once")
        return columns

    @property
    def title(self) -> str:
        usual = self.suffix == type(self).model_fields["suffix"].default
        return self.name or f"{self.kind}({told_columns(self.columns)})" + ("" if usual else f" {self.suffix}")

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.columns

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.name_of(column) for column in self.columns)

    def name_of(self, column: str) -> str:
        """Name of the column made of a column."""
        return f"{column}_{self.suffix}"
