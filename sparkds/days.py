"""Days: calendar days of a time zone as numbers and instants.

A day is a local calendar day of an IANA zone; it begins at the first instant of that date, so that days of 23 or 25
hours count as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from sparkds.errors import closest

EPOCH = date(1970, 1, 1)
ONE_DAY = timedelta(days=1)


def checked_zone(zone: str | None) -> str | None:
    """Name of an IANA zone as it is given; None for none.

    Raises
    ------
    ValueError
        There is no zone of that name; the message has the nearest one.
    """
    if zone is not None and zone not in available_timezones():
        raise ValueError(f"time zone '{zone}' is unknown; give an IANA name{closest(zone, available_timezones())}")
    return zone


def day_number(day: date) -> int:
    """Days since 1970-01-01.

    Examples
    --------
    >>> day_number(date(1970, 1, 2))
    1
    """
    return (day - EPOCH).days


def day_of(number: int) -> date:
    """Date of a day number."""
    return EPOCH + timedelta(days=number)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """First instant of a local day, in UTC.

    Where the clock skips midnight, the day begins at the instant of the change; where midnight happens twice, at the
    first one.

    Examples
    --------
    >>> start_of_day(date(2026, 3, 29), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-03-28T23:00:00+00:00'
    """
    return datetime(day.year, day.month, day.day, tzinfo=zone, fold=0).astimezone(UTC)


def known_at(as_of: date, zone: ZoneInfo) -> datetime:
    """Instant from which a snapshot of `as_of` is known: midnight after that day, in UTC."""
    return start_of_day(as_of + ONE_DAY, zone)


def last_ended(now: datetime, zone: ZoneInfo) -> date:
    """Last local day that has ended at the instant `now`."""
    return now.astimezone(zone).date() - ONE_DAY


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970-01-01T00:00Z."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def instant_of(micros: int) -> datetime:
    """Instant of a number of microseconds since 1970-01-01T00:00Z."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def month_ends(first: date, last: date) -> list[date]:
    """Last days of the months that end in ``first … last``.

    Examples
    --------
    >>> [day.isoformat() for day in month_ends(date(2026, 1, 31), date(2026, 3, 30))]
    ['2026-01-31', '2026-02-28']
    """
    return [day for day in days_between(first, last) if (day + ONE_DAY).day == 1]


def days_between(first: date, last: date) -> list[date]:
    """All days ``first … last``, both included; none when `first` is after `last`."""
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """Consecutive days joined to (first, last) ranges, ascending.

    Examples
    --------
    >>> [(a.day, b.day) for a, b in ranges([date(2026, 1, d) for d in (1, 2, 5)])]
    [(1, 2), (5, 5)]
    """
    joined: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if joined and joined[-1][1] + ONE_DAY == day:
            joined[-1] = (joined[-1][0], day)
        else:
            joined.append((day, day))
    return joined
