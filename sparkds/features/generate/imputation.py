"""Imputation: what stands in for a null - a constant, or mean, median or mode of the training slice, overall or by group.

NaN and infinities count as null. A group that the training slice does not have, or has only nulls of, takes the value of all rows.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sparkds.errors import ColumnError, DataError
from sparkds.features.generate.derivation import NOTHING, Aggregate, ColumnsDerivation, Fits, Fitted, Grouped, Output, State
from sparkds.features.generate.expressions import CATEGORY_TYPES, Inputs, lookup_sql, value_sql
from sparkds.features.generate.numeric import ACCURACY, declared_sql
from sparkds.features.states import decimal_type, is_number
from sparkds.sql import is_float


class Impute(ColumnsDerivation):
    """Column without nulls.

    Attributes
    ----------
    strategy : {"constant", "mean", "median", "mode"}
    value : number, str or bool, optional
        Of the constant; in the type of the columns.
    by : tuple of str
        Columns whose values together name a group; null is a value of its own.
    most_groups : int
        More groups in the training slice are refused.
    quantiles : {"approximate", "exact"}
        How the median is found, see Notes.
    indicator : bool
        Whether ``{column}_was_null`` (1 or 0) is made too.

    Notes
    -----
    Types: constant and mode keep the column's type. The mean is a double, of a float a float, of a decimal rounded half up to its scale.
    The ``approximate`` median is a value that occurs, in the column's type, its rank off by at most 0.01 % of the rows
    (``approx_percentile``, of two middle values the lower); the ``exact`` one lies between the two middle values and is typed like the
    mean. Of several modes the smallest is taken, texts in the order of their UTF-8 bytes.
    """

    kind: Literal["impute"] = "impute"
    suffix: str = Field(default="imputed", min_length=1, description="the column made of x is x_{suffix}")
    strategy: Literal["constant", "mean", "median", "mode"] = Field(description="constant, mean, median or mode")
    value: bool | int | float | str | None = Field(default=None, description="the constant")
    by: tuple[str, ...] = Field(default=(), description="columns that name a group")
    most_groups: int = Field(default=1_000, ge=1, le=10_000, description="more groups are refused")
    quantiles: Literal["approximate", "exact"] = Field(default="approximate", description="how the median is found")
    indicator: bool = Field(default=False, description="also {column}_was_null")

    @model_validator(mode="after")
    def _told(self) -> Self:
        if (self.strategy == "constant") != (self.value is not None):
            raise ValueError(f"strategy {self.strategy}: value is for strategy constant, and needed there")
        if self.strategy == "constant" and self.by:
            raise ValueError("a constant is the same in every group; leave out by")
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.columns, *self.by)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in self._names_of(column))

    def _names_of(self, column: str) -> tuple[str, ...]:
        return (self.name_of(column), *([f"{column}_was_null"] if self.indicator else []))

    def check(self, of: Inputs) -> None:
        for column in self.columns:
            if self.strategy == "constant":
                assert self.value is not None
                _ = declared_sql(self.value, column, of)
            elif self.strategy != "mode":
                _ = of.number(column)
            elif not is_number(dtype := of.dtype(column)) and dtype not in CATEGORY_TYPES:
                raise ColumnError(f"column '{column}' in {of.where} has type {dtype}, of which there is no mode; give a number or text")
        if self.by:
            _ = of.categories(self.by)

    def _type(self, of: Inputs, column: str) -> str:
        """Type of what is made of a column."""
        dtype = of.dtype(column)
        inexact = self.strategy == "mean" or (self.strategy == "median" and self.quantiles == "exact")
        return "double" if inexact and not is_float(dtype) and decimal_type(dtype) is None else dtype

    def _fit(self, of: Inputs, column: str) -> Aggregate:
        """What stands in, as JSON knows it."""
        x, dtype = of.value(column), of.dtype(column)
        if self.strategy == "mean":
            return Aggregate("avg({x})", f"cast({x} as double)", "double") if is_float(dtype) else Aggregate("avg({x})", x, dtype)
        if self.strategy == "mode":
            return Aggregate("mode({x}, true)", x, dtype)
        if self.quantiles == "exact":
            return Aggregate("percentile({x}, 0.5D)", of.double(column), "double")
        return Aggregate(f"approx_percentile({{x}}, 0.5D, {ACCURACY})", x, dtype)

    def fits(self, of: Inputs) -> Fits:
        if self.strategy == "constant":
            return NOTHING
        values = {f"value_{i}": self._fit(of, column) for i, column in enumerate(self.columns)}
        if not self.by:
            return Fits(values)
        by_group = {name: aggregate.sql for name, aggregate in values.items()}
        groups = Grouped(
            f"array({of.categories(self.by)})", by_group, self.most_groups, f"'{self.title}': the group {' and '.join(self.by)}"
        )
        return Fits(values, {"groups": groups})

    def state(self, fitted: Fitted) -> State:
        state: dict[str, Any] = {}
        for i, column in enumerate(self.columns):
            value = fitted.values[f"value_{i}"]
            if value is None:
                raise DataError(
                    f"'{self.title}': column '{column}' is null in all {fitted.n_rows} training rows, so that nothing can stand in; "
                    "leave it out, or give strategy constant"
                )
            rows = fitted.groups.get("groups", ())
            groups = [[row["key"], plain(row[f"value_{i}"])] for row in rows if row[f"value_{i}"] is not None]
            state[column] = {"value": plain(value), **({"groups": groups} if self.by else {})}
        return state

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        told = []
        for column in self.columns:
            x, dtype = of.value(column), self._type(of, column)
            if self.strategy == "constant":
                assert self.value is not None
                stand_ins, what = [declared_sql(self.value, column, of)], f"{self.value}"
            else:
                stand_ins, what = (
                    [in_type(state[column]["value"], dtype)],
                    f"{self.strategy} {state[column]['value']} of the training rows",
                )
            if self.by:
                entries = {null_safe(key): in_type(value, dtype) for key, value in state[column]["groups"]}
                stand_ins.insert(0, lookup_sql(null_safe_sql(of.categories(self.by)), entries, dtype))
                what = f"{self.strategy} by {' and '.join(self.by)}, overall {state[column]['value']}, of the training slice"
            value = f"coalesce(cast({x} as {dtype}), {', '.join(stand_ins)})"
            told.append(Output(self.name_of(column), dtype, f"{column}, null replaced by {what} (unit of {column})", value))
            if self.indicator:
                told.append(Output(f"{column}_was_null", "int", f"1 where {column} was null, else 0", f"cast({x} is null as int)"))
        return tuple(told)


def plain(value: Any) -> float | int | str | bool:
    """Fitted value as JSON knows it: decimals and days as their text."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def in_type(value: float | int | str | bool, dtype: str) -> str:
    """SQL of a fitted value; a decimal is rounded half up to the scale of its type."""
    digits = decimal_type(dtype)
    if digits is None:
        return value_sql(value, dtype)
    return f"cast(round(cast({value_sql(str(value), 'string')} as decimal(38,{min(18, digits[1] + 6)})), {digits[1]}) as {dtype})"


def null_safe(key: str | None) -> str:
    """Text of a group in a look-up: null and every text told apart."""
    return "0" if key is None else f"1{key}"


def null_safe_sql(key: str) -> str:
    """SQL of `null_safe`."""
    return f"case when {key} is null then '0' else concat('1', {key}) end"
