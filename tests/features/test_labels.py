"""Labels and cut-offs: against a double loop over the events, and what does not fit."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from sparkds.errors import ColumnError, ConfigError, DataError, WindowError
from sparkds.features import Cutoffs, EventCount, EventSum, EventWithin, Spine
from sparkds.features.label_columns import cutoff_spine_frame, event_days, labelled_frame
from sparkds.features.labels import Events, label_until

BERLIN = ZoneInfo("Europe/Berlin")
SPINE = Spine(keys=("a", "b"), time="t", time_zone="Europe/Berlin")
EVENTS = Events(keys=("a", "b"), time="at", time_zone="Europe/Berlin")
SCHEMA = "b string, a string, at timestamp, amount decimal(10,2)"


def random_rows(seed=1, n=80):
    rng = random.Random(seed)
    start = datetime(2026, 3, 25, 23, tzinfo=UTC)  # a midnight in Berlin; the clock changes on the 29th

    def pick(parts=("a", "ab", "", None), most=9 * 48):
        return rng.choice(parts), rng.choice(("bc", "c", None)), start + timedelta(minutes=30 * rng.randrange(most))

    spine = []
    for i in range(n):
        a, b, t = pick()
        if i % 3 == 0:
            t = datetime(2026, 3, 26 + i % 5, tzinfo=BERLIN).astimezone(UTC)
        spine.append((a, b, t, i))
    events = [(b, a, rng.choice((at, at, at, None)), Decimal(i) / 100) for i, (a, b, at) in enumerate(pick() for _ in range(n))]
    return [*spine, spine[0]], events


def naive(spine, events, days, through):
    for a, b, t, i in spine:
        local = t.astimezone(BERLIN)
        first = local.date() if (local.hour, local.minute) == (0, 0) else local.date() + timedelta(days=1)
        last = first + timedelta(days=days - 1)
        mine = [x for eb, ea, at, x in events if at is not None and (ea, eb) == (a, b) and first <= at.astimezone(BERLIN).date() <= last]
        known = a is not None and b is not None and last <= through
        yield i, bool(mine) if known else None, len(mine) if known else None, sum(mine, Decimal(0)) if known else None, last


def test_labels_count_what_a_double_loop_over_the_events_counts(spark):
    spine, events = random_rows()
    frame, given = spark.createDataFrame(spine, "a string, b string, t timestamp, i int"), spark.createDataFrame(events, SCHEMA)
    through = date(2026, 4, 1)
    for label in (
        EventWithin(horizon_days=3, name="any"),
        EventCount(horizon_days=3, name="n"),
        EventSum(horizon_days=3, name="total", column="amount"),
    ):
        frame = labelled_frame(frame, SPINE, label, given, event_time="at", complete_through=through)
        if label.name != "total":
            frame = frame.drop("label_until")
    assert frame.columns == ["a", "b", "t", "i", "any", "n", "total", "label_until"]
    got = sorted((row["i"], row["any"], row["n"], row["total"], row["label_until"]) for row in frame.collect())
    want = sorted(naive(spine, events, 3, through))
    assert got == want
    assert {row[1] for row in want} == {True, False, None}


def test_events_of_other_names_kinds_and_predicates_count(spark):
    spec = Spine(keys=("the.key",), time="t", time_zone="UTC")
    frame = spark.createDataFrame([(1, date(2026, 1, 2))], "`the.key` int, t date")
    events = spark.createDataFrame(
        [(1, date(2026, 1, d), x) for d, x in ((1, 1.0), (2, 2.0), (3, float("nan")), (3, -1.0), (4, 8.0))],
        "k bigint, `on` date, `x y` double",
    )
    named = {"horizon_days": 2, "table_keys": {"the.key": "k"}}
    total = EventSum(name="my total", column="x y", **named)
    (row,) = labelled_frame(frame, spec, total, events, event_time="on").collect()
    assert (row["my total"], row["label_until"]) == (1.0, date(2026, 1, 3))
    count = EventCount(name="n", where="`x y` < 0", **named)
    assert labelled_frame(frame, spec, count, events, event_time="on").collect()[0]["n"] == 1


def test_a_spine_of_cutoffs_has_every_entity_seen_up_to_the_day(spark):
    _, events = random_rows()
    given = spark.createDataFrame(events, SCHEMA)
    days = [date(2026, 3, 27), date(2026, 3, 29), date(2026, 4, 2)]
    first = {}
    for b, a, at, _ in events:
        if None not in (a, b, at):
            day = at.astimezone(BERLIN).date()
            first[a, b] = min(day, first.get((a, b), day))
    got = cutoff_spine_frame(given, EVENTS, days, "Europe/Berlin").selectExpr("a", "b", "as_of", "unix_micros(known_at) as at").collect()
    want = []
    for (a, b), seen in first.items():
        for day in days:
            if seen <= day:
                after = datetime(day.year, day.month, day.day, tzinfo=BERLIN) + timedelta(days=1)
                want.append((a, b, day, int(after.timestamp()) * 1_000_000))
    assert sorted(map(tuple, got)) == sorted(want)
    assert event_days(given, EVENTS, until=date(2026, 4, 1)) == (min(first.values()), date(2026, 4, 1))
    with pytest.raises(DataError, match="no event with keys"):
        event_days(given, EVENTS, until=date(2020, 1, 1))


def test_cutoffs_are_days_or_regular_days_in_bounds():
    first, last = date(2026, 1, 10), date(2026, 3, 8)
    assert Cutoffs(every="month", last=date(2026, 2, 5)).between(first, last) == [date(2026, 1, 31)]
    assert Cutoffs(every="week", first=date(2026, 3, 1)).between(first, last) == [date(2026, 3, 1), date(2026, 3, 8)]
    assert Cutoffs(every="latest").between(first, last) == [last]
    assert Cutoffs(every="day", first=date(2026, 3, 8)).between(first, last) == [last]
    assert Cutoffs(days=(last, first, last)).between(last, last) == [first, last]
    assert label_until(date(2026, 1, 31), 1) == date(2026, 2, 1)


def test_a_cutoff_whose_horizon_is_not_over_is_left_out_or_refused():
    days = [date(2026, 1, 31), date(2026, 2, 28)]
    over = Cutoffs(every="month").over(days, horizon_days=30, complete_through=date(2026, 3, 2))
    assert over == (days[:1], days[1:])
    with pytest.raises(WindowError, match="the latest cut-off with a label is 2026-01-31"):
        Cutoffs(days=tuple(days)).over(days, horizon_days=30, complete_through=date(2026, 3, 2))
    with pytest.raises(WindowError, match="no cut-off is 300 days before 2026-03-02"):
        Cutoffs(every="month").over(days, horizon_days=300, complete_through=date(2026, 3, 2))


@pytest.mark.parametrize(
    "declared", [{}, {"days": (date(2026, 1, 1),), "every": "month"}, {"days": (date(2026, 1, 1),), "first": date(2026, 1, 1)}]
)
def test_cutoffs_that_contradict_themselves_are_refused(declared):
    with pytest.raises(ValidationError, match=r"give the cut-offs by days, or by every|first and last bound"):
        Cutoffs(**declared)


def test_what_does_not_fit_is_named_before_anything_runs(spark):
    frame = spark.createDataFrame([("a", "b", datetime(2026, 1, 1, tzinfo=UTC))], "a string, b string, t timestamp")
    given = spark.createDataFrame([], SCHEMA + ", s string, w timestamp_ntz")
    for label, time, error, told in (
        (EventWithin(horizon_days=1, name="T"), "at", ConfigError, "the spine has a column 'T' already"),
        (EventSum(horizon_days=1, name="y", column="s"), "at", ColumnError, "column 's' in the events of label 'y' is string"),
        (EventSum(horizon_days=1, name="y", column="z"), "at", ColumnError, "column 'z' not found in the events of label 'y'"),
        (EventWithin(horizon_days=1, name="y"), "when", ColumnError, "column 'when' not found in the events of label 'y'"),
        (EventWithin(horizon_days=1, name="y", keys=("q",)), "at", ColumnError, "column 'q' not found"),
        (EventWithin(horizon_days=1, name="y", table_keys={"a": "amount"}), "at", ColumnError, "'amount' is decimal(10,2)"),
        (EventWithin(horizon_days=1, name="y", where="1"), "at", ConfigError, "a predicate gives true or false"),
    ):
        with pytest.raises(error) as raised:
            labelled_frame(frame, SPINE, label, given, event_time=time)
        assert told in str(raised.value)
    with pytest.raises(ColumnError, match="timestamp without zone; say with event_time_zone"):
        event_days(given, Events(keys=("a",), time="w", time_zone="UTC"), until=date(2026, 1, 1))
