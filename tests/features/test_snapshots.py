"""Tiles and snapshots on Spark against the naive oracle, and the promises about days, zones and costs."""

import math
import random
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from sparkds.errors import ColumnError, WindowError
from sparkds.features import (
    RFM,
    ActiveDays,
    ApproxDistinct,
    Count,
    DaysSinceFirst,
    DaysSinceLast,
    Deduplication,
    Distinct,
    FeatureSet,
    First,
    InterEventMean,
    InterEventSd,
    Last,
    Max,
    Mean,
    Min,
    Quantile,
    Refunds,
    SeasonalityRatio,
    Share,
    Std,
    Sum,
    SumOfSquares,
    TopCategory,
    Trend,
)
from tests.features import naive

SCHEMA = "shop string, customer bigint, t timestamp, tie int, amount double, price decimal(10,2), items int, item string, day date"
KEYS = ("shop", "customer")
WHERES = {"items > 1": lambda e: e["items"] is not None and e["items"] > 1}

SPEC = FeatureSet(
    keys=KEYS,
    event_time="t",
    time_zone="Europe/Berlin",
    windows=(1, 3, 8),
    lifetime=True,
    aggregations=(
        Count(),
        Count(column="amount"),
        Count(name="many", where="items > 1"),
        *(kind(column=c) for kind in (Sum, Mean, Min, Max, Std, SumOfSquares) for c in ("amount", "price", "items")),
        Min(column="t"),
        Max(column="day"),
        Distinct(column="item"),
        Distinct(column="price", where="items > 1"),
        ApproxDistinct(column="item"),
        First(column="item", tie="tie"),
        Last(column="price", tie="tie"),
        ActiveDays(),
        DaysSinceLast(where="items > 1", name="since_many"),
        DaysSinceFirst(),
        TopCategory(column="item"),
        Quantile(column="amount", q=0.5, relative_accuracy=0.01),
        Quantile(column="price", q=0.9),
        InterEventMean(),
        InterEventSd(),
        InterEventSd(name="many_gap_sd", where="items > 1"),
        Share(weekdays="weekend"),
        Share(weekdays=(7, 1), hours=(22, 3), column="price"),
        Share(hours=(2, 3), where="items > 1"),
        Share(name="share_of_many", only="items > 1"),
        SeasonalityRatio(period_days=7, windows=(8,)),
        SeasonalityRatio(period_days=3, half_width=0, column="price", windows=(8,), name="season3"),
        SeasonalityRatio(period_days=4, half_width=1, column="amount", windows=(8, 10), where="items > 1"),
        Trend(short=2, windows=(3, 8)),
        Trend(short=1, column="price", windows=(8,)),
    ),
)
DAYS = [date(2026, 3, d) for d in (26, 28, 29, 30, 31)] + [date(2026, 4, 9)]


def random_events(n=400, seed=5):
    """Events around the night in which the clock is put forward, with nulls, NaN, zeros, negatives and ties."""
    rng = random.Random(seed)
    begin = datetime(2026, 3, 24, 21, tzinfo=UTC)
    events = []
    for _ in range(n):
        moment = begin + timedelta(minutes=30 * rng.randrange(48 * 10))
        events.append(
            {
                "shop": rng.choice(["a", "b", "", "ü.x"]),
                "customer": rng.choice([1, 2, 11, -7]),
                "t": moment,
                "tie": rng.randrange(1000),
                "amount": rng.choice([None, math.nan, 0.0, -3.5, rng.uniform(-1e3, 1e3), rng.uniform(0, 10)]),
                "price": rng.choice([None, Decimal("0.00"), Decimal(rng.randrange(-99999, 999999)) / 100]),
                "items": rng.choice([None, 0, 1, 2, 5]),
                "item": rng.choice([None, "x", "y", "zz", "ä"]),
                "day": date(2026, 3, rng.randrange(1, 31)),
            }
        )
    return events


def frame_of(spark, events, schema=SCHEMA):
    names = [part.split()[0] for part in schema.split(", ")]
    return spark.createDataFrame([tuple(e[name] for name in names) for e in events], schema)


def rows_of(frame, keys=KEYS):
    return {(*(row[k] for k in keys), row["as_of"]): row.asDict() for row in frame.collect()}


def assert_same(got, expected, spec):
    assert got.keys() == expected.keys()
    for cell, features in expected.items():
        for feature in spec.features:
            want, have = features[feature.name], got[cell][feature.name]
            where = f"{feature.name} of {cell}: {have!r} instead of {want!r}"
            if want is None or have is None:
                assert want is have, where
            elif feature.aggregation.kind == "quantile":
                assert have == pytest.approx(float(want), rel=0.0101, abs=1e-9), where
            elif isinstance(have, float):
                assert have == pytest.approx(float(want), rel=1e-9, abs=1e-7), where
            elif isinstance(have, Decimal):
                assert have == Decimal(want).quantize(Decimal(1).scaleb(have.as_tuple().exponent), "ROUND_HALF_UP"), where
            elif isinstance(have, datetime):
                assert have == want.replace(tzinfo=None), where
            else:
                assert have == want, where


@pytest.fixture(scope="module")
def events(spark):
    return random_events()


def test_all_kinds_equal_the_naive_loops_around_a_change_of_clock(spark, events):
    snapshots = SPEC.snapshots(SPEC.tiles(frame_of(spark, events)), DAYS)
    assert_same(rows_of(snapshots), naive.snapshots(SPEC, events, DAYS, WHERES), SPEC)


def test_days_asked_together_and_alone_and_from_a_checkpoint_give_the_same_rows(spark, events, tmp_path):
    from sparkds.features.snapshots import checkpoints_frame

    path = str(tmp_path / "tiles")
    SPEC.tiles(frame_of(spark, events)).write.parquet(path)
    tiles = spark.read.parquet(path)
    together = rows_of(SPEC.snapshots(tiles, DAYS))
    alone = {}
    for day in DAYS:
        alone |= rows_of(SPEC.snapshots(tiles, [day]))
    assert alone == together
    through = date(2026, 3, 30)
    checkpoint = checkpoints_frame(
        SPEC, checkpoints_frame(SPEC, tiles, date(2026, 3, 27)).unionByName(tiles.where("day > '2026-03-27'")), through
    )
    assert checkpoint.dtypes == tiles.dtypes
    last = DAYS[-1]
    later = SPEC.snapshots(checkpoint.unionByName(tiles.where(f"day > '{through}'")), [last])
    assert rows_of(later) == {cell: row for cell, row in together.items() if cell[-1] == last}


def test_snapshots_straight_from_events_are_those_from_all_tiles(spark, events):
    bounded = SPEC.model_copy(update={"lifetime": False})
    frame = frame_of(spark, events)
    for spec in (SPEC, bounded):
        exact = [f.name for f in spec.features if spec is bounded or f.aggregation.kind not in ("sum", "mean", "std", "sum_of_squares")]
        direct = spec.snapshots_of_events(frame, DAYS[2:4]).select(*KEYS, "as_of", *exact)
        assert_close(rows_of(direct), rows_of(spec.snapshots(spec.tiles(frame), DAYS[2:4]).select(*KEYS, "as_of", *exact)))


def assert_close(got, expected):
    assert got.keys() == expected.keys()
    for cell, row in expected.items():
        for name, want in row.items():
            assert got[cell][name] == (pytest.approx(want, rel=1e-9, abs=1e-9) if isinstance(want, float) else want), (cell, name)


def test_results_do_not_depend_on_the_sessions_zone_or_partitions(spark, events):
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        frame = frame_of(spark, events)
        few, many = frame.coalesce(1), frame.repartition(7)
        assert rows_of(SPEC.tiles(few).withColumnRenamed("day", "as_of").select(*KEYS, "as_of", "rows", "price_total")) == rows_of(
            SPEC.tiles(many).withColumnRenamed("day", "as_of").select(*KEYS, "as_of", "rows", "price_total")
        )
        return
    frame = frame_of(spark, events)
    before = {
        name: spark.conf.get(name) for name in ("spark.sql.session.timeZone", "spark.sql.ansi.enabled", "spark.sql.shuffle.partitions")
    }
    results = []
    try:
        for zone, ansi, partitions in (("UTC", "true", "2"), ("Pacific/Kiritimati", "false", "5"), ("America/Los_Angeles", "true", "1")):
            spark.conf.set("spark.sql.session.timeZone", zone)
            spark.conf.set("spark.sql.ansi.enabled", ansi)
            spark.conf.set("spark.sql.shuffle.partitions", partitions)
            exact = [
                f.name
                for f in SPEC.features
                if f.aggregation.kind in ("count", "active_days", "distinct", "days_since_last", "top_category")
            ]
            frame_now = SPEC.snapshots(SPEC.tiles(frame), DAYS).selectExpr(
                *KEYS, "as_of", "unix_micros(known_at) as known", "price_sum_8d", *exact
            )
            results.append(rows_of(frame_now))
    finally:
        for name, told in before.items():
            spark.conf.set(name, told)
    assert results[0] == results[1] == results[2]


def test_window_includes_as_of_and_excludes_the_day_before_its_first_day(spark):
    spec = FeatureSet(keys=("customer",), event_time="day", time_zone="UTC", windows=(3,), aggregations=(Count(),))
    events = [{**random_events(1)[0], "day": date(2026, 1, d)} for d in (7, 8, 10, 11)]
    got = rows_of(spec.snapshots(spec.tiles(frame_of(spark, events)), [date(2026, 1, 10)]), ("customer",))
    (row,) = got.values()
    assert row["event_count_3d"] == 2


def test_a_local_day_of_23_and_of_25_hours_counts_as_one(spark):
    spec = FeatureSet(keys=("customer",), event_time="t", time_zone="Europe/Berlin", windows=(1,), aggregations=(Count(), ActiveDays()))
    event = random_events(1)[0]
    spring = [
        datetime(2026, 3, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 21, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
    ]
    autumn = [datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 22, 59, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)]
    frame = frame_of(spark, [{**event, "t": moment} for moment in spring + autumn])
    got = rows_of(spec.snapshots(spec.tiles(frame), [date(2026, 3, 29), date(2026, 10, 25)]), ("customer",))
    assert [row["event_count_1d"] for row in got.values()] == [2, 2]
    assert [row["active_days_1d"] for row in got.values()] == [1, 1]
    assert sorted(row["known_at"] for row in got.values()) == [datetime(2026, 3, 29, 22), datetime(2026, 10, 25, 23)]


def test_an_inactive_entity_keeps_its_row_with_zeros_nulls_and_growing_recency(spark):
    spec = FeatureSet(
        keys=("customer",), event_time="t", time_zone="UTC", windows=(7,), lifetime=True,
        aggregations=(Count(), Sum(column="price"), Mean(column="price"), Max(column="price"), DaysSinceLast()),
    )  # fmt: skip
    event = {**random_events(1)[0], "t": datetime(2026, 1, 1, 12, tzinfo=UTC), "price": Decimal("2.50")}
    day = date(2026, 12, 31)
    frame = spec.snapshots(spec.tiles(frame_of(spark, [event])), [date(2025, 12, 31), day])
    ((cell, row),) = rows_of(frame, ("customer",)).items()
    assert cell[-1] == day
    assert (row["event_count_7d"], row["price_sum_7d"], row["price_mean_7d"], row["price_max_7d"]) == (0, Decimal("0.00"), None, None)
    assert (row["days_since_last_7d"], row["days_since_last_lifetime"], row["price_sum_lifetime"]) == (None, 364, Decimal("2.50"))


def test_decimal_sums_are_exact_beyond_64_bits_and_refuse_what_does_not_fit(spark):
    spec = FeatureSet(
        keys=("k",), event_time="d", time_zone="UTC", windows=(5,), lifetime=True, aggregations=(Sum(column="x"), Mean(column="x"))
    )
    big = Decimal("99999999999999999999999999.99")
    rows = [(1, date(2026, 1, d), big) for d in (1, 2, 3)]
    frame = spark.createDataFrame(rows, "k int, d date, x decimal(28,2)")
    ((_, row),) = rows_of(spec.snapshots(spec.tiles(frame), [date(2026, 1, 3)]), ("k",)).items()
    assert row["x_sum_5d"] == row["x_sum_lifetime"] == Decimal("299999999999999999999999999.97")
    assert row["x_mean_5d"] == big
    whole = spark.createDataFrame([(1, date(2026, 1, 1), 2**63 - 1), (1, date(2026, 1, 2), 1)], "k int, d date, x bigint")
    with pytest.raises(Exception, match=r"x_sum_5d.*does not fit"):
        spec.snapshots(spec.tiles(whole), [date(2026, 1, 2)]).collect()
    same_day = spark.createDataFrame([(1, date(2026, 1, 1), 2**63 - 1), (1, date(2026, 1, 1), 1)], "k int, d date, x bigint")
    with pytest.raises(Exception, match=r"the sum of column x over one day does not fit"):
        spec.tiles(same_day).collect()


def test_copies_of_an_event_count_once_by_the_declared_winner(spark):
    schema = "k int, d date, id string, version int, x int"
    rows = [
        (1, date(2026, 1, 1), "e1", 1, 10),
        (1, date(2026, 1, 1), "e1", 2, 20),
        (1, date(2026, 1, 1), None, 1, 5),
        (1, date(2026, 1, 1), None, 1, 5),
    ]
    frame = spark.createDataFrame(rows, schema)
    for keep, total in (("last", 30), ("first", 20)):
        spec = FeatureSet(
            keys=("k",), event_time="d", time_zone="UTC", windows=(1,), aggregations=(Sum(column="x"), Count()),
            deduplicate=Deduplication(event_id="id", order_by="version", keep=keep),
        )  # fmt: skip
        ((_, row),) = rows_of(spec.snapshots(spec.tiles(frame), [date(2026, 1, 1)]), ("k",)).items()
        assert (row["x_sum_1d"], row["event_count_1d"]) == (total, 3)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("gross", {"x_sum_1d": 30, "event_count_1d": 2}),
        ("net", {"x_sum_1d": 23, "event_count_1d": 2}),
        ("apart", {"x_sum_1d": 30, "event_count_1d": 2, "refund_count_1d": 1, "refund_total_1d": -7}),
    ],
)
def test_refunds_follow_the_declared_rule(spark, rule, expected):
    spec = FeatureSet(
        keys=("k",), event_time="d", time_zone="UTC", windows=(1,), aggregations=(Sum(column="x"), Count()),
        refunds=Refunds(column="x", rule=rule),
    )  # fmt: skip
    frame = spark.createDataFrame([(1, date(2026, 1, 1), x) for x in (10, 20, -7)], "k int, d date, x int")
    ((_, row),) = rows_of(spec.snapshots(spec.tiles(frame), [date(2026, 1, 1)]), ("k",)).items()
    assert {name: row[name] for name in expected} == expected


def test_rows_that_are_left_out_are_counted(spark):
    from pyspark.sql import Observation

    from sparkds.features.tiles import tiles_frame

    spec = FeatureSet(
        keys=("k",), event_time="d", time_zone="UTC", windows=(1,), aggregations=(Sum(column="x"),), first_day=date(2026, 1, 2)
    )
    rows = [(None, 2, 1.0), (1, None, 1.0), (1, 1, 1.0), (1, 9, 1.0), (1, 3, math.nan), (1, 3, None), (1, 3, math.inf), (1, 3, 2.0)]
    frame = spark.createDataFrame([(k, d and date(2026, 1, d), x) for k, d, x in rows], "k int, d date, x double")
    intake = Observation("intake")
    (tile,) = tiles_frame(spec, frame, last=date(2026, 1, 5), intake=intake).collect()
    assert (tile["day"], tile["x_total"]) == (date(2026, 1, 3), 2.0)
    assert intake.get == {
        "n_events": 8, "n_taken": 4, "n_null_key": 1, "n_null_time": 1, "n_future": 1, "n_before_first_day": 1, "n_no_value.x": 3,
    }  # fmt: skip


def test_approximate_distinct_is_within_its_error_and_merges_without_counting_twice(spark):
    spec = FeatureSet(
        keys=("k",), event_time="d", time_zone="UTC", windows=(2,), lifetime=True,
        aggregations=(ApproxDistinct(column="x"), Distinct(column="x")),
    )  # fmt: skip
    frame = spark.range(60_000).selectExpr(
        "1 as k", "date_add(date'2026-01-01', cast(id % 5 as int)) as d", "cast(id % 20000 as string) as x"
    )
    ((_, row),) = rows_of(spec.snapshots(spec.tiles(frame), [date(2026, 1, 5)]), ("k",)).items()
    for name in ("2d", "lifetime"):
        exact = row[f"x_distinct_{name}"]
        assert row[f"x_approx_distinct_{name}"] == pytest.approx(exact, rel=4 * 1.04 / 64)
    assert row["x_distinct_lifetime"] == 20_000


def test_names_with_dots_spaces_and_unicode_are_columns_like_others(spark):
    spec = FeatureSet(keys=("the.key",), event_time="when it was", time_zone="UTC", windows=(1,), aggregations=(Sum(column="Preis €"),))
    frame = spark.createDataFrame([(1, date(2026, 1, 1), 3)], "`the.key` int, `when it was` date, `Preis €` int")
    (row,) = spec.snapshots(spec.tiles(frame), [date(2026, 1, 1)]).collect()
    assert (row["the.key"], row["Preis €_sum_1d"]) == (1, 3)


def test_no_events_give_no_rows_and_no_days_give_an_error(spark):
    frame = frame_of(spark, [])
    assert SPEC.snapshots(SPEC.tiles(frame), DAYS).collect() == []
    with pytest.raises(WindowError, match="no as_of day"):
        SPEC.snapshots(SPEC.tiles(frame), [])


def test_a_wrong_column_is_named_before_anything_runs(spark):
    frame = spark.createDataFrame([(1, date(2026, 1, 1), "a")], "k int, d date, price string")
    with pytest.raises(ColumnError, match="column 'prize' not found in events; did you mean 'price'"):
        FeatureSet(keys=("k",), event_time="d", time_zone="UTC", windows=(1,), aggregations=(Sum(column="prize"),)).tiles(frame)
    with pytest.raises(ColumnError, match="'price' has type string; a sum needs a number"):
        FeatureSet(keys=("k",), event_time="d", time_zone="UTC", windows=(1,), aggregations=(Sum(column="price"),)).tiles(frame)
    with pytest.raises(ColumnError, match="must be a timestamp or a date"):
        FeatureSet(keys=("k",), event_time="price", time_zone="UTC", windows=(1,), aggregations=(Count(),)).tiles(frame)


def test_a_timestamp_without_zone_is_refused_until_it_is_given_one(spark):
    frame = spark.sql("select 1 as k, timestamp_ntz'2026-03-29 23:30:00' as t")
    base = {"keys": ("k",), "event_time": "t", "time_zone": "Europe/Berlin", "windows": (1,), "aggregations": (Count(),)}
    with pytest.raises(ColumnError, match="timestamp without zone; say with event_time_zone"):
        FeatureSet(**base).tiles(frame)
    for zone, day in (("UTC", 30), ("Europe/Berlin", 29), ("America/New_York", 30)):
        (tile,) = FeatureSet(**base, event_time_zone=zone).tiles(frame).collect()
        assert tile["day"] == date(2026, 3, day), zone


def explained(frame, capsys):
    frame.explain()
    return capsys.readouterr().out


def test_windows_and_aggregations_add_no_scan_and_no_exchange(spark, events, tmp_path, capsys):
    frame_of(spark, events).write.parquet(str(tmp_path / "e"))
    frame = spark.read.parquet(str(tmp_path / "e"))
    small = FeatureSet(keys=KEYS, event_time="t", time_zone="UTC", windows=(7,), aggregations=(Sum(column="amount"),))
    for spec, days in ((small, DAYS[:1]), (SPEC, DAYS)):
        tiles = explained(spec.tiles(frame), capsys)
        assert len(re.findall(r"Exchange ", tiles)) == 1
        assert len(re.findall(r"FileScan", tiles)) == 1
        both = explained(spec.snapshots(spec.tiles(frame), days), capsys)
        assert len(re.findall(r"Exchange ", both)) == 2
        assert len(re.findall(r"FileScan", both)) == 1
        assert len(re.findall(r"MapInArrow", both)) == 1
        assert "Window" not in both
    assert "partial_" in explained(small.tiles(frame), capsys)


def test_tiles_of_some_days_skip_the_others_in_the_source(spark, events, tmp_path, capsys):
    frame_of(spark, events).write.parquet(str(tmp_path / "e"))
    spec = FeatureSet(keys=KEYS, event_time="t", time_zone="Europe/Berlin", windows=(7,), aggregations=(Count(),))
    plan = explained(spec.tiles(spark.read.parquet(str(tmp_path / "e")), first=date(2026, 3, 30)), capsys)
    assert re.search(r"PushedFilters: .*GreaterThanOrEqual\(t,2026-03-29 22:00:00", plan)


def test_rfm_measures_and_clv_summary_follow_their_definitions(spark):
    spec = FeatureSet(
        keys=("k",), event_time="d", time_zone="UTC", windows=(1,), rfm=RFM(value="x", frequency="purchase_days", monetary="mean")
    )
    rows = [(1, 1, 10.0), (1, 5, 4.0), (1, 5, 6.0), (1, 9, 0.0), (2, 2, -3.0)]
    frame = spark.createDataFrame([(k, date(2026, 1, d), x) for k, d, x in rows], "k int, d date, x double")
    got = rows_of(spec.snapshots(spec.tiles(frame), [date(2026, 1, 10)]), ("k",))
    buyer, other = got[1, date(2026, 1, 10)], got[2, date(2026, 1, 10)]
    assert (buyer["recency_days"], buyer["frequency"], buyer["monetary"]) == (5, 2, pytest.approx(20 / 3))
    assert (buyer["clv_frequency"], buyer["clv_recency_days"], buyer["clv_age_days"], buyer["clv_monetary"]) == (1, 4, 9, 10.0)
    assert (other["recency_days"], other["frequency"], other["monetary"], other["clv_frequency"], other["clv_monetary"]) == (
        None,
        0,
        None,
        None,
        None,
    )
