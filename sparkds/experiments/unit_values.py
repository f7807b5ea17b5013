"""Unit values: the one number of a unit that a metric averages, from the unit's measures.

A kind says which measures it needs and which number follows; metrics are made of one or two of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sparkds.declaration import Declaration
from sparkds.experiments.measures import Aggregate, Measure, Stretch

Array = npt.NDArray[np.float64]
Measured = Mapping[Measure, Array]
"""Measure to its value of every unit: (n_units,)."""


class Value(Declaration):
    """Value of a unit: what the kinds share that give one number per unit.

    Attributes
    ----------
    fact : str
        Declared fact table.
    where : str, optional
        SQL predicate over its columns.
    """

    kind: str
    fact: str = Field(description="fact table")
    where: str | None = Field(default=None, min_length=1, description="SQL predicate over fact columns")

    binary: ClassVar[bool] = False
    """Whether the value is 0 or 1."""

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Measures that the value is made of, the one that counts its rows or values first."""
        raise TypeError(f"{type(self).__name__} has no measures")

    def value_measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Measures that `value` reads; without the one that tells a unit without rows from one whose value is 0, if it can."""
        return self.measures(stretch)

    def value(self, of: Measured, stretch: Stretch) -> Array:
        """Value of every unit: (n_units,)."""
        return of[self.measures(stretch)[-1]]

    def observed(self, of: Measured, stretch: Stretch) -> npt.NDArray[np.bool_]:
        """Units with at least one row that makes the value: (n_units,)."""
        seen: npt.NDArray[np.bool_] = of[self.measures(stretch)[0]] > 0
        return seen

    def _measure(self, aggregate: Aggregate, stretch: Stretch, column: str = "") -> Measure:
        return Measure(self.fact, aggregate, column, () if self.where is None else (self.where,), stretch)


class OfCount(Value):
    """Number of a unit's rows."""

    kind: Literal["count"] = "count"

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Rows."""
        return (self._measure("rows", stretch),)


class OfSum(Value):
    """Sum of a column over a unit's rows; null and NaN are skipped."""

    kind: Literal["sum"] = "sum"
    column: str = Field(description="numeric column")

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Number of values, and their sum."""
        return self._measure("values", stretch, self.column), self._measure("sum", stretch, self.column)

    def value_measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """The sum."""
        return self.measures(stretch)[1:]


class OfMean(Value):
    """Mean of a column over a unit's rows with a value; 0 without any."""

    kind: Literal["mean"] = "mean"
    column: str = Field(description="numeric column")

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Number of values, and their sum."""
        return self._measure("values", stretch, self.column), self._measure("sum", stretch, self.column)

    def value(self, of: Measured, stretch: Stretch) -> Array:
        """Sum by number of values."""
        n, total = (of[m] for m in self.measures(stretch))
        return np.divide(total, n, out=np.zeros_like(total), where=n > 0)


class OfDistinct(Value):
    """Number of different values of a column."""

    kind: Literal["distinct"] = "distinct"
    column: str = Field(description="column of any type")

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Different values."""
        return (self._measure("distinct", stretch, self.column),)


class OfAny(Value):
    """1 for a unit with a row, else 0."""

    kind: Literal["any"] = "any"
    binary: ClassVar[bool] = True

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Rows."""
        return (self._measure("rows", stretch),)

    def value(self, of: Measured, stretch: Stretch) -> Array:
        """Whether there is a row."""
        return (of[self.measures(stretch)[0]] > 0).astype(np.float64)


class OfSteps(Value):
    """1 for a unit that did all steps in order, else 0; a step counts at or after the instant of the one before."""

    kind: Literal["steps"] = "steps"
    steps: tuple[str, ...] = Field(min_length=1, description="SQL predicate of each step")
    binary: ClassVar[bool] = True

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Steps done."""
        return (Measure(self.fact, "steps", "", self.steps, stretch),)

    def value(self, of: Measured, stretch: Stretch) -> Array:
        """Whether all steps were done."""
        return (of[self.measures(stretch)[0]] >= len(self.steps)).astype(np.float64)


class OfEvents(Value):
    """Values of all of a unit's rows, kept as a log histogram; as a number, how many there are."""

    kind: Literal["events"] = "events"
    column: str = Field(description="numeric column")

    def measures(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Number of values, and their histogram."""
        return self._measure("values", stretch, self.column), self._measure("histogram", stretch, self.column)

    def value(self, of: Measured, stretch: Stretch) -> Array:
        """Number of values."""
        return of[self.measures(stretch)[0]]


UnitValue = Annotated[OfCount | OfSum | OfMean | OfDistinct | OfAny, Field(discriminator="kind")]
"""Every kind of value of a unit; the registry."""
