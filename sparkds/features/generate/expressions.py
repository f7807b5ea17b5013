"""Expressions: SQL text of a derivation's inputs, of fitted values and of look-ups, so that declarations need no Spark.

Takes the columns of a frame with their types and gives text of Spark SQL whose meaning no session setting changes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sparkds.errors import ColumnError
from sparkds.features.states import decimal_type, is_number
from sparkds.sql import finite, is_float, quoted

WHOLE_BITS: Final = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
WHOLE_DIGITS: Final = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
CATEGORY_TYPES: Final = ("string", "boolean", "date", *WHOLE_BITS)
"""Types whose text is the same in every session."""
PER_BUCKET: Final = 8
"""Entries of a look-up that are compared one after the other."""


@dataclass(frozen=True)
class Inputs:
    """Columns that a derivation can read.

    Attributes
    ----------
    types : mapping of column to Spark type name
    trains : str
        SQL predicate of the training slice, true or false, never null.
    where : str
        What is looked at, in messages.
    """

    types: Mapping[str, str]
    trains: str = "true"
    where: str = "the frame"

    def dtype(self, column: str) -> str:
        """Type of a column.

        Raises
        ------
        ColumnError
            It is absent.
        """
        if column not in self.types:
            raise ColumnError.missing(column, tuple(self.types), self.where)
        return self.types[column]

    def number(self, column: str) -> str:
        """SQL of a number in its own type; NaN and infinities are null.

        Raises
        ------
        ColumnError
            It is absent or not a number.
        """
        dtype = self.dtype(column)
        if not is_number(dtype):
            raise ColumnError(f"column '{column}' in {self.where} has type {dtype}; a number is needed: cast it before, or leave it out")
        return finite(column, dtype)

    def double(self, column: str) -> str:
        """SQL of a number as double; NaN and infinities are null."""
        return f"cast({self.number(column)} as double)"

    def value(self, column: str) -> str:
        """SQL of a column of any type, in its own type; NaN and infinities are null."""
        return finite(column, self.dtype(column))

    def category(self, column: str) -> str:
        """SQL of a category's text; null for null.

        Raises
        ------
        ColumnError
            The column is absent, or of a type whose text differs between sessions or is not exact.
        """
        dtype = self.dtype(column)
        if dtype not in CATEGORY_TYPES and decimal_type(dtype) is None:
            allowed = f"{', '.join(CATEGORY_TYPES)}, decimal"
            raise ColumnError(f"column '{column}' in {self.where} has type {dtype}; a category has type {allowed}: cast or bin it before")
        return quoted(column) if dtype == "string" else f"cast({quoted(column)} as string)"

    def categories(self, columns: Sequence[str]) -> str:
        """SQL of the text of several categories together, told apart whatever characters they have; nulls are values of their own."""
        if len(columns) == 1:
            return self.category(columns[0])
        return f"to_json(array({', '.join(self.category(column) for column in columns)}))"


def text_sql(value: str) -> str:
    """SQL literal of a text; as bytes where a session could read it otherwise.

    Examples
    --------
    >>> text_sql("a b"), text_sql("it's")
    ("'a b'", "cast(X'69742773' as string)")
    """
    if value.isascii() and value.isprintable() and not set(value) & {"'", "\\", '"', "$"}:
        return f"'{value}'"
    return f"cast(X'{value.encode('utf-8', 'surrogatepass').hex().upper()}' as string)"


def double_sql(value: float) -> str:
    """SQL literal of a finite double, every digit of it."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return f"{float(value)!r}D"


def value_sql(value: float | int | str | None, dtype: str) -> str:
    """SQL literal of a fitted value in a type; texts are read by that type."""
    if value is None:
        return f"cast(null as {dtype})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_float(dtype):
        return f"cast({double_sql(float(value))} as {dtype})"
    return text_sql(str(value)) if dtype == "string" else f"cast({text_sql(str(value))} as {dtype})"


def lookup_sql(key: str, entries: Mapping[str, str], dtype: str) -> str:
    """SQL of the value that belongs to a text; null for a text that is not there, and for null.

    Entries are spread over buckets by CRC-32, so that a row compares a few texts however many there are.

    Parameters
    ----------
    key : str
        SQL of the text.
    entries : mapping of text to the SQL of its value
    dtype : str
        Type of the values.
    """
    if not entries:
        return f"cast(null as {dtype})"
    n = max(1, -(-len(entries) // PER_BUCKET))
    buckets: list[list[tuple[str, str]]] = [[] for _ in range(n)]
    for text, value in entries.items():
        buckets[zlib.crc32(text.encode("utf-8", "surrogatepass")) % n].append((text, value))
    maps = [
        f"map_from_arrays(array({', '.join(text_sql(text) for text, _ in bucket)}), array({', '.join(value for _, value in bucket)}))"
        if bucket
        else f"cast(map() as map<string,{dtype}>)"
        for bucket in buckets
    ]
    if n == 1:
        return f"try_element_at({maps[0]}, {key})"
    place = f"cast(crc32(cast({key} as binary)) % {n} as int)"
    return f"try_element_at(get(array({', '.join(maps)}), {place}), {key})"
