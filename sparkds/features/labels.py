"""Labels and cut-offs: on which days a training set looks back, and what is told of the days after them.

Statements and rules over dates; which rows follow from them is in `label_columns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sparkds.days import ONE_DAY, checked_zone, days_between, month_ends
from sparkds.declaration import Declaration
from sparkds.errors import ColumnError, WindowError
from sparkds.features.point_in_time import check_key, check_time


class Label(Declaration):
    """What every label has: events of the entity on the `horizon_days` local days that begin at t or after it.

    A t at the midnight after a day s looks at the days s + 1 … s + horizon; a t inside a day leaves the rest of that day out.

    Attributes
    ----------
    horizon_days : int
        Days that the label looks at.
    name : str
        Column of the label.
    table : str, optional
        Table of events; the job's source if absent.
    keys : tuple of str, optional
        Spine columns that name the entity of an event; all keys of the spine if absent.
    table_keys : mapping of str to str
        Spine key to its name in the events, where they differ.
    event_time : str, optional
        Timestamp or date column of the events; the job's if absent.
    event_time_zone : str, optional
        IANA zone in which a timestamp without zone is read; the spine's if absent.
    where : str, optional
        SQL predicate of the events that count.
    """

    horizon_days: int = Field(ge=1, description="days that the label looks at, from the day after the cut-off on")
    name: str = Field(min_length=1, description="column of the label")
    table: str | None = Field(default=None, description="table of events; the job's source if absent")
    keys: tuple[str, ...] | None = Field(default=None, min_length=1, description="spine columns that name an event's entity")
    table_keys: Mapping[str, str] = Field(default={}, description="spine key: its name in the events, where they differ")
    event_time: str | None = Field(default=None, description="time of the events; the job's if absent")
    event_time_zone: str | None = Field(default=None, description="IANA zone of timestamps without zone")
    where: str | None = Field(default=None, description="SQL predicate of the events that count")

    @field_validator("event_time_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        return checked_zone(zone)

    @property
    def value(self) -> str | None:
        """Column that is added up."""
        return None


class EventWithin(Label):
    """Whether there is an event (boolean).

    Examples
    --------
    >>> EventWithin(horizon_days=90, name="buys_in_90_days").kind
    'event_within'
    """

    kind: Literal["event_within"] = "event_within"


class EventCount(Label):
    """Number of events (bigint), 0 if there is none."""

    kind: Literal["event_count"] = "event_count"


class EventSum(Label):
    """Sum of a number over the events, 0 if there is none; decimals stay decimal, NaN and infinities do not count.

    Attributes
    ----------
    column : str
        Number that is added up.
    """

    kind: Literal["event_sum"] = "event_sum"
    column: str = Field(description="number that is added up")

    @property
    def value(self) -> str | None:
        """Column that is added up."""
        return self.column


AnyLabel = Annotated[EventWithin | EventCount | EventSum, Field(discriminator="kind")]


class Cutoffs(Declaration):
    """Days after which a training set looks back: every entity seen up to such a day has a row, at the midnight after it.

    Attributes
    ----------
    days : tuple of date
        Cut-off days, each with its own rows.
    every : {"day", "week", "month", "latest"}, optional
        Instead of `days`: each day; each Sunday; each last day of a month; only the newest day with events, for a spine of tomorrow.
    first, last : date, optional
        Bounds of `every`, both included; the first and the newest day with events if absent.

    Examples
    --------
    >>> Cutoffs(every="month").between(date(2026, 1, 10), date(2026, 3, 5))
    [datetime.date(2026, 1, 31), datetime.date(2026, 2, 28)]
    """

    days: tuple[date, ...] = Field(default=(), description="cut-off days")
    every: Literal["day", "week", "month", "latest"] | None = Field(default=None, description="day, week (Sundays), month or latest")
    first: date | None = Field(default=None, description="no cut-off of `every` before this day")
    last: date | None = Field(default=None, description="no cut-off of `every` after this day")

    @model_validator(mode="after")
    def _one_of_both(self) -> Cutoffs:
        if bool(self.days) == (self.every is not None):
            raise ValueError("give the cut-offs by days, or by every (day, week, month, latest): one of both")
        if self.days and (self.first or self.last):
            raise ValueError("first and last bound `every`; leave them out where days are given")
        return self

    def between(self, first: date, last: date) -> list[date]:
        """Cut-off days of `every` in ``first … last``, ascending; `days` as they are."""
        if self.days:
            return sorted(set(self.days))
        low, high = max(first, self.first or first), min(last, self.last or last)
        if self.every == "latest":
            return [high] if low <= high else []
        if self.every == "month":
            return month_ends(low, high)
        return [day for day in days_between(low, high) if self.every == "day" or day.isoweekday() == 7]

    def over(self, days: list[date], *, horizon_days: int, complete_through: date) -> tuple[list[date], list[date]]:
        """Cut-offs whose horizon is over, and those of `every` whose is not and that are left out.

        Parameters
        ----------
        days : list of date
        horizon_days : int
        complete_through : date
            Last day whose events are known.

        Raises
        ------
        WindowError
            A day that was asked for by name has a horizon that is not over, or none is left.
        """
        until = complete_through - timedelta(days=horizon_days)
        over, open_ = [day for day in days if day <= until], [day for day in days if day > until]
        if open_ and self.days:
            raise WindowError(
                f"the {horizon_days} days after {open_[0]} are not over: events are known through {complete_through}, "
                f"so the latest cut-off with a label is {until}; take earlier days, or leave the label out for inference"
            )
        if not over:
            raise WindowError(
                f"no cut-off is {horizon_days} days before {complete_through}, the last day with events; "
                f"the latest one with a label is {until}: compute older ones, or shorten the horizon"
            )
        return over, open_


class Events(Declaration):
    """Columns of a table that says which entities there are, and from which day on.

    Attributes
    ----------
    keys : tuple of str
    time : str
        Timestamp or date.
    time_zone : str
        Whose calendar days are meant.
    event_time_zone : str, optional
        IANA zone of a timestamp without zone.
    """

    keys: tuple[str, ...] = Field(min_length=1, description="columns that name the entity")
    time: str = Field(description="timestamp or date column")
    time_zone: str = Field(description="IANA zone whose calendar days are meant")
    event_time_zone: str | None = Field(default=None, description="IANA zone of timestamps without zone")

    @field_validator("time_zone", "event_time_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        return checked_zone(zone)

    def check(self, types: Mapping[str, str], where: str) -> None:
        """Hold the declaration against the columns of the table.

        Raises
        ------
        ColumnError
        """
        for name in (*self.keys, self.time):
            if name not in types:
                raise ColumnError.missing(name, types, where)
        for key in self.keys:
            check_key(key, types[key], where)
        check_time(self.time, types[self.time], where)
        if types[self.time] == "timestamp_ntz" and self.event_time_zone is None:
            raise ColumnError(f"column '{self.time}' in {where} is a timestamp without zone; say with event_time_zone how it is read")


def label_until(cutoff: date, horizon_days: int) -> date:
    """Last day that a label of a cut-off day looks at.

    Examples
    --------
    >>> label_until(date(2026, 1, 31), 28)
    datetime.date(2026, 2, 28)
    """
    return cutoff + horizon_days * ONE_DAY
