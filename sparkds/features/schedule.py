"""Schedule: which snapshot days a feature table holds, and which of them a run has to compute.

Pure rules over dates and over what the tables' last commits say.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta
from typing import Literal, NamedTuple

from pydantic import Field

from sparkds.days import ONE_DAY, days_between, month_ends
from sparkds.declaration import Declaration


class Schedule(Declaration):
    """Which days have a snapshot.

    Attributes
    ----------
    every : {"day", "week", "month"}
        Each day; each Sunday; each last day of a month.
    recent_days : int
        Besides, each of the last days up to the newest one.

    Examples
    --------
    >>> Schedule(every="month", recent_days=2).days(date(2026, 1, 1), date(2026, 2, 3))
    [datetime.date(2026, 1, 31), datetime.date(2026, 2, 2), datetime.date(2026, 2, 3)]
    """

    every: Literal["day", "week", "month"] = Field(default="day", description="day, week (Sundays) or month (last days)")
    recent_days: int = Field(default=1, ge=1, description="besides, each of the last days up to the newest one")

    def days(self, first: date, last: date) -> list[date]:
        """Scheduled days in ``first … last``, `last` always among them."""
        if first > last:
            return []
        if self.every == "month":
            regular = month_ends(first, last)
        else:
            regular = [day for day in days_between(first, last) if self.every == "day" or day.isoweekday() == 7]
        recent = days_between(max(first, last - timedelta(days=self.recent_days - 1)), last)
        return sorted({*regular, *recent})


class Stored(NamedTuple):
    """What the snapshot table holds.

    Attributes
    ----------
    days : frozenset of date
        Days that have been computed, those without a row included.
    incomplete : frozenset of date
        Days among them that were computed before their data were complete.
    """

    days: frozenset[date]
    incomplete: frozenset[date]


def days_to_compute(wanted: Collection[date], stored: Stored, *, touched_from: date | None, rebuild: Collection[date] = ()) -> list[date]:
    """Days to write: missing ones, those made too early, and all that a changed tile can reach.

    Parameters
    ----------
    wanted : collection of date
    stored : Stored
    touched_from : date, optional
        First day whose tiles have changed since the snapshots were written; entities never leave a snapshot, so each
        later one depends on it.
    rebuild : collection of date
        Days to write whatever is stored.

    Returns
    -------
    list of date, ascending
    """
    missing = set(wanted) - stored.days
    reached = {day for day in stored.days if touched_from is not None and day >= touched_from}
    return sorted(missing | stored.incomplete | reached | set(rebuild))


def checkpoint_day(last: date, longest_window: int, lateness_days: int) -> date:
    """Newest month-end that no window of a day from `last` on, and no late event, reaches."""
    day = last - timedelta(days=max(longest_window, lateness_days))
    return day.replace(day=1) - ONE_DAY
