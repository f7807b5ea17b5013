"""Steps of a history: what new days and late events change is what a computation from all tiles would say."""

import random
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from pyspark.sql import functions as F

from sparkds.errors import ConfigError
from sparkds.features import ActiveDays, Count, DaysSinceFirst, DaysSinceLast, Distinct, FeatureSet, Last, Max, Mean, Std, Sum
from sparkds.features.history import history_frame
from sparkds.features.history_check import history_difference
from sparkds.features.history_deltas import continues, delta_step_frame
from sparkds.features.history_step import affected_frame, late_frame, moved_frame, step_frame, stepped_frame, tile_days
from sparkds.features.snapshots import checkpoints_frame

BEGIN = date(2026, 1, 1)
THROUGH, LAST = date(2026, 2, 15), date(2026, 2, 18)
RECENT = date(2026, 2, 4)
"""Late events of the world `recent` are not older: their interval ends before THROUGH, and older tiles are not read."""
FIELDS = "world string, `the.key` string, t timestamp, amount double, price decimal(10,2), item string"
BOUNDED = FeatureSet(
    keys=("the.key",),
    event_time="t",
    time_zone="UTC",
    windows=(1, 3, 8),
    aggregations=(
        Count(),
        Count(name="many", where="price > 20"),
        *(kind(column=column) for kind in (Sum, Mean, Max) for column in ("amount", "price")),
        Std(column="amount"),
        Last(column="item", tie="price"),
        Distinct(column="item"),
        ActiveDays(),
        DaysSinceLast(),
    ),
)
LIFETIME = BOUNDED.model_copy(update={"lifetime": True})


def event(rng, entity, day):
    moment = datetime(day.year, day.month, day.day, rng.randrange(24), tzinfo=UTC)
    price = rng.choice([None, Decimal(rng.randrange(-999, 9999)) / 100])
    return (entity, moment, rng.choice([None, 0.0, rng.uniform(-1e3, 1e3), 1e17]), price, rng.choice([None, "x", "y"]))


def worlds_of_events():
    """Events of sparse entities, some inactive for long; the same after late ones came and others were taken back, all or recent ones."""
    rng = random.Random(3)
    told = [
        event(rng, f"e{number}", BEGIN + timedelta(days=rng.randrange(49)))
        for number in range(60)
        for _ in range(rng.choice([1, 1, 2, 4, 9]))
    ]
    rows = [("before", *e) for e in told if e[1].date() <= THROUGH]
    for world, since in (("old", BEGIN), ("recent", RECENT)):
        late = [event(rng, f"e{rng.randrange(70)}", since + timedelta(days=rng.randrange((THROUGH - since).days))) for _ in range(14)]
        kept = [e for e in told if not since <= e[1].date() <= THROUGH or rng.random() > 0.1]
        rows += [(world, *e) for e in kept + late]
    return rows


@pytest.fixture(scope="module")
def tiles(spark, tmp_path_factory):
    """Tiles by world, stored."""
    path = str(tmp_path_factory.mktemp("tiles") / "t")
    wide = LIFETIME.model_copy(update={"keys": ("world", "the.key")})
    wide.tiles(spark.createDataFrame(worlds_of_events(), FIELDS)).coalesce(1).write.parquet(path)
    return lambda world: spark.read.parquet(path).where(F.col("world") == world).drop("world")


def feed(before, after):
    """Change feed of a table of which every row was written again."""
    return before.selectExpr("*", "'delete' as _change_type").unionByName(after.selectExpr("*", "'insert' as _change_type"))


def rows(frame):
    return sorted(map(tuple, frame.collect()), key=repr)


def step_of(spec, before, after, history, *, begin, base=None, first=None):
    late = late_frame(spec, feed(before, after), first=first, through=THROUGH)
    affected = affected_frame(spec, [late, moved_frame(spec, after, THROUGH + timedelta(days=1), LAST)])
    return step_frame(spec, after if base is None else base, history, affected, begin=begin, first=first, last=LAST)


CASES = {
    "recent changes, windows only": (BOUNDED, "recent", RECENT, None),
    "old changes, from a first day on": (BOUNDED, "old", date(2026, 1, 20), date(2026, 1, 20)),
    "lifetime windows from a checkpoint": (LIFETIME, "recent", RECENT, None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_over_new_days_and_changed_tiles_ends_in_the_history_of_all_tiles(spark, tiles, tmp_path, case):
    spec, world, begin, first = CASES[case]
    before, after = tiles("before"), tiles(world)
    history_frame(spec, before, last=THROUGH, first=first).write.parquet(str(tmp_path / "h"))
    history = spark.read.parquet(str(tmp_path / "h"))
    base = None
    if spec.lifetime:
        through = RECENT - timedelta(days=1 + spec.longest_window)
        later = after.where(F.col("day") > F.lit(through))
        base = checkpoints_frame(spec, after, through).unionByName(later)
    step = step_of(spec, before, after, history, begin=begin, base=base, first=first)
    assert rows(stepped_frame(spec, history, step)) == rows(history_frame(spec, after, last=LAST, first=first))


def test_the_affected_entities_are_found_in_one_tile_day_more_than_windows(tiles, capsys):
    day = date(2026, 2, 18)
    assert [(a.day, b.day) for a, b in tile_days(BOUNDED, day, day)] == [(10, 10), (15, 15), (17, 18)]
    told = filters(moved_frame(BOUNDED, tiles("recent"), day, day), capsys)
    assert len(told) == 1
    for sign in ("EqualTo(day,2026-02-10)", "EqualTo(day,2026-02-15)", "(day,2026-02-17),LessThanOrEqual(day,2026-02-18)"):
        assert sign in told[0]


def filters(frame, capsys):
    """Filters on the day that the scans of a plan hand down to the files."""
    frame.explain("formatted")
    return [told for told in re.findall(r"PushedFilters: \[(.*)\]", capsys.readouterr().out) if "(day," in told]


def test_a_tile_that_was_written_again_as_it_was_is_not_late_and_a_value_that_moved_to_another_column_is(spark):
    spec = FeatureSet(keys=("k",), event_time="d", time_zone="UTC", windows=(2,), aggregations=(Max(column="x"), Max(column="y")))
    day = date(2026, 1, 3)
    told = [(1, day, 5, None, "delete"), (1, day, 5, None, "insert"), (2, day, 5, None, "update_preimage")]
    told += [(2, day, None, 5, "update_postimage"), (3, day, 1, 1, "delete"), (4, date(2026, 1, 9), 1, 1, "insert")]
    changes = spark.createDataFrame(told, "k int, day date, x_max int, y_max int, _change_type string")
    found = late_frame(spec, changes, first=None, through=date(2026, 1, 4)).collect()
    assert sorted(map(tuple, found)) == [(k, day, date(2026, 1, 4), 1) for k in (2, 3)]


def test_a_difference_names_how_many_entities_and_which_columns(tiles):
    before = tiles("before")
    history = history_frame(BOUNDED, before, last=THROUGH)
    wrong = history.where("`the.key` != 'e1' or valid_to is not null").withColumn(
        "event_count_3d", F.expr("if(`the.key` in ('e2', 'e3'), event_count_3d + 1, event_count_3d)")
    )
    found = history_difference(BOUNDED, wrong, before, first=None, last=THROUGH, share=1.0, salt="s")
    assert (found.n_different, found.columns) == (3, ("valid_from", "event_count_3d"))
    some = history_difference(BOUNDED, history, before, first=None, last=THROUGH, share=0.5, salt="s")
    assert 0 < some.n_entities < found.n_entities
    assert (some.n_different, some.columns) == (0, ())


EXACT = FeatureSet(
    keys=("the.key",),
    event_time="t",
    time_zone="UTC",
    windows=(1, 3, 8),
    lifetime=True,
    aggregations=(
        Count(),
        Count(column="price"),
        *(kind(column="price") for kind in (Sum, Mean)),
        *(kind(column="amount", windows=(), lifetime=True) for kind in (Sum, Max)),
        ActiveDays(where="price > 20"),
        DaysSinceLast(where="price > 20", name="since"),
        DaysSinceFirst(windows=(), lifetime=True),
    ),
)


def test_signed_deltas_of_new_days_end_in_the_history_of_all_tiles_and_read_no_other_tile(spark, tmp_path, capsys):
    rows_of_world = [row for row in worlds_of_events() if row[0] == "before"]
    rng = random.Random(8)
    rows_of_world += [("before", *event(rng, f"e{number}", THROUGH + timedelta(days=1 + number % 3))) for number in range(50, 66)]
    EXACT.tiles(spark.createDataFrame(rows_of_world, FIELDS)).write.parquet(str(tmp_path / "t"))
    tiles = spark.read.parquet(str(tmp_path / "t"))
    assert continues(EXACT, tiles)
    history_frame(EXACT, tiles, last=THROUGH).write.parquet(str(tmp_path / "h"))
    history = spark.read.parquet(str(tmp_path / "h"))
    first = THROUGH + timedelta(days=1)
    affected = affected_frame(EXACT, [moved_frame(EXACT, tiles, first, LAST)])
    step = delta_step_frame(EXACT, tiles, history, affected, first=first, last=LAST)
    assert rows(stepped_frame(EXACT, history, step)) == rows(history_frame(EXACT, tiles, last=LAST))
    scans = filters(step, capsys)
    assert scans
    assert all("GreaterThanOrEqual(day,2026-02-08),LessThanOrEqual(day,2026-02-10)" in told for told in scans)


def test_signed_deltas_are_refused_where_a_state_stands_nowhere_or_cannot_be_continued(tiles):
    assert not continues(BOUNDED, tiles("before"))
    mean = FeatureSet(keys=("the.key",), event_time="t", time_zone="UTC", windows=(3,), aggregations=(Mean(column="price"),))
    assert not continues(mean, tiles("before"))
    doubles = mean.model_copy(update={"aggregations": (Sum(column="amount"),)})
    assert not continues(doubles, tiles("before"))
    with pytest.raises(ConfigError, match="signed deltas cannot continue"):
        delta_step_frame(doubles, tiles("before"), tiles("before"), tiles("before"), first=LAST, last=LAST)
