"""Rhythm: how regularly, when in the week, and with which tendency an entity is active inside a window, as declarations.

Kinds of aggregations like those of `sparkds.features.aggregations`, whose union names them: times between events, share of
the activity in a part of the week, seasonality, trend. All are ratios or times as double, and null where they mean nothing.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from sparkds.features import states
from sparkds.features.aggregation import Aggregation
from sparkds.features.reduced import Merged, Reduced, TileTypes
from sparkds.features.rhythm_kernel import periodic_lags
from sparkds.features.states import PartOfWeek, State
from sparkds.features.windows import Array, Window

MICROSECONDS_A_DAY = 86_400_000_000
WEEKEND = (6, 7)
WORKDAYS = (1, 2, 3, 4, 5)


class InterEventMean(Aggregation):
    """Mean time between consecutive events, in days of 24 hours; null below two events.

    Instants count to the microsecond, those of one instant are 0 apart; of a date column, whole days.
    """

    kind: Literal["inter_event_mean"] = "inter_event_mean"
    unit: ClassVar[str] = "days of 24 hours"

    @property
    def needs(self) -> tuple[State, ...]:
        return (states.Rows(where=self.where), states.FirstInstant(where=self.where), states.LastInstant(where=self.where))

    def output_type(self, of: TileTypes) -> str:
        return "double"

    def value(self, of: Merged) -> Reduced:
        n, first, last = (of(state).values for state in self.needs)
        gaps = np.maximum(n - 1, 1)
        return Reduced((last - first) / gaps / MICROSECONDS_A_DAY, n > 1)


class InterEventSd(Aggregation):
    """Sample standard deviation (ddof 1) of the times between consecutive events, in days of 24 hours; null below three events.

    From whole numbers: with g gaps of sum S and sum of squares Q, the variance is ``(g Q - S^2) / (g (g - 1))`` without
    rounding, which is no textbook cancellation because nothing has been rounded before the difference.
    """

    kind: Literal["inter_event_sd"] = "inter_event_sd"
    unit: ClassVar[str] = "days of 24 hours"

    @property
    def needs(self) -> tuple[State, ...]:
        return (
            states.Rows(where=self.where),
            states.FirstInstant(where=self.where),
            states.LastInstant(where=self.where),
            states.SquaredGaps(where=self.where),
        )

    def output_type(self, of: TileTypes) -> str:
        return "double"

    def value(self, of: Merged) -> Reduced:
        n, first, last, squares = (of(state).values for state in self.needs)
        enough = n > 2
        gaps = np.where(enough, n - 1, 2).astype(object)
        span = (last - first).astype(object)
        spread = np.maximum(gaps * squares - span * span, 0)
        return Reduced(np.sqrt((spread / (gaps * (gaps - 1))).astype(np.float64)) / MICROSECONDS_A_DAY, enough)


class Activity(Aggregation):
    """A ratio of activity: of the number of events, or of the sum of `column`."""

    column: str | None = Field(default=None, min_length=1, description="sum of this event column; number of events if absent")
    unit: ClassVar[str] = "ratio"
    over_lifetime: ClassVar[bool] = False

    @property
    def default_name(self) -> str:
        """``{column}_{kind}``, or ``event_{kind}``."""
        return f"{self.column or 'event'}_{self.kind}"

    def activity(self, during: PartOfWeek | None = None, only: str | None = None) -> State:
        """State of the activity, of some local times and events alone if asked."""
        where = " and ".join(f"({told})" for told in (self.where, only) if told) if only else self.where
        if self.column is None:
            return states.Rows(where=where, during=during)
        return states.Total(self.column, where, during=during)

    @property
    def needs(self) -> tuple[State, ...]:
        return (self.activity(),)

    def output_type(self, of: TileTypes) -> str:
        return "double"


class Share(Activity):
    """Share of the activity that falls into some weekdays, hours, or events; null when there is no activity.

    A share of a column's sum is null when the sum is 0, and lies outside [0, 1] when values of both signs meet.

    Attributes
    ----------
    weekdays : tuple of int, "weekend" or "workdays", optional
        ISO weekdays (1 is Monday) of the event's local day.
    hours : (int, int), optional
        Hours of the local clock in the declared time zone, the second not included; ``(22, 6)`` is over midnight.
    only : str, optional
        SQL predicate over event columns. What is given holds together.

    Examples
    --------
    >>> Share(weekdays="weekend").stem, Share(hours=(22, 6), column="amount").stem
    ('event_share_weekend', 'amount_share_22h_6h')
    """

    kind: Literal["share"] = "share"
    weekdays: tuple[int, ...] | Literal["weekend", "workdays"] | None = Field(
        default=None, description="ISO weekdays 1 (Monday) … 7, weekend or workdays"
    )
    hours: tuple[int, int] | None = Field(default=None, description="local hours, the second not included; 22, 6 is over midnight")
    only: str | None = Field(default=None, min_length=1, description="SQL predicate over event columns")
    unit: ClassVar[str] = "share in [0, 1]"
    over_lifetime: ClassVar[bool] = True

    @field_validator("weekdays")
    @classmethod
    def _weekdays(cls, weekdays: tuple[int, ...] | str | None) -> tuple[int, ...] | str | None:
        if isinstance(weekdays, tuple):
            if not weekdays or len(set(weekdays)) < len(weekdays) or not set(weekdays) <= set(WORKDAYS + WEEKEND):
                raise ValueError(f"weekdays {list(weekdays)} are not different numbers from 1 (Monday) to 7 (Sunday)")
            return tuple(sorted(weekdays))
        return weekdays

    @field_validator("hours")
    @classmethod
    def _hours(cls, hours: tuple[int, int] | None) -> tuple[int, int] | None:
        if hours is not None and not (0 <= hours[0] <= 23 and 0 <= hours[1] <= 24 and hours[0] != hours[1]):
            raise ValueError(f"hours {list(hours)} are not a range: give the first hour 0 … 23 and the end 0 … 24, not the same")
        return hours

    @model_validator(mode="after")
    def _some_part(self) -> Share:
        if self.weekdays is None and self.hours is None and self.only is None:
            raise ValueError("share of what? give weekdays, hours or only")
        if self.only is not None and self.name is None:
            raise ValueError("a share with `only` needs a name")
        return self

    @property
    def default_name(self) -> str:
        """``{column or event}_share`` with its weekdays and hours."""
        days = self.weekdays if isinstance(self.weekdays, str | None) else "days_" + "".join(str(day) for day in self.weekdays)
        hours = f"{self.hours[0]}h_{self.hours[1]}h" if self.hours else None
        return "_".join((super().default_name, *(part for part in (days, hours) if part)))

    @property
    def part(self) -> PartOfWeek | None:
        """Local times of the share."""
        if self.weekdays is None and self.hours is None:
            return None
        named = {"weekend": WEEKEND, "workdays": WORKDAYS}
        return PartOfWeek(named[self.weekdays] if isinstance(self.weekdays, str) else self.weekdays, self.hours)

    @property
    def needs(self) -> tuple[State, ...]:
        return (self.activity(self.part, self.only), self.activity())

    def value(self, of: Merged) -> Reduced:
        inside, whole = (of(state).values for state in self.needs)
        return ratio(inside, whole)

    def comment(self, window: Window) -> str:
        days = f" weekdays {self.weekdays}" if self.weekdays else ""
        hours = f" hours {self.hours[0]} to {self.hours[1]} (local)" if self.hours else ""
        only = f" events where {self.only}" if self.only else ""
        return super().comment(window) + f"; falls into{days}{hours}{only}"


class SeasonalityRatio(Activity):
    """Activity per day on the days of `as_of`'s season inside the window, over the activity per day of the window.

    The ratio-to-average seasonal index (Makridakis, Wheelwright and Hyndman 1998, Forecasting, section 3/4; without
    removal of a trend), for the season that `as_of` is in: with ``period_days: 7`` the days of its weekday, with
    ``period_days: 365`` and ``half_width: 15`` the days within 15 of its day of year. A day without events counts with 0. 1
    without seasonality; null when the window has no activity.

    Attributes
    ----------
    period_days : int
        Length of a season in days; the window must reach a whole period back.
    half_width : int
        Days on either side that still count to the season.
    """

    kind: Literal["seasonality_ratio"] = "seasonality_ratio"
    period_days: int = Field(ge=2, description="length of a period in days: 7, 365")
    half_width: int = Field(default=0, ge=0, description="days on either side that count to the season")
    changes_daily: ClassVar[bool] = True

    @model_validator(mode="after")
    def _inside_period(self) -> SeasonalityRatio:
        if 2 * self.half_width + 1 >= self.period_days:
            raise ValueError(f"half_width {self.half_width} takes in every day of a period of {self.period_days}; give less")
        return self

    def check_window(self, window: int) -> None:
        if window <= self.period_days:
            raise ValueError(
                f"window {window} does not reach back to the day {self.period_days} days before as_of; "
                f"give '{self.stem}' windows above {self.period_days}"
            )

    @property
    def default_name(self) -> str:
        """``{column or event}_seasonality_{period_days}``."""
        return f"{self.column or 'event'}_seasonality_{self.period_days}"

    def value(self, of: Merged) -> Reduced:
        (state,) = self.needs
        assert of.window is not None
        days = sum(far - near + 1 for near, far in periodic_lags(of.window, self.period_days, self.half_width))
        return ratio(of.periodic(state, self.period_days, self.half_width), of(state).values, of.window / days)


class Trend(Activity):
    """Activity per day of the last `short` days, over the activity per day of the window; null when the window has none.

    1 without a trend, ``window / short`` when all activity is in the last `short` days, 0 when none is.
    """

    kind: Literal["trend"] = "trend"
    short: int = Field(gt=0, description="days of the short window")

    def check_window(self, window: int) -> None:
        if window <= self.short:
            raise ValueError(f"window {window} is not longer than the short window of {self.short} days; give '{self.stem}' longer windows")

    @property
    def default_name(self) -> str:
        """``{column or event}_trend_{short}``."""
        return f"{self.column or 'event'}_trend_{self.short}"

    def asked(self, window: Window) -> tuple[tuple[State, Window], ...]:
        (state,) = self.needs
        return ((state, window), (state, self.short))

    def value(self, of: Merged) -> Reduced:
        (state,) = self.needs
        assert of.window is not None
        return ratio(of.within(self.short)(state).values, of(state).values, of.window / self.short)

    def comment(self, window: Window) -> str:
        return super().comment(window) + f"; last {self.short} days per day, over the window per day"


def ratio(part: Array, whole: Array, factor: float = 1.0) -> Reduced:
    """``factor * part / whole``; not valid where `whole` is 0."""
    some = whole != 0
    return Reduced(part.astype(np.float64) / np.where(some, whole, 1).astype(np.float64) * factor, some)
