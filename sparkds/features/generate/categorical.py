"""Categorical derivations: one-hot columns of a frozen vocabulary, and the share of a category in the training slice.

A category is told by its text; null is no category.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from sparkds.errors import DataError
from sparkds.features.generate.derivation import NOTHING, ColumnsDerivation, Derivation, Fits, Fitted, Grouped, Output, State
from sparkds.features.generate.expressions import Inputs, double_sql, lookup_sql, text_sql

MOST_VALUES: Final = 10_000
"""Of a vocabulary that is looked at."""
LONGEST_PART: Final = 40
"""Characters of a category in the name of its column."""
OTHER: Final = "other"
NULL: Final = "is_null"


class OneHot(Derivation):
    """One 0/1 column of each value of a frozen vocabulary, and one for every other value.

    Attributes
    ----------
    column : str
    values : tuple of str, optional
        The vocabulary, declared; fitted on the training slice if absent.
    most : int
        A fitted vocabulary with more values is refused.
    keep : int, optional
        Only the so many most frequent values, of equally frequent ones the first in the order of code points; the others are "other".
    null_column : bool
        Whether null has a column of its own; otherwise it is 0 in all columns.

    Notes
    -----
    Columns are ``{column}_{value}``, ``{column}_other`` and ``{column}_is_null``, in the order of the values' code points. In a name
    everything but letters, digits and ``_`` becomes ``_``; a value whose name is another's too, is long, or reads ``other`` or
    ``is_null``, has six hexadecimal digits of the SHA-256 of its UTF-8 bytes behind it. Names are kept with the state.
    """

    kind: Literal["one_hot"] = "one_hot"
    column: str = Field(min_length=1)
    values: tuple[str, ...] | None = Field(default=None, min_length=1, description="declared vocabulary; fitted if absent")
    most: int = Field(default=100, ge=1, le=1_000, description="a fitted vocabulary with more values is refused")
    keep: int | None = Field(default=None, ge=1, le=1_000, description="only the so many most frequent values")
    null_column: bool = Field(default=False, description="a column of its own for null")

    @model_validator(mode="after")
    def _told(self) -> Self:
        if self.values is not None and self.keep is not None:
            raise ValueError("keep is for a fitted vocabulary; leave it out, or leave out values")
        if self.values is not None and len(set(self.values)) < len(self.values):
            raise ValueError(f"value {next(v for v in self.values if self.values.count(v) > 1)!r} is given twice; give each once")
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def names(self) -> tuple[str, ...]:
        known = value_names(self.column, self.values or ()).values()
        return (*known, f"{self.column}_{OTHER}", *([f"{self.column}_{NULL}"] if self.null_column else []))

    def check(self, of: Inputs) -> None:
        of.category(self.column)

    def fits(self, of: Inputs) -> Fits:
        if self.values is not None:
            return NOTHING
        most = self.most if self.keep is None else MOST_VALUES
        return Fits(groups={"values": vocabulary(self, of, self.column, most)})

    def state(self, fitted: Fitted) -> State:
        rows = some_values(self, fitted, "values", self.column)
        if self.keep is not None:
            rows = sorted(rows, key=lambda row: -row["n"])[: self.keep]
        return {"names": value_names(self.column, [row["key"] for row in rows])}

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        names = value_names(self.column, self.values) if self.values is not None else state["names"]
        x = of.category(self.column)
        told = [
            Output(name, "int", f"1 where {self.column} is {value!r}, else 0", f"cast(coalesce({x} = {text_sql(value)}, false) as int)")
            for value, name in names.items()
        ]
        known = ", ".join(text_sql(value) for value in names)
        comment = f"1 where {self.column} has a value outside its {len(names)} known ones, else 0"
        told.append(Output(f"{self.column}_{OTHER}", "int", comment, f"cast(coalesce({x} not in ({known}), false) as int)"))
        if self.null_column:
            told.append(Output(f"{self.column}_{NULL}", "int", f"1 where {self.column} is null, else 0", f"cast({x} is null as int)"))
        return tuple(told)


class Frequency(ColumnsDerivation):
    """Share of a row's category among the training rows that have one; 0 for a category they lack, null for null.

    Attributes
    ----------
    most : int
        A vocabulary with more values is refused.
    """

    kind: Literal["frequency"] = "frequency"
    suffix: str = Field(default="frequency", min_length=1, description="the column made of x is x_{suffix}")
    most: int = Field(default=MOST_VALUES, ge=1, le=MOST_VALUES, description="a vocabulary with more values is refused")

    def check(self, of: Inputs) -> None:
        for column in self.columns:
            of.category(column)

    def fits(self, of: Inputs) -> Fits:
        return Fits(groups={f"values_{i}": vocabulary(self, of, column, self.most) for i, column in enumerate(self.columns)})

    def state(self, fitted: Fitted) -> State:
        state = {}
        for i, column in enumerate(self.columns):
            rows = some_values(self, fitted, f"values_{i}", column)
            n = sum(row["n"] for row in rows)
            state[column] = {row["key"]: row["n"] / n for row in rows}
        return state

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        told = []
        for column in self.columns:
            x = of.category(column)
            shares = lookup_sql(x, {value: double_sql(share) for value, share in state[column].items()}, "double")
            comment = f"share of the value of {column} in the training slice, 0 if it was not there (share in [0, 1])"
            told.append(Output(self.name_of(column), "double", comment, f"case when {x} is not null then coalesce({shares}, 0D) end"))
        return tuple(told)


def vocabulary(derivation: Derivation, of: Inputs, column: str, most: int) -> Grouped:
    """Different values of a column with the number of their rows."""
    keys = f"filter(array({of.category(column)}), k -> k is not null)"
    return Grouped(keys, {"n": "count(1)"}, most, f"'{derivation.title}': the vocabulary of '{column}'")


def some_values(derivation: Derivation, fitted: Fitted, name: str, column: str) -> Sequence[dict[str, Any]]:
    """Rows of a vocabulary.

    Raises
    ------
    DataError
        The column is null in all training rows.
    """
    rows = fitted.groups[name]
    if not rows:
        raise DataError(f"'{derivation.title}': column '{column}' is null in all {fitted.n_rows} training rows; leave it out")
    return [dict(row) for row in rows]


def value_names(column: str, values: Iterable[str]) -> dict[str, str]:
    """Names of the columns of values, in the order of their code points.

    Examples
    --------
    >>> value_names("c", ["b.c", "ü", "b c", "other"])
    {'b c': 'c_b_c_47d8a4', 'b.c': 'c_b_c_b476cc', 'other': 'c_other_d9298a', 'ü': 'c_ü'}
    """
    ordered = sorted(values)
    parts = [re.sub(r"\W+", "_", value).strip("_") or "blank" for value in ordered]
    folded = [part.casefold() for part in parts]
    counts = Counter(folded)
    taken = [part in (OTHER, NULL) or counts[part] > 1 or len(part) > LONGEST_PART for part in folded]
    named = {}
    for value, part, clashes in zip(ordered, parts, taken, strict=True):
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:6]
        named[value] = f"{column}_{part[:LONGEST_PART]}" + (f"_{digest}" if clashes else "")
    return named
