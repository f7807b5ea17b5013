"""Numeric derivations: logarithms, clipping, standardising, and bins with frozen edges.

NaN and infinities are null at the door; null stays null.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sparkds.errors import DataError
from sparkds.features.generate.derivation import ColumnsDerivation, Fits, Fitted, Output, State
from sparkds.features.generate.expressions import Inputs, double_sql


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
            values[f"mean_{i}"] = f"avg({x})"
            values[f"sd_{i}"] = f"stddev_pop({x})" if self.ddof == 0 else f"stddev_samp({x})"
        return Fits(values)

    def state(self, fitted: Fitted) -> State:
        state = {}
        for i, column in enumerate(self.columns):
            mean, sd = fitted.values[f"mean_{i}"], fitted.values[f"sd_{i}"]
            if mean is None:
                raise DataError(f"'{self.title}': column '{column}' is null in all {fitted.n_rows} training rows; leave it out")
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
