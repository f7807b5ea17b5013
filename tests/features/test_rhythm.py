"""Times between events, shares, seasonality and trend: the kernels against loops, and what Spark must not change."""

import statistics
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sparkds.errors import ColumnError
from sparkds.features import FeatureSet, InterEventMean, InterEventSd, SeasonalityRatio, Share, Trend
from sparkds.features.rhythm_kernel import periodic_lags, periodic_sum, squared_gaps
from sparkds.features.windows import LIFETIME, Block
from tests.features.test_windows import blocks, inside, naive

WINDOWS = (1, 3, 10, LIFETIME)


@settings(max_examples=100, deadline=None)
@given(blocks(), st.data())
def test_squared_gaps_equal_the_loop_exactly_and_do_not_hang_on_other_days(block, data):
    instants = [
        sorted(86_400 * int(day) + data.draw(st.integers(0, 86_399)) for _ in range(data.draw(st.integers(0, 3)))) for day in block.day
    ]
    first = np.array([own[0] if own else 0 for own in instants])
    last = np.array([own[-1] if own else 0 for own in instants])
    valid = np.array([bool(own) for own in instants])
    own = np.array([sum((b - a) ** 2 for a, b in pairwise(own)) for own in instants], dtype=object)

    def loop(rows):
        pooled = [x for r in rows for x in instants[r]]
        return sum((b - a) ** 2 for a, b in pairwise(pooled))

    got = squared_gaps(block, first, last, valid, own, WINDOWS)
    for window in WINDOWS:
        assert got[window].tolist() == naive(block, window, loop)


@settings(max_examples=100, deadline=None)
@given(blocks(), st.integers(2, 9), st.data())
def test_activity_at_periodic_distances_equals_the_loop(block, period, data):
    half = data.draw(st.integers(0, (period - 2) // 2))
    n = len(block.day)
    whole = np.array(data.draw(st.lists(st.integers(-50, 50), min_size=n, max_size=n)))
    floats = np.array(data.draw(st.lists(st.floats(-1e9, 1e9), min_size=n, max_size=n)))
    expected, expected_floats, days = [], [], []
    for entity in range(block.n_entities):
        rows = range(block.starts[entity], block.starts[entity + 1])
        for as_of in block.days:
            if any(block.day[r] <= as_of for r in rows):
                lags = [lag for lag in range(12) if min(lag % period, -lag % period) <= half]
                chosen = [r for r in inside(block, [r for r in rows if block.day[r] <= as_of], as_of, 12) if as_of - block.day[r] in lags]
                expected.append(sum(int(whole[r]) for r in chosen))
                expected_floats.append(sum(float(floats[r]) for r in chosen))
                days.append(len(lags))
    assert periodic_sum(block, whole, 12, period, half).tolist() == expected
    got = periodic_sum(block, floats, 12, period, half)
    np.testing.assert_allclose(got, expected_floats, rtol=1e-9, atol=1e-6)
    assert set(days) <= {sum(far - near + 1 for near, far in periodic_lags(12, period, half))}
    for slot, day in enumerate(block.days):
        alone = Block(block.starts, block.day, np.array([day]))
        assert np.array_equal(periodic_sum(alone, floats, 12, period, half), got[block.cell_slot == slot])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Share(), "share of what"),
        (lambda: Share(only="x > 1"), "needs a name"),
        (lambda: Share(weekdays=(0,)), r"weekdays \[0\] are not different numbers from 1"),
        (lambda: Share(weekdays=(1, 1)), "different numbers"),
        (lambda: Share(hours=(5, 5)), r"hours \[5, 5\] are not a range"),
        (lambda: Share(hours=(-1, 5)), "not a range"),
        (lambda: Trend(short=7, lifetime=True), "no lifetime column"),
        (lambda: Trend(short=7, windows=(7,)), "window 7 is not longer than the short window of 7 days"),
        (lambda: SeasonalityRatio(period_days=7, windows=(7,)), "does not reach back"),
        (lambda: SeasonalityRatio(period_days=7, half_width=3, windows=(30,)), "takes in every day"),
    ],
)
def test_what_means_nothing_is_refused_when_it_is_declared(wrong, message):
    with pytest.raises(ValidationError, match=message):
        wrong()


def spec_of(*aggregations, windows=(30,), zone="Europe/Berlin", lifetime=False, event_time="t"):
    return FeatureSet(keys=("k",), event_time=event_time, time_zone=zone, windows=windows, lifetime=lifetime, aggregations=aggregations)


def test_windows_of_the_feature_set_are_checked_like_the_aggregations_own():
    with pytest.raises(ValidationError, match="give 'event_seasonality_365' windows above 365"):
        spec_of(SeasonalityRatio(period_days=365), windows=(30, 90))
    names = [f.name for f in spec_of(Trend(short=7), Share(weekdays="weekend"), lifetime=True).features]
    assert names == ["event_trend_7_30d", "event_share_weekend_30d", "event_share_weekend_lifetime"]


def test_a_state_without_part_of_week_keeps_its_name_and_one_with_it_has_its_own():
    plain, weekend, night = (share.needs for share in (Share(weekdays="weekend"), Share(weekdays=(6, 7)), Share(hours=(22, 6))))
    assert plain[1].name == "rows"
    assert plain[0].name == weekend[0].name
    assert len({plain[0].name, night[0].name, "rows"}) == 3


def test_hours_of_a_date_are_refused_before_anything_runs(spark):
    frame = spark.createDataFrame([(1, date(2026, 1, 1))], "k int, t date")
    with pytest.raises(ColumnError, match="column 't' in events is a date, so that its events have no hour"):
        spec_of(Share(hours=(8, 17))).tiles(frame)


MOMENTS = [
    datetime(2026, 3, 28, 22, 59, 59, 999_999, tzinfo=UTC),  # Saturday, 23 h in Berlin
    datetime(2026, 3, 28, 23, 0, tzinfo=UTC),  # Sunday, 0 h
    datetime(2026, 3, 29, 0, 59, tzinfo=UTC),  # 1 h, the minute before the clock is put forward
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # 3 h
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # a tie
    datetime(2026, 3, 29, 22, 0, 0, 1, tzinfo=UTC),  # Monday, 0 h
]
RHYTHM = spec_of(
    InterEventMean(),
    InterEventSd(),
    Share(weekdays=(7,)),
    Share(hours=(23, 1)),
    Share(hours=(2, 4)),
    windows=(1, 2, 3),
)


def of_one(spark, moments, day, spec=RHYTHM):
    frame = spark.createDataFrame([(1, moment) for moment in moments], "k int, t timestamp")
    (row,) = spec.snapshots(spec.tiles(frame), [day]).collect()
    return row


def expected(moments):
    gaps = [(b - a) / timedelta(days=1) for a, b in pairwise(moments)]
    return statistics.fmean(gaps), statistics.stdev(gaps)


def test_days_of_23_hours_ties_and_hours_of_the_declared_zone_count_as_they_are(spark):
    row = of_one(spark, MOMENTS, date(2026, 3, 30))
    mean, sd = expected(MOMENTS)
    assert (row["inter_event_mean_3d"], row["inter_event_sd_3d"]) == (pytest.approx(mean, rel=1e-12), pytest.approx(sd, rel=1e-12))
    mean, sd = expected(MOMENTS[1:])
    assert (row["inter_event_mean_2d"], row["inter_event_sd_2d"]) == (pytest.approx(mean, rel=1e-12), pytest.approx(sd, rel=1e-12))
    assert (row["inter_event_mean_1d"], row["inter_event_sd_1d"]) == (None, None)
    assert (row["event_share_days_7_3d"], row["event_share_days_7_1d"]) == (pytest.approx(4 / 6), 0.0)
    assert (row["event_share_23h_1h_3d"], row["event_share_2h_4h_3d"]) == (pytest.approx(3 / 6), pytest.approx(2 / 6))


def test_hours_and_weekdays_do_not_hang_on_the_sessions_zone(spark):
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        pytest.skip("the session's settings are locked here")
    told = spark.conf.get("spark.sql.session.timeZone")
    rows = []
    try:
        for zone in ("UTC", "Pacific/Kiritimati"):
            spark.conf.set("spark.sql.session.timeZone", zone)
            rows.append(of_one(spark, MOMENTS, date(2026, 3, 30)).asDict())
    finally:
        spark.conf.set("spark.sql.session.timeZone", told)
    for row in rows:
        del row["known_at"]
    assert rows[0] == rows[1]


def test_equal_gaps_have_a_deviation_of_zero_even_years_apart(spark):
    spec = spec_of(InterEventMean(), InterEventSd(), windows=(30_000,))
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=5_000 * i, microseconds=3 * i) for i in range(5)]
    row = of_one(spark, moments, date(2030, 1, 1), spec)
    assert row["inter_event_sd_30000d"] == 0.0
    assert row["inter_event_mean_30000d"] == pytest.approx(5_000, rel=1e-12)
