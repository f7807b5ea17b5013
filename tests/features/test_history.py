"""History on Spark: dense snapshots of any day from it are the snapshots, row for row, at a bounded number of rows and one exchange."""

import re
from datetime import date
from itertools import pairwise

import pytest

from sparkds.errors import ColumnError, WindowError
from sparkds.features import RFM, Count, DaysSinceFirst, FeatureSet, InterEventMean, InterEventSd, Share, Sum, Trend
from sparkds.features.change_points import stored_names, window_days
from sparkds.features.history import history_frame, snapshots_of_history_frame
from tests.features.test_snapshots import DAYS, KEYS, SPEC, explained, frame_of, random_events, rows_of

LAST = date(2026, 4, 20)
KINDS = tuple(a for a in SPEC.aggregations if not a.changes_daily or a.counts_from is not None)
WITH_RFM = SPEC.model_copy(
    update={"aggregations": KINDS, "rfm": RFM(value="amount", frequency="orders", order_id="item", monetary="mean", window=5)}
)
COVERED = [*DAYS, date(2026, 3, 24), date(2026, 4, 1), date(2026, 4, 2), LAST]


@pytest.fixture(scope="module")
def tiles(spark, tmp_path_factory):
    """Tiles of the big feature set, stored."""
    path = str(tmp_path_factory.mktemp("tiles") / "t")
    WITH_RFM.tiles(frame_of(spark, random_events())).write.parquet(path)
    return spark.read.parquet(path)


@pytest.fixture(scope="module")
def history(spark, tiles, tmp_path_factory):
    """Their history, stored."""
    path = str(tmp_path_factory.mktemp("history") / "h")
    history_frame(WITH_RFM, tiles, last=LAST).write.parquet(path)
    return spark.read.parquet(path)


def test_snapshots_read_from_the_history_are_the_snapshots_for_every_kind(tiles, history):
    assert history.columns == [*KEYS, "valid_from", "valid_to", "known_at", *stored_names(WITH_RFM)]
    expected = WITH_RFM.snapshots(tiles, COVERED)
    got = snapshots_of_history_frame(WITH_RFM, history, COVERED)
    assert got.dtypes == expected.dtypes
    assert rows_of(got) == rows_of(expected)


def test_rows_follow_each_other_without_gap_and_differ(tiles, history):
    n_tiles = tiles.count()
    by_key = {}
    for row in history.orderBy(*KEYS, "valid_from").collect():
        by_key.setdefault((row["shop"], row["customer"]), []).append(row.asDict())
    n_rows = sum(map(len, by_key.values()))
    assert n_rows <= (len(window_days(WITH_RFM)) + 1) * n_tiles
    for rows in by_key.values():
        for row, following in pairwise(rows):
            assert (following["valid_from"] - row["valid_to"]).days == 1
            assert any(row[name] != following[name] for name in stored_names(WITH_RFM))
        assert rows[-1]["valid_to"] is None


def test_the_plan_has_one_exchange_of_tiles_and_reading_days_has_none(tiles, history, capsys):
    plan = explained(history_frame(WITH_RFM, tiles, last=LAST), capsys)
    assert len(re.findall(r"Exchange ", plan)) == len(re.findall(r"FileScan", plan)) == len(re.findall(r"MapInArrow", plan)) == 1
    read = explained(snapshots_of_history_frame(WITH_RFM, history, COVERED), capsys)
    for told in (plan, read):
        assert not re.search(r"Join|CartesianProduct|Window", told)
    assert "Exchange" not in read
    assert re.search(r"PushedFilters: .*LessThanOrEqual\(valid_from,2026-04-20\)", read)


def test_entities_seen_before_the_first_day_begin_on_it(tiles):
    first, last = date(2026, 3, 31), date(2026, 4, 3)
    spec = FeatureSet(keys=KEYS, event_time="t", time_zone="Europe/Berlin", windows=(3,), aggregations=(Count(), DaysSinceFirst()))
    days = [date(2026, 3, 31), date(2026, 4, 1), last]
    begun = history_frame(spec, tiles, last=last, first=first)
    assert rows_of(snapshots_of_history_frame(spec, begun, days)) == rows_of(spec.snapshots(tiles, days))


def test_rhythms_have_change_points_and_the_short_window_of_a_trend_has_its_own(spark):
    spec = FeatureSet(
        keys=KEYS, event_time="t", time_zone="Europe/Berlin", windows=(9,),
        aggregations=(Trend(short=2), InterEventMean(), InterEventSd(lifetime=True), Share(weekdays="weekend")),
    )  # fmt: skip
    assert window_days(spec) == (2, 9)
    tiles = spec.tiles(frame_of(spark, random_events(60)))
    got = snapshots_of_history_frame(spec, history_frame(spec, tiles, last=LAST), COVERED)
    assert rows_of(got) == rows_of(spec.snapshots(tiles, COVERED))


def test_doubles_are_added_over_disjoint_days_never_subtracted(spark):
    spec = FeatureSet(keys=("k",), event_time="d", time_zone="UTC", windows=(2,), aggregations=(Sum(column="x"),))
    frame = spark.createDataFrame([(1, date(2026, 1, d), x) for d, x in ((1, 1e300), (2, 0.1), (3, 0.2))], "k int, d date, x double")
    told = {r["valid_from"].day: r["x_sum_2d"] for r in history_frame(spec, spec.tiles(frame), last=date(2026, 1, 9)).collect()}
    assert told == {1: 1e300, 3: 0.1 + 0.2, 4: 0.2, 5: 0.0}


def test_a_last_day_before_the_first_and_missing_columns_are_named(tiles, history):
    with pytest.raises(WindowError, match="would begin on 2026-05-01, after its last day 2026-04-20"):
        history_frame(WITH_RFM, tiles, last=LAST, first=date(2026, 5, 1))
    with pytest.raises(ColumnError, match="column 'price_total' not found in the tiles"):
        history_frame(WITH_RFM, tiles.drop("price_total"), last=LAST)
    with pytest.raises(WindowError, match="no as_of day is given"):
        snapshots_of_history_frame(WITH_RFM, history, [])
    with pytest.raises(ColumnError, match="column 'recency_days_from' not found in the history"):
        snapshots_of_history_frame(WITH_RFM, history.drop("recency_days_from"), [LAST])
