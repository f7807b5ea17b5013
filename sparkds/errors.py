"""Errors: what went wrong, what is allowed, where, and what to do; named by who can mend it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SparkdsError(Exception):
    """Every error that the package raises on purpose."""


class ConfigError(SparkdsError):
    """The author of a declaration or configuration can mend it."""


class ColumnError(SparkdsError):
    """A table lacks a column or has it in another type; the author of the table or of the declaration can mend it."""

    @classmethod
    def missing(cls, column: str, available: Iterable[str], where: str) -> ColumnError:
        """Error for a column that is not there, with the nearest name and all names.

        Parameters
        ----------
        column : str
        available : iterable of str
            Columns that are there.
        where : str
            What was looked at, e.g. ``table 'orders'``.

        Examples
        --------
        >>> print(ColumnError.missing("revnue", ["day", "revenue"], "table 'orders'"))
        column 'revnue' not found in table 'orders'; did you mean 'revenue'? (columns: day, revenue)
        """
        names = list(available)
        return cls(f"column '{column}' not found in {where}{closest(column, names)} (columns: {', '.join(names)})")


class DataError(SparkdsError):
    """Rows break a promise: no rows at all, duplicates, values that do not fit."""


class WindowError(SparkdsError):
    """Days that cannot be computed: the data are not there yet, or the range is empty."""


class TableError(SparkdsError):
    """A table is absent, not of the right format, of another definition, or changed by someone else meanwhile."""


class GateError(SparkdsError):
    """A model, a feature or a table does not pass its gates."""


def closest(name: str, choices: Iterable[str]) -> str:
    """Suggest the choice nearest to `name`: ``; did you mean 'x'?``, or nothing when none is near.

    Examples
    --------
    >>> closest("revnue", ["revenue", "orders"])
    "; did you mean 'revenue'?"
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
