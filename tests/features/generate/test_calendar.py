"""Parts of the calendar, holidays and the time since the row before, against Python's own calendar and loops."""

import calendar
import math
import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features.generate import Calendar, Generation, Holiday, TimeSincePrevious
from sparkds.features.generate.given import holiday_dates

ZONE = "America/St_Johns"
PARTS = ("hour", "day_of_week", "day_of_month", "day_of_year", "month", "weekend")
CYCLES = ("hour", "day_of_week", "day_of_year", "month")
MOMENTS = [
    datetime(2026, 3, 8, 5, 29, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 8, 5, 30, tzinfo=UTC),  # 2 h does not exist on this day
    datetime(2026, 11, 1, 3, 31, tzinfo=UTC),
    datetime(2026, 11, 1, 4, 31, tzinfo=UTC),  # 1 h for the second time
    datetime(2024, 12, 31, 23, 0, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1895, 7, 4, 12, 0, tzinfo=UTC),
    None,
]


def parts_of(day, hour):
    year_days = 366 if calendar.isleap(day.year) else 365
    told = {
        "day_of_week": day.isoweekday(),
        "day_of_month": day.day,
        "day_of_year": day.timetuple().tm_yday,
        "month": day.month,
        "weekend": int(day.isoweekday() > 5),
    }
    turns = {"day_of_week": (day.isoweekday() - 1) / 7, "day_of_year": (told["day_of_year"] - 1) / year_days, "month": (day.month - 1) / 12}
    if hour is not None:
        told["hour"], turns["hour"] = hour, hour / 24
    for part, turn in turns.items():
        told |= {f"{part}_sin": math.sin(2 * math.pi * turn), f"{part}_cos": math.cos(2 * math.pi * turn)}
    return told


@pytest.fixture(scope="module")
def frame(spark):
    rows = [(i, moment, moment and moment.date()) for i, moment in enumerate(MOMENTS)]
    return spark.createDataFrame(rows, "i int, `the time` timestamp, day date").selectExpr(
        "*", "cast(from_utc_timestamp(timestamp_micros(unix_micros(`the time`)), 'UTC') as timestamp_ntz) as wall"
    )


def test_parts_and_circles_are_those_of_the_declared_zone_also_where_the_clock_changes(frame):
    made = Generation(
        derivations=(
            Calendar(column="the time", time_zone=ZONE, parts=PARTS, cyclic=CYCLES),
            Calendar(column="day", parts=tuple(p for p in PARTS if p != "hour"), cyclic=CYCLES[1:]),
        )
    )
    rows = {row["i"]: row for row in made.applied(frame, {}).collect()}
    for i, moment in enumerate(MOMENTS):
        if moment is None:
            assert [value for name, value in rows[i].asDict().items() if name not in ("i", "the time", "day", "wall")] == [None] * (14 + 11)
            continue
        local = moment.astimezone(ZoneInfo(ZONE))
        for column, expected in (("the time", parts_of(local.date(), local.hour)), ("day", parts_of(moment.date(), None))):
            for name, value in expected.items():
                assert rows[i][f"{column}_{name}"] == pytest.approx(value, abs=1e-12), (moment, column, name)


def test_a_timestamp_without_zone_is_read_in_its_declared_zone(spark):
    frame = spark.sql("select timestamp_ntz'2026-03-29 23:30:00' as t")
    for column_zone, hour in (("UTC", 1), ("Europe/Berlin", 23), ("America/New_York", 5)):
        made = Generation(derivations=(Calendar(column="t", time_zone="Europe/Berlin", column_zone=column_zone, parts=("hour",)),))
        assert made.applied(frame, {}).collect()[0]["t_hour"] == hour


def test_parts_do_not_hang_on_the_sessions_zone(spark, frame):
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        return
    made = Generation(derivations=(Calendar(column="the time", time_zone=ZONE, parts=PARTS),))
    before, rows = spark.conf.get("spark.sql.session.timeZone"), []
    try:
        for zone, ansi in (("UTC", "true"), ("Pacific/Kiritimati", "false")):
            spark.conf.set("spark.sql.session.timeZone", zone)
            spark.conf.set("spark.sql.ansi.enabled", ansi)
            rows.append(made.applied(frame, {}).select(*(f"`the time_{part}`" for part in PARTS)).collect())
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)
        spark.conf.unset("spark.sql.ansi.enabled")
    assert rows[0] == rows[1]


def test_holidays_are_days_of_the_declared_zone_and_of_the_rows_region(spark):
    table = spark.createDataFrame(
        [(date(2026, 1, 1), None), (date(2026, 1, 6), "BY"), (date(2026, 1, 6), "BY"), (None, "BY")], "tag date, land string"
    )
    rows = [
        (1, datetime(2025, 12, 31, 23, 30, tzinfo=UTC), "BE"),
        (2, datetime(2026, 1, 5, 23, 0, tzinfo=UTC), "BY"),
        (3, datetime(2026, 1, 5, 23, 0, tzinfo=UTC), "BE"),
        (4, datetime(2026, 1, 1, 12, 0, tzinfo=UTC), None),
        (5, datetime(2026, 1, 6, 12, 0, tzinfo=UTC), None),
        (6, None, "BY"),
    ]
    frame = spark.createDataFrame(rows, "k int, t timestamp, land string")
    of_table = Holiday(column="t", time_zone="Europe/Berlin", table="holidays", date_column="tag", region_column="land", region="land")
    made = Generation(derivations=(of_table,))
    with pytest.raises(ConfigError, match=r"'holiday\(t, land\)' needs the dates of table 'holidays', which nobody gives"):
        made.fitted(frame)
    states = made.fitted(frame, given=lambda derivation: holiday_dates(derivation, table))
    assert states[of_table.title].state == {"dates": {"": ["2026-01-01"], "BY": ["2026-01-06"]}}
    expected = [1, 1, 0, 1, 0, None]
    assert [row["t_holiday"] for row in made.applied(frame, states).orderBy("k").collect()] == expected
    assert made.fitted(frame, kept=states.values()) == states  # frozen: the table is not asked for again
    told = Holiday(column="t", time_zone="Europe/Berlin", dates={"": (date(2026, 1, 1),), "BY": (date(2026, 1, 6),)}, region="land")
    assert [row["t_holiday"] for row in Generation(derivations=(told,)).applied(frame, {}).orderBy("k").collect()] == expected
    everywhere = Holiday(column="t", time_zone="Europe/Berlin", dates=(date(2026, 1, 6),))
    found = Generation(derivations=(everywhere,)).applied(frame, {}).orderBy("k").collect()
    assert [row["t_holiday"] for row in found] == [0, 1, 1, 0, 1, None]


def test_a_table_of_holidays_without_the_column_or_without_dates_is_named(spark):
    table = spark.createDataFrame([(date(2026, 1, 1), "x")], "tag date, name string")
    wrong = Holiday(column="t", time_zone="UTC", table="holidays")
    with pytest.raises(ColumnError, match="column 'date' not found in table 'holidays'"):
        holiday_dates(wrong, table)
    with pytest.raises(ColumnError, match="column 'name' of table 'holidays' has type string; holidays are dates"):
        holiday_dates(Holiday(column="t", time_zone="UTC", table="holidays", date_column="name"), table)
    frame = spark.sql("select timestamp'2026-01-01 00:00:00' as t")
    with pytest.raises(DataError, match="'holidays' has no holiday"):
        Generation(derivations=(wrong,)).fitted(frame, given=lambda derivation: {})


def test_time_since_the_row_before_goes_by_key_then_time_then_tie_and_needs_one_exchange(spark, capsys, tmp_path):
    base = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    rows = [
        ("a", 1, base, 1),
        ("a", 1, base + timedelta(hours=1), 2),
        ("a", 1, base + timedelta(hours=1), 1),
        ("a", 1, None, 3),
        ("b", 1, base + timedelta(days=2, microseconds=1), 1),
        ("b", 1, base, 1),
        (None, 1, base, 1),
        (None, 1, base + timedelta(days=1), 1),
    ]
    spark.createDataFrame(rows, "`k.1` string, k2 int, t timestamp, tie int").write.parquet(str(tmp_path / "rows"))
    frame = spark.read.parquet(str(tmp_path / "rows"))
    made = Generation(
        derivations=(
            TimeSincePrevious(keys=("k.1", "k2"), column="t", tie="tie", unit="seconds"),
            TimeSincePrevious(keys=("k.1", "k2"), column="t", tie="tie", unit="days", name="in days"),
        )
    )
    frame = made.applied(frame, {})
    frame.explain()
    plan = capsys.readouterr().out
    assert len(re.findall(r"Exchange ", plan)) == 1
    assert len(re.findall(r"FileScan", plan)) == 1
    got = {(row["k.1"], row["t"], row["tie"]): (row["t_since_previous_seconds"], row["t_since_previous_days"]) for row in frame.collect()}

    def own(moment):
        return moment and moment.replace(tzinfo=None)

    for key, _, moment, tie in rows:
        earlier = sorted(
            (m, i) for k, _, m, i in rows if key is not None and k == key and m is not None and moment and (m, i) < (moment, tie)
        )
        gap = (moment - earlier[-1][0]) if earlier else None
        expected = (None, None) if gap is None else (gap / timedelta(seconds=1), gap / timedelta(days=1))
        assert got[key, own(moment), tie] == pytest.approx(expected), (key, moment, tie)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Calendar(column="t", time_zone="UTC"), "no part of the calendar"),
        (lambda: Calendar(column="t", time_zone="Europe/Berln", parts=("hour",)), "did you mean 'Europe/Berlin'"),
        (lambda: Calendar(column="t", time_zone="UTC", parts=("hour", "hour")), "names a part twice"),
        (lambda: Holiday(column="t", time_zone="UTC"), "give either dates or the table"),
        (lambda: Holiday(column="t", time_zone="UTC", dates={"A": ()}), "need region"),
        (lambda: Holiday(column="t", time_zone="UTC", table="h", region="land"), "the other way round"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_declared(wrong, message):
    with pytest.raises(ValidationError, match=message):
        wrong()


def test_a_column_of_another_type_or_without_zone_is_named_before_anything_runs(spark):
    frame = spark.sql("select 'x' as s, date'2026-01-01' as d, timestamp_ntz'2026-01-01 00:00:00' as w, timestamp_micros(0) as t")
    for derivation, message in (
        (Calendar(column="s", parts=("month",)), "column 's' in the frame has type string; a timestamp or a date is needed"),
        (Calendar(column="t", parts=("month",)), "say with time_zone whose local time is meant"),
        (Calendar(column="w", parts=("month",), time_zone="UTC"), "say with column_zone"),
        (Calendar(column="d", parts=("hour",)), "is a date, which has no hour"),
        (Holiday(column="d", dates={"A": (date(2026, 1, 1),)}, region="d"), "a region is a string"),
    ):
        with pytest.raises(ColumnError, match=message):
            Generation(derivations=(derivation,)).applied(frame, {})
