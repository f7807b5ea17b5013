"""As-of joins: against a double loop over all rows and against pandas, and what the plan costs."""

import random
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features import FeatureTable, Spine, TrainingSet
from sparkds.features.training_set_statistics import STALENESS_EDGES, feature_statistics, spine_facts

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 27, 12, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 23, 12, tzinfo=UTC)
PARTS_A = ("a", "ab", "", None)
PARTS_B = ("bc", "c", "", None)

SPEC = TrainingSet(
    spine=Spine(keys=("a", "b"), time="t", time_zone="Europe/Berlin", label="label"),
    features=(
        FeatureTable(table="snap", lookback_days=2, tie="version", columns=("x", "price", "tags")),
        FeatureTable(table="hist", days_since={"recency_days": "last_day"}, prefix="h_", where="y >= 0"),
        FeatureTable(table="events", keys=("b",), table_keys={"b": "other.b"}, known_at="at", time_zone="America/New_York"),
    ),
)
SPINE_SCHEMA = "n int, a string, b string, t timestamp, label int"
SCHEMAS = {
    "snap": "a string, b string, known_at timestamp, version int, x int, price decimal(10,2), tags array<string>, complete boolean",
    "hist": "b string, a string, known_at timestamp, valid_from date, valid_to date, last_day date, y bigint, seen timestamp",
    "events": "`other.b` string, at date, `Preis €` double",
}


def moment(rng):
    """Instants around both changes of the clock, few enough to meet each other."""
    return rng.choice((SPRING, AUTUMN)) + timedelta(minutes=30 * rng.randrange(0, 240))


def random_rows(seed=3, n=160):
    rng = random.Random(seed)
    spine = [(i, rng.choice(PARTS_A), rng.choice(PARTS_B), moment(rng), rng.randrange(2)) for i in range(n)]
    spine += spine[:7]  # the same rows once more
    snap, hist, events = {}, {}, {}
    for i in range(n):
        a, b, at = rng.choice(PARTS_A), rng.choice(PARTS_B), rng.choice((moment(rng), None, moment(rng), moment(rng)))
        x = rng.choice((None, i))
        version = rng.choice((None, 1, 2))
        snap[a, b, at, version] = (a, b, at, version, x, Decimal(i) / 100, [str(i), "ä"], rng.choice((True, True, False, None)))
        b, at = rng.choice(PARTS_B), moment(rng)
        day = date(2026, rng.choice((3, 10)), rng.randrange(1, 28))
        hist[a, b, at] = (b, a, at, date(2026, 1, 1), None, rng.choice((day, None)), rng.randrange(-20, 90), at)
        day = moment(rng).date()
        events[b, day] = (b, day, i / 7)
    return spine, {"snap": list(snap.values()), "hist": list(hist.values()), "events": list(events.values())}


def midnight(day, zone):
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def last_known(rows, key, t, *, of, known, better=None, oldest=None):
    """The double loop: of all rows of a key the last one that is known at t."""
    found = None
    if any(part is None for part in key):
        return None
    for row in rows:
        at = known(row)
        if at is None or of(row) != key or at > t:
            continue
        rank = (at, better(row)) if better else (at,)
        if found is None or rank > found[0]:
            found = (rank, row)
    return None if found is None or (oldest is not None and found[0][0] < oldest) else found[1]


def expected(spine, tables):
    for n, a, b, t, label in spine:
        local = t.astimezone(BERLIN)
        ended = local.date() - timedelta(days=1)
        oldest = (local.replace(tzinfo=None) - timedelta(days=2)).replace(tzinfo=BERLIN).astimezone(UTC)
        snap = last_known(
            [row for row in tables["snap"] if row[7]], (a, b), t, of=lambda r: (r[0], r[1]), known=lambda r: r[2],
            better=lambda r: -1 if r[3] is None else r[3], oldest=oldest,
        )  # fmt: skip
        hist = last_known([row for row in tables["hist"] if row[6] >= 0], (a, b), t, of=lambda r: (r[1], r[0]), known=lambda r: r[2])
        event = last_known(
            tables["events"], (b,), t, of=lambda r: (r[0],), known=lambda r: midnight(r[1] + timedelta(days=1), "America/New_York")
        )
        recency = None if hist is None or hist[5] is None else (ended - hist[5]).days
        yield (
            (n, a, b, micros(t), label),
            (snap[4], snap[5], tuple(snap[6])) if snap else (None, None, None),
            (hist[6], micros(hist[7]), recency) if hist else (None, None, None),
            event[2] if event else None,
            (micros(snap[2]) if snap else None, micros(hist[2]) if hist else None),
        )


def micros(moment):
    return None if moment is None else (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def flat(row):
    return (
        (row["n"], row["a"], row["b"], row["t"], row["label"]),
        (row["x"], row["price"], None if row["tags"] is None else tuple(row["tags"])),
        (row["h_y"], row["h_seen"], row["h_recency_days"]),
        row["Preis €"],
        (row["snap_known_at"], row["hist_known_at"]),
    )


def in_micros(frame):
    names = [f"unix_micros(`{name}`) as `{name}`" if dtype == "timestamp" else f"`{name}`" for name, dtype in frame.dtypes]
    return frame.selectExpr(*names)


def frames_of(spark, tables):
    return {name: spark.createDataFrame(rows, SCHEMAS[name]) for name, rows in tables.items()}


def test_every_row_takes_what_a_double_loop_over_all_rows_finds(spark):
    spine, tables = random_rows()
    frame, given = spark.createDataFrame(spine, SPINE_SCHEMA).repartition(3), frames_of(spark, tables)
    times = (min(row[3] for row in spine), max(row[3] for row in spine))
    made = SPEC.frame(frame, given, times=times)
    assert made.columns == [
        "n", "a", "b", "t", "label", "x", "price", "tags", "h_y", "h_seen", "h_recency_days", "Preis €",
        "snap_known_at", "hist_known_at", "events_known_at",
    ]  # fmt: skip
    assert dict(made.dtypes) | {"price": "decimal(10,2)", "tags": "array<string>", "h_recency_days": "int"} == dict(made.dtypes)
    got = sorted(map(flat, in_micros(made).collect()), key=repr)
    want = sorted(expected(spine, tables), key=repr)
    assert got == want
    assert sum(row[1][2] is not None for row in want) > 20
    assert sum(row[2][0] is not None for row in want) > 20
    assert sum(row[3] is not None for row in want) > 20


def test_statistics_are_what_counting_by_hand_gives(spark):
    spine, tables = random_rows(5, 60)
    frame, given = spark.createDataFrame(spine, SPINE_SCHEMA), frames_of(spark, tables)
    facts = spine_facts(SPEC.spine, frame)
    assert (facts.n_rows, facts.n_null_key) == (len(spine), sum(row[1] is None or row[2] is None for row in spine))
    assert (facts.first, facts.last) == (min(row[3] for row in spine), max(row[3] for row in spine))
    shuffled = spark.createDataFrame(spine[::-1], SPINE_SCHEMA)
    assert spine_facts(SPEC.spine, shuffled).spine_hash == facts.spine_hash
    other = spark.createDataFrame([*spine[:-1], spine[0]], SPINE_SCHEMA)
    assert spine_facts(SPEC.spine, other).spine_hash != facts.spine_hash
    resolved = SPEC.resolved(dict(frame.dtypes), {name: dict(table.dtypes) for name, table in given.items()})
    found = {row.feature: row for row in feature_statistics(SPEC.spine, resolved, SPEC.frame(frame, given))}
    want = list(expected(spine, tables))
    ages = [(row[0][3] - row[4][0]) / 86_400_000_000 for row in want if row[4][0] is not None and row[1][0] is not None]
    x = found["x"]
    assert (x.feature_table, x.n_rows, x.n_matched) == ("snap", len(spine), sum(row[4][0] is not None for row in want))
    assert x.n_values == len(ages)
    assert x.match_rate == x.n_matched / len(spine)
    for (low, high, n), edge in zip(x.staleness, STALENESS_EDGES, strict=True):
        assert low == edge
        assert n == sum(low <= age and (high is None or age < high) for age in ages)
    assert found["h_recency_days"].n_values == sum(row[2][2] is not None for row in want)
    assert found["Preis €"].n_values == sum(row[3] is not None for row in want)


def test_the_join_agrees_with_merge_asof_of_pandas(spark):
    rng = random.Random(11)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    spine = [(rng.randrange(9), start + timedelta(hours=rng.randrange(2000)), i) for i in range(300)]
    known = {(rng.randrange(9), start + timedelta(hours=rng.randrange(2000))): i for i in range(300)}
    table = [(k, at, v) for (k, at), v in known.items()]
    spec = TrainingSet(
        spine=Spine(keys=("k",), time="t", time_zone="UTC"),
        features=(FeatureTable(table="f"), FeatureTable(table="f", name="young", lookback_days=7, prefix="young_")),
    )
    given = spark.createDataFrame(table, "k int, known_at timestamp, v int")
    made = spec.frame(spark.createDataFrame(spine, "k bigint, t timestamp, i int"), {"f": given, "young": given})
    got = {row["i"]: (row["v"], row["young_v"]) for row in made.select("i", "v", "young_v").collect()}
    left = pd.DataFrame(spine, columns=["k", "t", "i"]).sort_values("t")
    right = pd.DataFrame(table, columns=["k", "at", "v"]).sort_values("at")
    want = [
        pd.merge_asof(left, right, left_on="t", right_on="at", by="k", tolerance=bound).set_index("i")["v"]
        for bound in (None, pd.Timedelta(days=7))
    ]
    assert got == {i: tuple(None if pd.isna(one[i]) else int(one[i]) for one in want) for _, _, i in spine}


def test_rows_come_in_the_order_of_the_spine_when_that_is_asked(spark):
    rng = random.Random(2)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [(rng.choice((None, 1, 2, 3)), start + timedelta(hours=rng.randrange(99)), i) for i in rng.sample(range(200), 200)]
    spec = TrainingSet(spine=Spine(keys=("k",), time="t", time_zone="UTC"), features=(FeatureTable(table="f"),), keep_order=True)
    frame = spark.createDataFrame(rows, "k int, t timestamp, i int")
    made = spec.frame(frame, {"f": spark.createDataFrame([(1, start, 5)], "k int, known_at timestamp, v int")})
    got = made.select("i", "v").collect()
    assert [row["i"] for row in got] == [i for _, _, i in rows]
    assert [row["v"] for row in got] == [5 if k == 1 else None for k, _, _ in rows]


def test_a_key_with_most_rows_keeps_all_its_values_and_null_keys_are_dealt_out(spark):
    frame = spark.range(60_000).selectExpr(
        "case when id % 5 < 3 then 1 when id % 5 = 3 then null else id end as k", "timestamp_seconds(1700000000 + id * 60) as t", "id"
    )
    table = spark.range(60_000).selectExpr(
        "case when id % 5 < 3 then 1 else id end as k", "timestamp_seconds(1700000000 + id * 60) as known_at", "id as v"
    )
    spec = TrainingSet(spine=Spine(keys=("k",), time="t", time_zone="UTC"), features=(FeatureTable(table="f"),))
    made = spec.frame(frame, {"f": table})
    row = made.selectExpr(
        "count(*) as n", "count_if(k is null and v is null) as n_null", "count_if(k is not null and v <=> id) as n_right"
    ).collect()[0]
    assert (row["n"], row["n_null"], row["n_right"]) == (60_000, 12_000, 48_000)


def test_two_rows_at_one_instant_are_refused_unless_a_tie_column_tells_them_apart(spark, tables):
    from sparkds.tables import TableSpec

    at = datetime(2026, 1, 1, tzinfo=UTC)
    frame = spark.createDataFrame([("c1", at + timedelta(days=1))], "k string, t timestamp")
    table = spark.createDataFrame([("c1", at, 1, 1.0), ("c1", at, 1, 2.0)], "k string, known_at timestamp, v int, x double")
    spine = Spine(keys=("k",), time="t", time_zone="UTC")

    def write(**declared):
        made = TrainingSet(spine=spine, features=(FeatureTable(table="f", **declared),)).frame(frame, {"f": table})
        tables.replace("out", made, rows=None, metadata={}, spec=TableSpec())

    with pytest.raises(DataError, match=r"feature table 'f' has two rows of one key and one known_at \(k=c1, 2026-01-01 in UTC\)"):
        write()
    with pytest.raises(DataError, match="they are equal in the tie column 'v' too"):
        write(tie="v")
    write(tie="x")
    assert [row["v"] for row in tables.read("out").collect()] == [1]


def explained(frame, capsys, mode="simple"):
    frame.explain(mode=mode)
    return capsys.readouterr().out


def test_tables_of_one_key_cost_one_exchange_and_one_scan_each(spark, tmp_path, capsys):
    spine, rows = random_rows(7, 20)
    given = {**frames_of(spark, rows), "spine": spark.createDataFrame(spine, SPINE_SCHEMA)}
    for name, frame in given.items():
        frame.write.parquet(str(tmp_path / name))
    read = {name: spark.read.parquet(str(tmp_path / name)) for name in given}
    base = read.pop("spine")
    times = (SPRING, AUTUMN)
    plan = explained(SPEC.frame(base, read, times=times), capsys)  # two sets of keys: (a, b) and (b)
    assert len(re.findall(r"Exchange ", plan)) == 2
    assert len(re.findall(r"FileScan", plan)) == 4
    assert len(re.findall(r"Sort ", plan)) == 2
    assert "Join" not in plan
    plan = explained(SPEC.frame(base, read, times=times), capsys, "formatted")
    assert re.search(r"PushedFilters: .*LessThanOrEqual\(known_at,2026-10-23", plan)
    assert re.search(r"PushedFilters: .*GreaterThanOrEqual\(known_at,2026-03-23", plan)
    many = TrainingSet(spine=SPEC.spine, features=tuple(FeatureTable(table="hist", name=f"h{i}", prefix=f"h{i}_") for i in range(4)))
    plan = explained(many.frame(base, {f"h{i}": read["hist"] for i in range(4)}), capsys)
    assert len(re.findall(r"Exchange ", plan)) == 1
    assert len(re.findall(r"FileScan", plan)) == 5


def test_a_thousand_features_are_planned_in_seconds(spark):
    import time

    base = spark.range(5).selectExpr("id as k", "timestamp_seconds(id) as t")
    table = spark.range(5).selectExpr("id as k", "timestamp_seconds(id) as known_at", *(f"id as `f.{i}`" for i in range(1000)))
    spec = TrainingSet(spine=Spine(keys=("k",), time="t", time_zone="UTC"), features=(FeatureTable(table="wide", lookback_days=3),))
    began = time.monotonic()
    made = spec.frame(base, {"wide": table})
    assert len(made.columns) == 1003
    assert time.monotonic() - began < 60


def test_names_with_dots_spaces_and_unicode_are_columns_like_others(spark):
    spec = TrainingSet(
        spine=Spine(keys=("the.key",), time="when it was", time_zone="UTC"),
        features=(FeatureTable(table="my table", known_at="known.at", tie="tie `x`", where="`Preis €` > 0"),),
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    base = spark.createDataFrame([(1, at, "ü")], "`the.key` int, `when it was` timestamp, `spine.c` string")
    table = spark.createDataFrame(
        [(1, at, 1, 3), (1, at, 2, 4), (1, at, 3, -1)], "`the.key` int, `known.at` timestamp, `tie ``x``` int, `Preis €` int"
    )
    made = spec.frame(base, {"my table": table})
    assert made.columns == ["the.key", "when it was", "spine.c", "Preis €", "my table_known_at"]
    (row,) = made.collect()
    assert (row["the.key"], row["spine.c"], row["Preis €"]) == (1, "ü", 4)


def test_a_date_in_the_spine_is_its_first_instant_and_a_date_in_a_table_is_known_when_the_day_is_over(spark):
    spec = TrainingSet(spine=Spine(keys=("k",), time="t", time_zone="Europe/Berlin"), features=(FeatureTable(table="f", known_at="day"),))
    base = spark.createDataFrame([(1, date(2026, 3, d)) for d in (28, 29, 30)], "k int, t date")
    table = spark.createDataFrame([(1, date(2026, 3, d), d) for d in (28, 29)], "k int, day date, v int")
    made = in_micros(spec.frame(base, {"f": table}))
    got = {row["t"].day: (row["v"], row["f_known_at"]) for row in made.collect()}
    assert got == {
        28: (None, None),
        29: (28, micros(datetime(2026, 3, 28, 23, tzinfo=UTC))),
        30: (29, micros(datetime(2026, 3, 29, 22, tzinfo=UTC))),
    }


def test_results_do_not_depend_on_the_sessions_zone_or_partitions(spark):
    spine, tables = random_rows(9, 40)
    frame, given = spark.createDataFrame(spine, SPINE_SCHEMA), frames_of(spark, tables)
    if type(spark).__module__.startswith("pyspark.sql.connect"):  # where settings may be locked
        few = SPEC.frame(frame.coalesce(1), {name: table.repartition(7) for name, table in given.items()})
        assert sorted(map(flat, in_micros(few).collect()), key=repr) == sorted(expected(spine, tables), key=repr)
        return
    names = ("spark.sql.session.timeZone", "spark.sql.ansi.enabled", "spark.sql.shuffle.partitions")
    before = {name: spark.conf.get(name) for name in names}
    results = []
    try:
        for values in (("Pacific/Kiritimati", "false", "5"), ("America/Los_Angeles", "true", "1")):
            for name, value in zip(names, values, strict=True):
                spark.conf.set(name, value)
            results.append(sorted(map(flat, in_micros(SPEC.frame(frame, given)).collect()), key=repr))
            results.append(spine_facts(SPEC.spine, frame).spine_hash)
    finally:
        for name, told in before.items():
            spark.conf.set(name, told)
    assert results[:2] == results[2:]
    assert results[0] == sorted(expected(spine, tables), key=repr)


AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "label", "told"),
    [
        ([], None, "the spine has no row"),
        ([(1, AT, 1), (1, None, 1)], None, "1 of 2 rows of the spine have no time in 't'"),
        ([(1, AT, 1), (2, AT, 1), (2, AT, None)], "y", "label 'y' is 1 in all 2 rows"),
        ([(1, AT, None)], "y", "none of 1 rows of the spine has a label in 'y'"),
    ],
)
def test_a_spine_that_cannot_be_used_is_refused(spark, rows, label, told):
    frame = spark.createDataFrame(rows, "k int, t timestamp, y int")
    with pytest.raises(DataError, match=told):
        spine_facts(Spine(keys=("k",), time="t", time_zone="UTC", label=label), frame)


def test_a_predicate_that_is_none_and_a_name_that_stands_twice_are_refused(spark):
    base = spark.createDataFrame([(1, AT)], "k int, t timestamp")
    table = spark.createDataFrame([(1, AT, 1)], "k int, known_at timestamp, v int")
    spine = Spine(keys=("k",), time="t", time_zone="UTC")
    for where, told in (("v +", "cannot be read"), ("v + 1", "gives int; a predicate gives true or false"), ("w > 1", "cannot be read")):
        with pytest.raises(ConfigError, match=re.escape(told)):
            TrainingSet(spine=spine, features=(FeatureTable(table="f", where=where),)).frame(base, {"f": table})
    with pytest.raises(ColumnError, match="the spine has two columns named 'k'"):
        TrainingSet(spine=spine, features=(FeatureTable(table="f"),)).frame(base.select("k", "k", "t"), {"f": table})
