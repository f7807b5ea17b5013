"""Aggregations: what can be asked of an entity's events in a trailing window, as declarations.

Each kind says which states it needs and which value follows from their windowed merge. To add a kind, write one class
here (or in a module of its field, as `rhythm`) and name it in the union at the foot of the file; no other file changes
unless it needs a new state.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sparkds.features import states
from sparkds.features.aggregation import Aggregation as Aggregation
from sparkds.features.aggregation import ColumnAggregation as ColumnAggregation
from sparkds.features.aggregation import check_windows as check_windows
from sparkds.features.reduced import Merged, Reduced, TileTypes
from sparkds.features.rhythm import InterEventMean, InterEventSd, SeasonalityRatio, Share, Trend
from sparkds.features.states import State
from sparkds.features.windows import Array


def _always(values: Array) -> Reduced:
    return Reduced(values, np.ones(len(values), dtype=bool))


class Count(Aggregation):
    """Number of events; with `column`, number of its values that are not null or NaN. 0 without any."""

    kind: Literal["count"] = "count"
    shows_state: ClassVar[bool] = True
    column: str | None = Field(default=None, description="count its values; the events if absent")
    unit: ClassVar[str] = "events"

    @property
    def default_name(self) -> str:
        """``event_count``, or ``{column}_count``."""
        return f"{self.column}_count" if self.column else "event_count"

    @property
    def needs(self) -> tuple[State, ...]:
        if self.column:
            return (states.Values(self.column, self.where),)
        return (states.Rows(where=self.where),)

    def output_type(self, of: TileTypes) -> str:
        return "bigint"

    def value(self, of: Merged) -> Reduced:
        return _always(of(self.needs[0]).values)


class Sum(ColumnAggregation):
    """Sum; 0 without values. Exact for whole numbers and decimals, which raise when they do not fit."""

    kind: Literal["sum"] = "sum"
    shows_state: ClassVar[bool] = True
    refunds_count: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Total(self.column, self.where),)

    def output_type(self, of: TileTypes) -> str:
        return of(self.needs[0])

    def value(self, of: Merged) -> Reduced:
        return _always(of(self.needs[0]).values)


class SumOfSquares(ColumnAggregation):
    """Sum of squared values; 0 without values."""

    kind: Literal["sum_of_squares"] = "sum_of_squares"
    shows_state: ClassVar[bool] = True

    unit: ClassVar[str] = "squared unit of the column"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Squares(self.column, self.where),)

    def output_type(self, of: TileTypes) -> str:
        return of(self.needs[0])

    def value(self, of: Merged) -> Reduced:
        return _always(of(self.needs[0]).values)


class Mean(ColumnAggregation):
    """Arithmetic mean of the values; null without values. Of a decimal: four more digits after the point, half up."""

    kind: Literal["mean"] = "mean"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Values(self.column, self.where), states.Total(self.column, self.where))

    def output_type(self, of: TileTypes) -> str:
        digits = states.decimal_type(of(self.needs[1]))
        return f"decimal({digits[0]},{_mean_scale(digits[1])})" if digits else "double"

    def value(self, of: Merged) -> Reduced:
        n, total = (of(state).values for state in self.needs)
        some = n > 0
        divisor = np.where(some, n, 1)
        scale = of.scale(self.needs[1])
        if scale is None:
            return Reduced(total.astype(np.float64) / divisor, some)
        return Reduced(_divide_half_up(total, divisor, 10 ** (_mean_scale(scale) - scale)), some)


class Min(ColumnAggregation):
    """Smallest value; null without values."""

    kind: Literal["min"] = "min"
    shows_state: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Smallest(self.column, self.where),)

    def output_type(self, of: TileTypes) -> str:
        return of(self.needs[0])

    def value(self, of: Merged) -> Reduced:
        return of(self.needs[0])


class Max(ColumnAggregation):
    """Largest value; null without values."""

    kind: Literal["max"] = "max"
    shows_state: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Largest(self.column, self.where),)

    def output_type(self, of: TileTypes) -> str:
        return of(self.needs[0])

    def value(self, of: Merged) -> Reduced:
        return of(self.needs[0])


class Std(ColumnAggregation):
    """Sample standard deviation (ddof 1); null below two values."""

    kind: Literal["std"] = "std"

    @property
    def needs(self) -> tuple[State, ...]:
        return (
            states.Values(self.column, self.where),
            states.Total(self.column, self.where),
            states.SquaredDeviation(self.column, self.where),
        )

    def output_type(self, of: TileTypes) -> str:
        return "double"

    def value(self, of: Merged) -> Reduced:
        n, m2 = of(self.needs[0]).values, of(self.needs[2]).values
        return Reduced(np.sqrt(m2 / np.maximum(n - 1, 1)), n > 1)


class Distinct(ColumnAggregation):
    """Exact number of different values; 0 without values. Keeps each day's set of values in the tile."""

    kind: Literal["distinct"] = "distinct"
    unit: ClassVar[str] = "different values"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Items(self.column, self.where),)

    def output_type(self, of: TileTypes) -> str:
        return "bigint"

    def value(self, of: Merged) -> Reduced:
        return _always(of.distinct(self.needs[0]))


class ApproxDistinct(ColumnAggregation):
    """Approximate number of different values by HyperLogLog; 0 without values.

    Standard error ``1.04 / sqrt(2^precision)``: 1.6 % at precision 12. Small counts go by linear counting
    (Flajolet et al. 2007, figure 3) and are nearly exact.
    """

    kind: Literal["approx_distinct"] = "approx_distinct"
    precision: int = Field(default=12, ge=7, le=12, description="registers = 2^precision")
    unit: ClassVar[str] = "different values"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Registers(self.column, self.where, precision=self.precision),)

    def output_type(self, of: TileTypes) -> str:
        return "bigint"

    def value(self, of: Merged) -> Reduced:
        m = 1 << self.precision
        filled, lost = of.registers(self.needs[0])
        empty = m - filled
        raw = (0.7213 / (1 + 1.079 / m)) * m * m / (m - lost)
        linear = m * np.log(m / np.maximum(empty, 1))
        return _always(np.rint(np.where((raw <= 2.5 * m) & (empty > 0), linear, raw)).astype(np.int64))


class First(ColumnAggregation):
    """Value of the first event that has one; null without values."""

    kind: Literal["first"] = "first"
    tie: str | None = Field(default=None, description="event column that orders events of one instant")

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Earliest(self.column, self.where, self.tie),)

    def output_type(self, of: TileTypes) -> str:
        return of(self.needs[0])

    def value(self, of: Merged) -> Reduced:
        return of(self.needs[0])


class Last(ColumnAggregation):
    """Value of the last event that has one; null without values."""

    kind: Literal["last"] = "last"
    tie: str | None = Field(default=None, description="event column that orders events of one instant")

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Latest(self.column, self.where, self.tie),)

    def output_type(self, of: TileTypes) -> str:
        return of(self.needs[0])

    def value(self, of: Merged) -> Reduced:
        return of(self.needs[0])


class ActiveDays(Aggregation):
    """Number of local days with an event; 0 without any."""

    kind: Literal["active_days"] = "active_days"
    shows_state: ClassVar[bool] = True
    unit: ClassVar[str] = "days"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.ActiveDay(where=self.where),)

    def output_type(self, of: TileTypes) -> str:
        return "bigint"

    def value(self, of: Merged) -> Reduced:
        return _always(of(self.needs[0]).values)


class DaysSinceLast(Aggregation):
    """Days from the last active day in the window to `as_of`, 0 on the day itself; null without any."""

    kind: Literal["days_since_last"] = "days_since_last"
    unit: ClassVar[str] = "days"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.LastDay(where=self.where),)

    @property
    def counts_from(self) -> State:
        return self.needs[0]

    def output_type(self, of: TileTypes) -> str:
        return "int"

    def value(self, of: Merged) -> Reduced:
        day, valid, _ = of(self.needs[0])
        return Reduced(of.as_of - day, valid)


class DaysSinceFirst(Aggregation):
    """Days from the first active day in the window to `as_of`, 0 on the day itself; null without any."""

    kind: Literal["days_since_first"] = "days_since_first"
    unit: ClassVar[str] = "days"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.FirstDay(where=self.where),)

    @property
    def counts_from(self) -> State:
        return self.needs[0]

    def output_type(self, of: TileTypes) -> str:
        return "int"

    def value(self, of: Merged) -> Reduced:
        day, valid, _ = of(self.needs[0])
        return Reduced(of.as_of - day, valid)


class TopCategory(ColumnAggregation):
    """Most frequent value of a text column, the first in code-point order among equals; null without values."""

    kind: Literal["top_category"] = "top_category"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Categories(self.column, self.where),)

    def output_type(self, of: TileTypes) -> str:
        return "string"

    def value(self, of: Merged) -> Reduced:
        return of.most_common(self.needs[0])


class Quantile(ColumnAggregation):
    """Approximate quantile of the values (DDSketch); null without values.

    The value returned is within `relative_accuracy` of the value at 0-based rank ``floor(q (n - 1))`` of the sorted
    values (numpy's ``method="lower"``).
    """

    kind: Literal["quantile"] = "quantile"
    q: float = Field(ge=0, le=1, description="share in [0, 1]; 0.5 is the median")
    relative_accuracy: float = Field(default=0.01, ge=0.001, le=0.2, description="bound of |estimate / value - 1|")

    @property
    def default_name(self) -> str:
        """``{column}_p50`` for ``q=0.5``; ``{column}_p99_9`` for ``q=0.999``."""
        return f"{self.column}_p" + f"{round(self.q * 100, 6):g}".replace(".", "_")

    @property
    def sketch(self) -> states.Buckets:
        """State of the column's values."""
        return states.Buckets(self.column, self.where, relative_accuracy=self.relative_accuracy)

    @property
    def needs(self) -> tuple[State, ...]:
        return (self.sketch,)

    def output_type(self, of: TileTypes) -> str:
        return "double"

    def value(self, of: Merged) -> Reduced:
        state = self.sketch
        key, valid, _ = of.ranked(state, self.q)
        power = state.gamma ** (np.abs(key) - states.BUCKET_ZERO).astype(np.float64)
        size = np.where(key == 0, 0.0, 2.0 * power / (state.gamma + 1.0))
        return Reduced(np.sign(key) * size, valid)


def _mean_scale(scale: int) -> int:
    return min(scale + 4, states.DECIMAL_DIGITS)


def _divide_half_up(total: Array, divisor: Array, factor: int) -> Array:
    """``total * factor / divisor`` rounded to the nearest whole number, halves away from zero, exactly."""
    limit = (2**62) // factor
    exact = total if total.dtype == object or bool(np.all(np.abs(total) < limit)) else total.astype(object)
    size = np.abs(exact) * factor
    quotient = (2 * size + divisor) // (2 * divisor) if exact.dtype == object else size // divisor
    if exact.dtype != object:
        quotient = quotient + (2 * (size - quotient * divisor) >= divisor)
    return np.where(exact < 0, -quotient, quotient)


AnyAggregation = Annotated[
    Count
    | Sum
    | SumOfSquares
    | Mean
    | Min
    | Max
    | Std
    | Distinct
    | ApproxDistinct
    | First
    | Last
    | ActiveDays
    | DaysSinceLast
    | DaysSinceFirst
    | TopCategory
    | Quantile
    | InterEventMean
    | InterEventSd
    | Share
    | SeasonalityRatio
    | Trend,
    Field(discriminator="kind"),
]
