"""Calendar derivations: where in the week and year a time of the row lies, whether it is a holiday, and the time since the row before.

Local time is that of a declared zone, computed from the instant, whatever zone the session has; null stays null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from sparkds.days import checked_zone
from sparkds.errors import ColumnError, DataError
from sparkds.features.generate.derivation import NOTHING, Derivation, Fits, Fitted, Output, State
from sparkds.features.generate.expressions import Inputs, double_sql, text_sql
from sparkds.sql import quoted

Part = Literal["hour", "day_of_week", "day_of_month", "day_of_year", "month", "weekend"]
Cycle = Literal["hour", "day_of_week", "day_of_year", "month"]
DAY: Final = 86_400_000_000
HOUR: Final = 3_600_000_000
MOST_HOLIDAYS: Final = 20_000
MOST_REGIONS: Final = 500
EVERYWHERE: Final = ""
"""Region of holidays that hold whatever the row's region is."""


class TimeDerivation(Derivation):
    """A derivation of one column of times.

    Attributes
    ----------
    column : str
        Of type timestamp, date (a local day), or timestamp without zone together with `column_zone`.
    time_zone : str, optional
        IANA name of the zone of the local time; required unless the column is a date.
    column_zone : str, optional
        IANA name of the zone in which a timestamp without zone is to be read.
    """

    column: str = Field(min_length=1, description="timestamp or date column")
    time_zone: str | None = Field(default=None, description="IANA zone of the local time; not for a date")
    column_zone: str | None = Field(default=None, description="IANA zone of a timestamp column without zone")

    @field_validator("time_zone", "column_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        return checked_zone(zone)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, of: Inputs) -> None:
        super().check(of)
        dtype = of.dtype(self.column)
        what = f"column '{self.column}' in {of.where} has type {dtype}"
        if dtype not in ("timestamp", "timestamp_ntz", "date"):
            raise ColumnError(f"{what}; a timestamp or a date is needed: cast it before")
        if dtype == "timestamp_ntz" and self.column_zone is None:
            raise ColumnError(f"{what}, a timestamp without zone; say with column_zone in which zone it is to be read")
        if dtype != "date" and self.needs_zone and self.time_zone is None:
            raise ColumnError(f"{what}; say with time_zone whose local time is meant, e.g. time_zone: Europe/Berlin")

    needs_zone: ClassVar[bool] = True

    def instant(self, of: Inputs) -> str:
        """SQL of microseconds since 1970-01-01T00:00Z; of a date, of its midnight in UTC."""
        name, dtype = quoted(self.column), of.dtype(self.column)
        if dtype == "timestamp":
            return f"unix_micros({name})"
        if dtype == "date":
            return f"(cast(unix_date({name}) as bigint) * {DAY})"
        wall = f"timestamp_micros(timestampdiff(MICROSECOND, timestamp_ntz'1970-01-01', {name}))"
        return f"unix_micros(to_utc_timestamp({wall}, {text_sql(str(self.column_zone))}))"

    def local(self, of: Inputs) -> str:
        """SQL of the local clock as microseconds since 1970-01-01T00:00 there."""
        if of.dtype(self.column) == "date":
            return self.instant(of)
        return f"unix_micros(from_utc_timestamp(timestamp_micros({self.instant(of)}), {text_sql(str(self.time_zone))}))"

    def day(self, of: Inputs) -> str:
        """SQL of the local day, a date."""
        if of.dtype(self.column) == "date":
            return quoted(self.column)
        local = self.local(of)
        return f"date_from_unix_date(cast(({local} - pmod({local}, {DAY})) div {DAY} as int))"


class Calendar(TimeDerivation):
    """Parts of the local date and hour, as numbers or as points on a circle.

    Attributes
    ----------
    parts : tuple of str
        ``hour`` 0 … 23, ``day_of_week`` 1 (Monday) … 7 by ISO 8601, ``day_of_month``, ``day_of_year``, ``month``, and ``weekend`` (1 on
        Saturday and Sunday, else 0), each an int in ``{column}_{part}``.
    cyclic : tuple of str
        ``{column}_{part}_sin`` and ``{column}_{part}_cos`` of ``2 pi x / p``: hour and p = 24, day_of_week - 1 and 7, month - 1 and 12,
        day_of_year - 1 and the year's 365 or 366 days; the end of a cycle lies beside its beginning.

    Examples
    --------
    >>> Calendar(column="at", time_zone="Europe/Berlin", parts=("weekend",), cyclic=("hour",)).names
    ('at_weekend', 'at_hour_sin', 'at_hour_cos')
    """

    kind: Literal["calendar"] = "calendar"
    parts: tuple[Part, ...] = Field(default=(), description="hour, day_of_week, day_of_month, day_of_year, month, weekend")
    cyclic: tuple[Cycle, ...] = Field(default=(), description="hour, day_of_week, day_of_year, month as sine and cosine")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.parts and not self.cyclic:
            raise ValueError("no part of the calendar: give parts or cyclic, e.g. parts: [day_of_week, hour]")
        for told in (self.parts, self.cyclic):
            if len(set(told)) < len(told):
                raise ValueError(f"{list(told)} names a part twice; give each once")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        circles = [f"{self.column}_{part}_{of}" for part in self.cyclic for of in ("sin", "cos")]
        return (*(f"{self.column}_{part}" for part in self.parts), *circles)

    def check(self, of: Inputs) -> None:
        super().check(of)
        if of.dtype(self.column) == "date" and "hour" in (*self.parts, *self.cyclic):
            raise ColumnError(f"column '{self.column}' in {of.where} is a date, which has no hour; leave hour out, or give a timestamp")

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        day = self.day(of)
        sql = {
            "hour": f"pmod({self.local(of)}, {DAY}) div {HOUR}",
            "day_of_week": f"weekday({day}) + 1",
            "day_of_month": f"day({day})",
            "day_of_year": f"dayofyear({day})",
            "month": f"month({day})",
            "weekend": f"case when weekday({day}) >= 5 then 1 when {day} is not null then 0 end",
        }
        zone = "" if of.dtype(self.column) == "date" else f" in {self.time_zone}"
        outputs = [
            Output(f"{self.column}_{part}", "int", f"{PARTS[part]} of {self.column}{zone}", sql[part])
            for part in self.parts
        ]  # fmt: skip
        period = {"hour": "24", "day_of_week": "7", "month": "12", "day_of_year": f"dayofyear(make_date(year({day}), 12, 31))"}
        for part in self.cyclic:
            begin = 0 if part == "hour" else 1
            turn = f"{double_sql(2 * math.pi)} * ({sql[part]} - {begin}) / {period[part]}"
            for of_turn in ("sin", "cos"):
                comment = f"{of_turn} of the {PARTS[part]} of {self.column}{zone} as a share of its cycle, in [-1, 1]"
                outputs.append(Output(f"{self.column}_{part}_{of_turn}", "double", comment, f"{of_turn}({turn})"))
        return tuple(outputs)


PARTS: Final = {
    "hour": "hour 0 to 23",
    "day_of_week": "ISO day of week, 1 Monday to 7 Sunday,",
    "day_of_month": "day of month",
    "day_of_year": "day of year",
    "month": "month",
    "weekend": "1 on Saturday and Sunday, else 0,",
}


class Holiday(TimeDerivation):
    """Whether the local day is a holiday of a given list or table: 1 or 0 in ``{column}_holiday``, null without a time.

    A table is read once, when it is fitted, and its dates are frozen in the state; a later run sees the same holidays until it refits.

    Attributes
    ----------
    dates : tuple of date, or mapping of region to dates, optional
    table : str, optional
        Name of a table of holidays, in place of `dates`.
    date_column : str
        Of the table.
    region_column : str, optional
        Of the table; rows where it is null are holidays everywhere.
    region : str, optional
        Column of the rows that says where they are; a row without one has the holidays of everywhere only.
    """

    kind: Literal["holiday"] = "holiday"
    dates: tuple[date, ...] | dict[str, tuple[date, ...]] | None = Field(default=None, description="holidays, or holidays by region")
    table: str | None = Field(default=None, min_length=1, description="table of holidays, in place of dates")
    date_column: str = Field(default="date", min_length=1, description="of the table")
    region_column: str | None = Field(default=None, min_length=1, description="of the table; null holds everywhere")
    region: str | None = Field(default=None, min_length=1, description="column of the rows that says where they are")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dates is None) == (self.table is None):
            raise ValueError("give either dates or the table of holidays")
        by_region = isinstance(self.dates, dict) or self.region_column is not None
        if by_region != (self.region is not None):
            raise ValueError("holidays by region need region, the column of the rows that says where they are, and the other way round")
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.column,) if self.region is None else (self.column, self.region)

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.column}_holiday",)

    def check(self, of: Inputs) -> None:
        super().check(of)
        if self.region is not None and of.dtype(self.region) != "string":
            raise ColumnError(
                f"column '{self.region}' in {of.where} has type {of.dtype(self.region)}; a region is a string: cast it before"
            )

    @property
    def given(self) -> str:
        return "" if self.table is None else f"the dates of table '{self.table}'"

    def fits(self, of: Inputs) -> Fits:
        return Fits(given=self.given) if self.given else NOTHING

    def state(self, fitted: Fitted) -> State:
        """Dates of each region, ascending.

        Raises
        ------
        DataError
            There are none, or too many to be a list of holidays.
        """
        told: Mapping[str, Any] = fitted.given
        n = sum(len(dates) for dates in told.values())
        if not n:
            raise DataError(f"'{self.title}': table '{self.table}' has no holiday")
        if n > MOST_HOLIDAYS or len(told) > MOST_REGIONS:
            raise DataError(
                f"'{self.title}': '{self.table}' has {n} holidays in {len(told)} regions, more than {MOST_HOLIDAYS} in {MOST_REGIONS}; "
                "give those that are needed"
            )
        return {"dates": {region: [day.isoformat() for day in sorted(set(days))] for region, days in sorted(told.items())}}

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        if self.dates is None:
            by_region = state["dates"]
        else:
            told = self.dates if isinstance(self.dates, dict) else {EVERYWHERE: self.dates}
            by_region = {region: [day.isoformat() for day in days] for region, days in told.items()}
        day = self.day(of)
        here = {region: f"{day} in ({', '.join(map(_date_sql, days))})" for region, days in by_region.items() if days}
        sql = here.pop(EVERYWHERE, "false")
        if here and self.region is not None:
            cases = " ".join(f"when {text_sql(region)} then {holds}" for region, holds in here.items())
            sql = f"({sql} or case {quoted(self.region)} {cases} else false end)"
        sql = f"case when {day} is not null then cast({sql} as int) end"
        zone = "" if of.dtype(self.column) == "date" else f" in {self.time_zone}"
        where = "" if self.region is None else f" of the region in {self.region}"
        return (Output(f"{self.column}_holiday", "int", f"1 on a holiday{where}, else 0, of {self.column}{zone}", sql),)


class TimeSincePrevious(TimeDerivation):
    """Time since the row before of the same key; null for the first row, for a row without time, and where a key is null.

    Rows are ordered by time, then by `tie`; a row of the same instant is 0 away. One exchange by the keys.

    Attributes
    ----------
    keys : tuple of str
        Columns that name whose rows they are.
    tie : str
        Column that orders rows of one instant.
    unit : {"seconds", "days"}
        A day has 24 hours.
    """

    kind: Literal["time_since_previous"] = "time_since_previous"
    keys: tuple[str, ...] = Field(min_length=1, description="columns that name whose rows they are")
    tie: str = Field(min_length=1, description="column that orders rows of one instant")
    unit: Literal["seconds", "days"] = Field(description="seconds, or days of 24 hours")

    needs_zone: ClassVar[bool] = False

    @property
    def in_one_row(self) -> bool:
        return False

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.keys, self.column, self.tie)))

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.column}_since_previous_{self.unit}",)

    @property
    def before(self) -> str:
        """Column in which the step of frames puts the instant of the row before."""
        return f"__sparkds_before_{self.definition_hash}"

    def check(self, of: Inputs) -> None:
        super().check(of)
        for column in (*self.keys, self.tie):
            if of.dtype(column).startswith(("map", "variant")):
                raise ColumnError(f"column '{column}' in {of.where} has type {of.dtype(column)}, which cannot be compared")

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        size = {"seconds": "1000000D", "days": f"{DAY}D"}[self.unit]
        sql = f"({self.instant(of)} - {quoted(self.before)}) / {size}"
        comment = f"time since the row before of the same {', '.join(self.keys)} by {self.column}, then {self.tie} ({self.unit})"
        return (Output(self.names[0], "double", comment, sql),)


def _date_sql(day: str) -> str:
    return f"DATE'{day}'"
