"""Numeric derivations: logarithms, clipping, standardising, and bins with frozen edges.

NaN and infinities are null at the door; null stays null.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from sparkds.errors import ColumnError, DataError
from sparkds.features.generate.derivation import NOTHING, Aggregate, ColumnsDerivation, Derivation, Fits, Fitted, Output, State
from sparkds.features.generate.expressions import WHOLE_BITS, WHOLE_DIGITS, Inputs, double_sql, value_sql
from sparkds.features.states import decimal_type
from sparkds.sql import is_float

ACCURACY: Final = 10_000
"""Of approximate quantiles: their rank is off by at most one in so many rows."""


class NumbersDerivation(ColumnsDerivation):
    """A derivation whose columns are numbers."""

    def check(self, of: Inputs) -> None:
        for column in self.columns:
            of.number(column)


class Log1p(NumbersDerivation):
    """``ln(1 + x)``; below zero null, or ``-ln(1 - x)`` if signed.

    Attributes
    ----------
    signed : bool
        Whether ``sign(x) ln(1 + |x|)`` is made, which is defined everywhere.
    """

    kind: Literal["log1p"] = "log1p"
    suffix: str = Field(default="log1p", min_length=1, description="the column made of x is x_{suffix}")
    signed: bool = Field(default=False, description="sign(x) ln(1 + |x|) instead of null below zero")

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        told = []
        for column in self.columns:
            x = of.double(column)
            sql = f"signum({x}) * log1p(abs({x}))" if self.signed else f"case when {x} >= 0 then log1p({x}) end"
            what = "sign(x) ln(1 + |x|)" if self.signed else "ln(1 + x), null below zero,"
            told.append(Output(self.name_of(column), "double", f"{what} of x = {column} (natural logarithm)", sql))
        return tuple(told)


class Standardise(NumbersDerivation):
    """``(x - mean) / sd`` with mean and standard deviation of the training slice; 0 where the sd is 0.

    Attributes
    ----------
    ddof : {0, 1}
        The sd divides by n - ddof: 0 the population's (as scikit-learn's StandardScaler), 1 the sample's.
    """

    kind: Literal["standardise"] = "standardise"
    suffix: str = Field(default="standardised", min_length=1, description="the column made of x is x_{suffix}")
    ddof: Literal[0, 1] = Field(description="the standard deviation divides by n - ddof")

    def fits(self, of: Inputs) -> Fits:
        values = {}
        for i, column in enumerate(self.columns):
            x = of.double(column)
            values[f"mean_{i}"] = Aggregate("avg({x})", x, "double")
            values[f"sd_{i}"] = Aggregate("stddev_pop({x})" if self.ddof == 0 else "stddev_samp({x})", x, "double")
        return Fits(values)

    def state(self, fitted: Fitted) -> State:
        state = {}
        for i, column in enumerate(self.columns):
            mean, sd = found(self, fitted, column, f"mean_{i}"), fitted.values[f"sd_{i}"]
            state[column] = {"mean": mean, "sd": 0.0 if sd is None else sd}
        return state

    def warnings(self, state: State) -> list[str]:
        return [
            f"'{self.title}': column '{column}' has one value in the training slice, so that its standard deviation is 0; it becomes 0"
            for column in self.columns
            if state[column]["sd"] == 0
        ]

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        told = []
        for column in self.columns:
            x, mean, sd = of.double(column), state[column]["mean"], state[column]["sd"]
            sql = f"({x} - {double_sql(mean)}) / {double_sql(sd)}" if sd > 0 else f"case when {x} is not null then 0D end"
            comment = f"(x - {mean:.6g}) / {sd:.6g} of x = {column} (standard deviations, ddof {self.ddof})"
            told.append(Output(self.name_of(column), "double", comment, sql))
        return tuple(told)


class Clip(NumbersDerivation):
    """A number held between two bounds, declared or fitted as quantiles of the training slice; in its own type.

    Attributes
    ----------
    low, high : float, optional
        Declared bounds.
    low_share, high_share : float, optional
        Shares of the training slice below the fitted bounds (winsorising); instead of `low` and `high`.

    Notes
    -----
    Fitted bounds are values that occur: ``approx_percentile`` with accuracy 10 000, whose rank is off by at most 0.01 % of the rows.
    """

    kind: Literal["clip"] = "clip"
    suffix: str = Field(default="clipped", min_length=1, description="the column made of x is x_{suffix}")
    low: float | None = Field(default=None, description="lower bound")
    high: float | None = Field(default=None, description="upper bound")
    low_share: float | None = Field(default=None, gt=0, lt=1, description="share of the training slice below the lower bound")
    high_share: float | None = Field(default=None, gt=0, lt=1, description="share of the training slice below the upper bound")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name, bound, share in (("low", self.low, self.low_share), ("high", self.high, self.high_share)):
            if bound is not None and share is not None:
                raise ValueError(f"give {name} or {name}_share, not both")
        if all(bound is None for bound in (self.low, self.high, self.low_share, self.high_share)):
            raise ValueError("nothing bounds the columns: give low, high, low_share or high_share")
        for lower, upper in ((self.low, self.high), (self.low_share, self.high_share)):
            if lower is not None and upper is not None and lower > upper:
                raise ValueError(f"the lower bound {lower} is above the upper bound {upper}")
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of the fitted bounds."""
        return tuple(share for share in (self.low_share, self.high_share) if share is not None)

    def check(self, of: Inputs) -> None:
        super().check(of)
        for column in self.columns:
            for bound in (self.low, self.high):
                if bound is not None:
                    _ = declared_sql(bound, column, of)

    def fits(self, of: Inputs) -> Fits:
        if not self.shares:
            return NOTHING
        return Fits({f"bounds_{i}": quantiles_of(of, column, self.shares) for i, column in enumerate(self.columns)})

    def state(self, fitted: Fitted) -> State:
        state = {}
        for i, column in enumerate(self.columns):
            bounds = found(self, fitted, column, f"bounds_{i}")
            told = dict(zip((name for name in ("low", "high") if getattr(self, f"{name}_share") is not None), bounds, strict=True))
            state[column] = told
        return state

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        told = []
        for column in self.columns:
            x, dtype, fitted = of.number(column), of.dtype(column), state.get(column, {})
            low = value_sql(fitted["low"], dtype) if "low" in fitted else None
            high = value_sql(fitted["high"], dtype) if "high" in fitted else None
            low = declared_sql(self.low, column, of) if self.low is not None else low
            high = declared_sql(self.high, column, of) if self.high is not None else high
            cases = [f"when {x} < {low} then {low}"] if low else []
            cases += [f"when {x} > {high} then {high}"] if high else []
            bounds = f"{fitted.get('low', self.low)} … {fitted.get('high', self.high)}".replace("None", "")
            told.append(
                Output(self.name_of(column), dtype, f"{column} held in {bounds} (unit of {column})", f"case {' '.join(cases)} else {x} end")
            )
        return tuple(told)


class QuantileBins(NumbersDerivation):
    """Number of the bin, 0 the lowest, between inner quantile edges of the training slice that are frozen.

    Attributes
    ----------
    n_bins : int
    closed : {"left", "right"}
        Whether a value that equals an edge belongs to the bin above it (left-closed, as scikit-learn's KBinsDiscretizer) or below.
    quantiles : {"approximate", "exact"}
        See Notes.

    Notes
    -----
    Edges stand at the shares 1/n_bins … (n_bins - 1)/n_bins. ``approximate``: ``approx_percentile`` with accuracy 10 000, a value that
    occurs and whose rank is off by at most 0.01 % of the rows. ``exact``: ``percentile``, linear between two ranks (numpy's default);
    its memory grows with the different values. Equal edges become one, and an edge that would leave a bin without a training row goes,
    so that ties give fewer bins, with a warning.
    """

    kind: Literal["quantile_bins"] = "quantile_bins"
    suffix: str = Field(default="bin", min_length=1, description="the column made of x is x_{suffix}")
    n_bins: int = Field(ge=2, le=256, description="number of bins")
    closed: Literal["left", "right"] = Field(description="side on which a bin holds its edge")
    quantiles: Literal["approximate", "exact"] = Field(default="approximate", description="how the edges are found")

    def fits(self, of: Inputs) -> Fits:
        shares = [i / self.n_bins for i in range(self.n_bins + 1)]
        exact = self.quantiles == "exact"
        return Fits({f"edges_{i}": quantiles_of(of, column, shares, exact=exact, double=True) for i, column in enumerate(self.columns)})

    def state(self, fitted: Fitted) -> State:
        state = {}
        for i, column in enumerate(self.columns):
            smallest, *inner, largest = found(self, fitted, column, f"edges_{i}")
            empty = smallest if self.closed == "left" else largest
            state[column] = [edge for edge in sorted(set(inner)) if edge != empty]
        return state

    def warnings(self, state: State) -> list[str]:
        return [
            f"'{self.title}': ties of column '{column}' leave {len(state[column]) + 1} of {self.n_bins} bins"
            for column in self.columns
            if len(state[column]) + 1 < self.n_bins
        ]

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        less = "<" if self.closed == "left" else "<="
        told = []
        for column in self.columns:
            x, edges = of.double(column), state[column]
            cases = " ".join(f"when {x} {less} {double_sql(edge)} then {i}" for i, edge in enumerate(edges))
            shown = ", ".join(f"{edge:.6g}" for edge in edges[:10]) + (" …" if len(edges) > 10 else "")
            comment = f"bin 0 … {len(edges)} of {column}, {self.closed}-closed at {shown} (unit of {column})"
            told.append(Output(self.name_of(column), "int", comment, f"case when {x} is null then null {cases} else {len(edges)} end"))
        return tuple(told)


def quantiles_of(of: Inputs, column: str, shares: Sequence[float], *, exact: bool = False, double: bool = False) -> Aggregate:
    """Quantiles as JSON knows them: doubles of floats and where asked, else texts of the column's own type."""
    told = f"array({', '.join(double_sql(share) for share in shares)})"
    if exact:
        return Aggregate(f"percentile({{x}}, {told})", of.double(column), "double")
    if double or is_float(of.dtype(column)):
        return Aggregate(f"approx_percentile({{x}}, {told}, {ACCURACY})", of.double(column), "double")
    return Aggregate(f"cast(approx_percentile({{x}}, {told}, {ACCURACY}) as array<string>)", of.number(column), of.dtype(column))


def found(derivation: Derivation, fitted: Fitted, column: str, name: str) -> Any:
    """Fitted value of a column.

    Raises
    ------
    DataError
        The column is null in all training rows.
    """
    if fitted.values[name] is None:
        raise DataError(f"'{derivation.title}': column '{column}' is null in all {fitted.n_rows} training rows; leave it out")
    return fitted.values[name]


def declared_sql(value: float | int | str | bool, column: str, of: Inputs) -> str:
    """SQL of a declared value in the type of a column.

    Raises
    ------
    ColumnError
        The type cannot hold it exactly.
    """
    dtype = of.dtype(column)
    digits = (WHOLE_DIGITS[dtype], 0) if dtype in WHOLE_DIGITS else decimal_type(dtype)
    fits, told = True, value
    if dtype == "boolean" or isinstance(value, bool):
        fits = dtype == "boolean" and isinstance(value, bool)
    elif digits is not None or is_float(dtype):
        fits = isinstance(value, int | float)
        if fits and digits is not None:
            exact = Decimal(repr(value))
            fits = exact == round(exact, digits[1]) and abs(exact) < 10 ** (digits[0] - digits[1])
            if fits and dtype in WHOLE_BITS:
                fits = -(2 ** (WHOLE_BITS[dtype] - 1)) <= exact < 2 ** (WHOLE_BITS[dtype] - 1)
            told = f"{exact.quantize(Decimal(1).scaleb(-digits[1])):f}" if fits else ""
    elif dtype == "date":
        try:
            fits = date.fromisoformat(str(value)) is not None
        except ValueError:
            fits = False
    else:
        fits = dtype == "string" and isinstance(value, str)
    if not fits:
        raise ColumnError(
            f"value {value!r} does not fit column '{column}' of type {dtype} in {of.where}; give a value of that type, or cast the column"
        )
    return value_sql(told, dtype)
