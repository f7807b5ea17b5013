"""Slices: which rows are the training slice, from which alone anything is fitted, and which features must not be null.

Declarations only: a slice is an SQL predicate, a gate a list of features with a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Self

from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.errors import ColumnError
from sparkds.sql import quoted


class Slice(Declaration):
    """Rows that are fitted on.

    Attributes
    ----------
    until : date, optional
        Last day of `column`, included.
    since : date, optional
        First day of `column`, included.
    column : str
        Column of type date.
    where : str, optional
        SQL predicate; only rows where it is true. At least one of `until` and `where` is given.
    test_from : date, optional
        First day of `column` that judges a model; a slice with such a day is refused.

    Examples
    --------
    >>> Slice(until=date(2026, 3, 31)).sql
    "coalesce(`as_of` <= DATE'2026-03-31', false)"
    """

    until: date | None = Field(default=None, description="last day of the training slice")
    since: date | None = Field(default=None, description="first day of the training slice")
    column: str = Field(default="as_of", min_length=1, description="column of type date")
    where: str | None = Field(default=None, min_length=1, description="SQL predicate of the training slice")
    test_from: date | None = Field(default=None, description="first day that judges a model; must lie outside the slice")

    @model_validator(mode="after")
    def _told(self) -> Self:
        if self.until is None and self.where is None:
            raise ValueError("the training slice has no end: give until (its last day) or where (a predicate)")
        if self.until is not None and self.since is not None and self.since > self.until:
            raise ValueError(f"since {self.since} is after until {self.until}; the training slice has no day")
        if self.until is not None and self.test_from is not None and self.until >= self.test_from:
            raise ValueError(
                f"the training slice until {self.until} overlaps the test part from {self.test_from}; what is fitted would know what it is "
                f"judged on: end it before {self.test_from}"
            )
        return self

    @property
    def sql(self) -> str:
        """SQL predicate; true or false, never null."""
        day = quoted(self.column)
        parts = [f"{day} >= DATE'{self.since.isoformat()}'"] if self.since else []
        parts += [f"{day} <= DATE'{self.until.isoformat()}'"] if self.until else []
        parts += [f"({self.where})"] if self.where else []
        return f"coalesce({' and '.join(parts)}, false)"

    @property
    def overlap_sql(self) -> str | None:
        """SQL predicate of rows that are in the slice and in the test part; None when the declaration rules them out."""
        if self.test_from is None or self.until is not None:
            return None
        return f"{self.sql} and {quoted(self.column)} >= DATE'{self.test_from.isoformat()}'"

    def check(self, types: Mapping[str, str], where: str) -> None:
        """Hold the slice against the columns.

        Raises
        ------
        ColumnError
        """
        if self.until is None and self.since is None and self.test_from is None:
            return
        if self.column not in types:
            raise ColumnError.missing(self.column, tuple(types), where)
        if types[self.column] != "date":
            raise ColumnError(
                f"column '{self.column}' of the training slice has type {types[self.column]}; until, since and test_from need a date: "
                "name one with column, or give where"
            )


class NullGate(Declaration):
    """Features that must nearly never be null after everything is derived.

    Attributes
    ----------
    columns : tuple of str
    most : float
        Largest share of nulls that passes is below this.
    """

    columns: tuple[str, ...] = Field(min_length=1, description="critical features")
    most: float = Field(default=0.02, gt=0, le=1, description="share of nulls must be below this")
