"""The passes on Spark: planted leaks are found and nothing else, counts equal naive loops, costs are as promised, bad input is named."""

import io
import math
from contextlib import redirect_stdout
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from pyspark.sql import functions as F
from sklearn.metrics import roc_auc_score

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features.leakage import Accepted, FeatureWindow, Instant, Lag, LeakageCheck, Split
from sparkds.features.leakage.columns import columns_of
from sparkds.features.leakage.finding import TITLES, found
from sparkds.features.leakage.inspection import inspected
from sparkds.features.leakage.overlap import categories_frame, overlap_frame, read_categories, read_overlap
from sparkds.features.leakage.overview import PART, Instants, with_part
from sparkds.features.leakage.previous_period import BEFORE, lagged_frame
from tests.features.leakage.worlds import clean_columns

TIME_KINDS = ("feature_time", "known_after_label", "known_after_time", "label_before_time", "window_overlap", "label_reaches_test")


def only(*kinds):
    """Severities that leave everything else out."""
    return {kind: "off" for kind in TITLES if kind not in kinds}


def frame_of(spark, columns, schema):
    return spark.createDataFrame([tuple(row) for row in zip(*columns.values(), strict=True)], schema)


def severe(seen):
    return {(one.kind, one.column) for one in found(seen.findings) if one.severity != "info"}


def count(plan, node):
    return plan.count(node)


def plan_of(frame):
    told = io.StringIO()
    with redirect_stdout(told):
        frame.explain()
    return told.getvalue().split("== Initial Plan ==")[0]


# What is planted is found, and nothing else

N = 3_200
PLANTED = {
    "refund € id.x": "single_feature",
    "reason": "presence",
    "order`number": "id_like",
    "token": "id_like",
    "income": "null_share",
    "country": "psi",
    "age": "ks",
    "plan": "missing_categories",
    "visits": "type_differs",
    "zeros": "column_missing",
    "member": "type_differs",
}
SCHEMA = (
    "`customer id` string, at date, label boolean, split string, `refund € id.x` double, reason double, `order``number` bigint, token string, "
    "income decimal(12,2), country string, age float, plan string, normal double, visits int, zeros double, letter string, `long tail` string, "
    "member boolean"
)


def planted_columns(seed=11):
    rng = np.random.default_rng(seed)
    entity, of_test = np.arange(N) % (N // 2), (np.arange(N) % (N // 2)) % 4 == 0
    y, clean = rng.random(N) < 0.4, clean_columns(rng, N)
    u = rng.random(N)
    return {
        "key": [f"c{i}" for i in entity],
        "at": [date(2026, 1, 1) + timedelta(days=30 * (i // (N // 2))) for i in range(N)],
        "label": y.tolist(),
        "split": ["test" if t else "train" for t in of_test],
        "refund": (y + rng.normal(0, 0.2, N)).tolist(),
        "reason": [float(x) if v < (0.9 if told else 0.1) else None for x, v, told in zip(rng.normal(size=N), u, y, strict=True)],
        "order": rng.permutation(N).tolist(),
        "token": [f"t-{i:x}" for i in rng.permutation(N) * 7919],
        "income": [
            None if v < (0.3 if t else 0.05) else round(float(x), 2)
            for v, t, x in zip(rng.random(N), of_test, rng.lognormal(8, 1, N), strict=True)
        ],
        "country": [str(rng.choice(list("abc"), p=(0.1, 0.3, 0.6) if t else (0.6, 0.3, 0.1))) for t in of_test],
        "age": (40 + 10 * (rng.normal(size=N) + 0.35 * of_test)).tolist(),
        "plan": ["new" if t and v < 0.03 else str(p) for t, v, p in zip(of_test, rng.random(N), rng.choice(list("xyz"), N), strict=True)],
        "normal": clean["normal"],
        "visits": clean["visits"],
        "zeros": clean["zeros"],
        "letter": clean["letter"],
        "long tail": clean["long tail"],
        "member": (rng.random(N) < 0.5).tolist(),
    }


@pytest.fixture(scope="module")
def planted(spark):
    columns = planted_columns()
    columns["income"] = [None if v is None else Decimal(str(v)) for v in columns["income"]]
    training = frame_of(spark, columns, SCHEMA)
    scoring = training.where("split = 'train'").drop("zeros", "split", "label").withColumn("visits", F.col("visits").cast("string"))
    scoring = scoring.withColumn("member", F.col("member").cast("string"))
    check = LeakageCheck(keys=("customer id",), label="label", task="binary", split=Split(column="split", by="entity"), ignore=("at",))
    return columns, inspected(training, check, others={"scoring": scoring})


@pytest.mark.parametrize("column", PLANTED)
def test_a_planted_leak_or_shift_is_found_and_it_alone(planted, column):
    _, seen = planted
    assert {one.kind for one in found(seen.findings) if one.column == column} == {PLANTED[column]}


def test_nothing_else_is_found_and_every_check_says_what_it_did(planted):
    _, seen = planted
    assert severe(seen) == {(kind, column) for column, kind in PLANTED.items()}
    assert {one.kind for one in seen.findings} == set(TITLES)
    assert {one.kind for one in seen.findings if one.severity == "skipped"} == {*TIME_KINDS, "lag_collapse"}
    assert all(one.what and (one.to_do or one.severity in ("ok", "skipped")) for one in seen.findings)
    assert [one.kind for one in seen.stopping] == ["single_feature", "column_missing", "type_differs", "type_differs"]


def test_figures_of_the_findings_are_those_of_the_rows(planted):
    columns, seen = planted
    by = {(one.kind, one.column): one for one in found(seen.findings)}
    y = np.array(columns["label"])
    assert by["single_feature", "refund € id.x"].figure == pytest.approx(roc_auc_score(y, columns["refund"]), abs=2e-3)
    present = np.array([value is not None for value in columns["reason"]])
    assert by["presence", "reason"].figure == pytest.approx(roc_auc_score(y, present))
    row = {(row.column, row.part): row for row in seen.alignment}
    test = np.array(columns["split"]) == "test"
    nulls = np.array([value is None for value in columns["income"]])
    assert row["income", "test"].null_share == pytest.approx(nulls[test].mean())
    assert row["income", "test"].null_share_reference == pytest.approx(nulls[~test].mean())
    from scipy.stats import ks_2samp

    age = np.array(columns["age"], dtype=np.float32)
    exact = ks_2samp(age[test], age[~test]).statistic
    assert row["age", "test"].ks <= exact + 1e-12 <= row["age", "test"].ks_bound + 2e-12
    assert row["visits", "test"].ks == pytest.approx(
        ks_2samp(np.array(columns["visits"])[test], np.array(columns["visits"])[~test]).statistic
    )
    assert row["label", "test"].n == test.sum()
    assert row["zeros", "scoring"].reason == "the part has no such column"
    assert math.isnan(row["zeros", "scoring"].psi)
    assert row["normal", "scoring"].psi == 0


# Clean tables


def clean_frame(spark, seed, n=1_600, periods=2):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=n // periods)
    entity = np.arange(n) % (n // periods)
    honest = base[entity] + rng.normal(0, 0.3, n)
    y = rng.random(n) < 1 / (1 + np.exp(-3 * base[entity]))
    columns = clean_columns(rng, n)
    columns |= {"income": rng.integers(20_000, 180_000, n).tolist(), "honest": honest.tolist()}
    at = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=30 * int(i)) for i in np.arange(n) // (n // periods)]
    lead = {
        "k": entity.tolist(), "at": at, "until": [one + timedelta(days=30) for one in at], "known": [one - timedelta(hours=1) for one in at],
        "y": y.astype(int).tolist(), "split": ["test" if i % 3 == 0 else "train" for i in entity],
    }  # fmt: skip
    schema = (
        "k int, at timestamp, until timestamp, known timestamp, y int, split string, normal double, heavy double, zeros double, visits int, "
        "`rare flag` int, holes double, letter string, `long tail` string, constant double, empty double, income bigint, honest double"
    )
    return frame_of(spark, lead | columns, schema)


def clean_check(**changes):
    told = {
        "keys": ("k",), "label": "y", "task": "binary", "time": "at", "label_until": "until", "known_at": ("known",),
        "split": Split(column="split", by="entity"), "lag": Lag(), **changes,
    }  # fmt: skip
    return LeakageCheck(**told)


def test_a_clean_table_gives_no_finding_above_info(spark):
    seen = inspected(clean_frame(spark, 1), clean_check(), others={"scoring": clean_frame(spark, 51)})
    assert severe(seen) == set()
    assert {(one.kind, one.column) for one in found(seen.findings)} <= {("id_like", "income")}
    assert {one.column for one in seen.findings if one.kind == "lag_collapse"} == {"honest"}  # looked at, and kept its skill


@pytest.mark.slow
def test_clean_tables_of_many_seeds_give_no_finding_above_info(spark):
    assert [(seed, severe(inspected(clean_frame(spark, seed), clean_check()))) for seed in range(100, 112)] == [
        (s, set()) for s in range(100, 112)
    ]


def test_features_of_cdnow_give_no_finding_above_info(spark):
    from sparkds.datasets import cdnow

    as_of, rows = date(1997, 9, 30), {}
    for one in cdnow():
        if int(one.customer_id) % 4 == 0:
            rows.setdefault(one.customer_id, []).append(one)
    table = []
    for i, (customer, bought) in enumerate(sorted(rows.items())):
        past = [one for one in bought if one.date <= as_of]
        if not past:
            continue
        recent = [one for one in past if one.date > as_of - timedelta(days=90)]
        later = any(as_of < one.date <= as_of + timedelta(days=90) for one in bought)
        mean = float(sum(one.amount for one in recent)) / len(recent) if recent else None
        table.append(
            (customer, as_of, later, (as_of - past[-1].date).days, len(past), float(sum(one.amount for one in past)), len(recent), mean,
             past[-1].date, as_of + timedelta(days=90), "test" if i % 4 == 0 else "train")
        )  # fmt: skip
    schema = (
        "customer_id string, as_of date, buys boolean, recency_days int, orders int, amount double, orders_90d int, mean_90d double, "
        "last_date date, label_until date, split string"
    )
    check = LeakageCheck(
        keys=("customer_id",), label="buys", task="binary", time=Instant(column="as_of", plus_days=1), label_until="label_until",
        windows=(FeatureWindow(features=("*_90d", "orders", "amount"), last_day=-1),), split=Split(column="split", by="entity"),
    )  # fmt: skip
    seen = inspected(spark.createDataFrame(table, schema), check)
    assert found(seen.findings) == []
    assert {one.kind for one in seen.findings if one.severity == "ok"} >= {
        "feature_time",
        "window_overlap",
        "label_before_time",
        "presence",
    }


# Rules about time


TIMES = "k int, at timestamp, starts timestamp, y int, x double, next_week double, paid_at timestamp, loaded_at timestamp, checked timestamp, ends date, part string"


def times_of(n=200):
    rows = []
    for i in range(n):
        at = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=i % 50)
        starts = at + timedelta(days=1)
        paid = starts + timedelta(hours=3 * (i % 4) - 6)
        loaded = starts + (timedelta(minutes=1) if i % 10 == 0 else timedelta(0))
        checked = at + (timedelta(hours=5) if i % 8 == 0 else timedelta(0))
        rows.append(
            (
                i,
                at,
                starts,
                i % 2,
                float(i % 7),
                0.0,
                paid,
                loaded,
                checked,
                (starts + timedelta(days=9)).date(),
                "train" if i % 50 < 30 else "test",
            )
        )
    return rows


def test_rows_that_break_a_rule_about_time_are_counted_as_a_naive_loop_counts_them(spark):
    rows = times_of()
    check = LeakageCheck(
        keys=("k",), label="y", task="binary", time="at", label_from="starts", label_until="ends", time_zone="America/New_York",
        feature_times=("paid_at",), known_at=("loaded_at", "checked"), windows=(FeatureWindow(features=("next_*",), last_day=1),),
        split=Split(column="part", by="time"), severity=only(*TIME_KINDS),
    )  # fmt: skip
    seen = inspected(spark.createDataFrame(rows, TIMES), check)
    found_of = {(one.kind, one.column): one for one in seen.findings if one.severity == "error"}
    assert {at: one.n_rows for at, one in found_of.items()} == {
        ("feature_time", "paid_at"): sum(row[6] >= row[2] for row in rows),
        ("known_after_label", "loaded_at"): sum(row[7] > row[2] for row in rows),
        ("known_after_time", "loaded_at"): sum(row[1] < row[7] <= row[2] for row in rows),
        ("known_after_time", "checked"): sum(row[1] < row[8] <= row[2] for row in rows),
        ("window_overlap", "next_week"): len(rows),  # ends at the midnight after the label's first day
    }
    assert "2026-03-02T07:00:00-05:00" in found_of["feature_time", "paid_at"].what
    (reaching,) = [one for one in seen.findings if one.kind == "label_reaches_test"]
    assert (reaching.severity, reaching.column) == ("warning", "ends")
    assert {one.kind for one in seen.findings if one.severity == "ok"} == {"label_before_time"}


def test_a_split_by_day_counts_the_labels_that_reach_its_test_part_and_expects_entities_on_both_sides(spark):
    rows = times_of()
    check = LeakageCheck(
        keys=("k",), label="y", task="binary", time="at", label_until="ends", time_zone="UTC", features=("x",),
        split=Split(until=date(2026, 4, 1)), severity=only("label_reaches_test", "label_before_time"),
    )  # fmt: skip
    seen = inspected(spark.createDataFrame(rows, TIMES), check)
    wanted = sum(row[1].date() < date(2026, 4, 1) <= row[9] for row in rows)
    assert [(one.kind, one.n_rows) for one in found(seen.findings)] == [("label_reaches_test", wanted)]
    assert seen.overview.parts == {
        "train": sum(row[1].date() < date(2026, 4, 1) for row in rows),
        "test": sum(row[1].date() >= date(2026, 4, 1) for row in rows),
    }


def test_dates_are_first_instants_and_ends_of_labels_are_whole_days_in_the_declared_zone(spark):
    rows = [
        (1, date(2026, 3, 8), date(2026, 3, 9), datetime(2026, 3, 9, 3, 59, 59, tzinfo=UTC), 0),
        (2, date(2026, 3, 8), date(2026, 3, 8), datetime(2026, 3, 9, 4, 0, tzinfo=UTC), 1),
    ]
    frame = spark.createDataFrame(rows, "k int, at date, ends date, seen timestamp, y int")
    check = LeakageCheck(
        keys=("k",), label="y", task="binary", time=Instant(column="at", plus_days=1), label_until="ends", feature_times=("seen",),
        time_zone="America/New_York", features=("seen",), severity=only("feature_time", "label_before_time"),
    )  # fmt: skip
    # midnight after 8 March is 04:00 UTC, the night in which the clock goes forward being over; the label of row 2 is over then
    seen = inspected(frame, check)
    assert [(one.kind, one.n_rows) for one in found(seen.findings)] == [("feature_time", 1), ("label_before_time", 1)]


# Overlap, categories, lags against naive loops


def test_overlap_equals_naive_loops_also_with_nulls_in_turn_and_copies_of_copies(spark):
    rng = np.random.default_rng(4)
    rows = [
        (
            int(rng.integers(0, 30)),
            int(rng.integers(0, 3)),
            rng.choice([None, 1, 2]),
            rng.choice([None, 1, 2]),
            int(rng.integers(0, 2)),
            "train" if rng.random() < 0.6 else "test",
        )
        for _ in range(150)
    ]
    rows = [tuple(None if v is None else v if isinstance(v, str) else int(v) for v in row) for row in rows]
    rows += [(None, 0, 9, None, 1, "train"), (None, 1, None, 9, 1, "test")]  # no entity, and no copy of each other
    frame = spark.createDataFrame(rows, "k int, at int, a int, b int, y int, split string").withColumnRenamed("split", PART)
    told = read_overlap(overlap_frame(frame, train="train", test="test", keys=("k",), name=("k", "at"), content=("a", "b", "y")))
    train, test = ([row for row in rows if row[5] == part] for part in ("train", "test"))
    content = [row[2:5] for row in train]
    entities = {row[0] for row in train} - {None}
    assert told.n_rows_of_both == sum(row[0] in entities for row in test)
    assert told.n_entities_both == len({row[0] for row in test if row[0] in entities})
    assert told.n_duplicates == sum(row[:5] in {other[:5] for other in train} for row in test) > 0
    assert told.n_copied + told.n_duplicates == sum(row[2:5] in content for row in test)
    assert told.n_repeated_train == sum(content.count(one) > 1 for one in content)
    assert (told.n_train, told.n_test) == (len(train), len(test))


def test_categories_equal_naive_loops(spark):
    rng = np.random.default_rng(6)
    rows = [
        (str(part), None if rng.random() < 0.1 else f"v{rng.zipf(1.7)}", str(rng.choice(["x", "y"])))
        for part in rng.choice(["train", "test", "new"], 300)
    ]
    frame = spark.createDataFrame(rows, f"`{PART}` string, `a.b` string, c string")
    told = read_categories(
        categories_frame([frame], train="train", parts=("test", "new"), texts=("a.b", "c")), parts=("test", "new"), texts=("a.b", "c")
    )
    train = [row[1] for row in rows if row[0] == "train" and row[1]]
    one = next(one for one in told if (one.column, one.part) == ("a.b", "new"))
    there = [row[1] for row in rows if row[0] == "new" and row[1]]
    new = [value for value in there if value not in train]
    assert (one.n, one.n_unseen, one.n_values, one.example) == (len(there), len(new), len(set(new)), min(new))
    assert (one.n_train, one.n_once, one.n_twice) == (len(train), *(sum(train.count(v) == k for v in set(train)) for k in (1, 2)))
    assert [(one.n_unseen, one.example) for one in told if one.column == "c"] == [(0, ""), (0, "")]


def test_the_previous_period_is_the_entitys_row_before_and_not_older_than_said(spark):
    rng = np.random.default_rng(8)
    rows = [
        (int(k), int(t), float(v), int(v > 0))
        for k, t, v in zip(rng.integers(0, 12, 120), rng.integers(0, 40, 120), rng.normal(size=120), strict=True)
    ]
    rows += [(None, 3, 1.0, 1)]
    day = 86_400_000_000
    frame = spark.createDataFrame(rows, "k int, t int, `x.y` double, y int")
    pairs = lagged_frame(frame, keys=("k",), time=F.col("t").cast("bigint") * day, label="y", features=("x.y",), most_days=5)
    got = sorted((row["y"], row["x.y"], row[BEFORE + "x.y"]) for row in pairs.collect())
    assert len(got) == sum(any(o[0] == k and t - 5 <= o[1] < t for o in rows) for k, t in {(r[0], r[1]) for r in rows} - {(None, 3)})
    values = {row[2]: row for row in rows}
    for label, now, before in got:
        row, past = values[now], values[before]
        assert label == row[3]
        assert past[0] == row[0]
        assert past[1] == max(o[1] for o in rows if o[0] == row[0] and o[1] < row[1])


def test_a_feature_filled_in_after_the_label_collapses_and_an_honest_one_does_not(spark):
    rng = np.random.default_rng(12)
    n, periods = 500, 3
    base = rng.normal(size=n)
    rows = []
    for t in range(periods):
        y = rng.random(n) < 1 / (1 + np.exp(-1.5 * base))
        honest = base + rng.normal(0, 0.3, n)
        refund = y + rng.normal(0, 0.8, n)
        rows += [(i, date(2026, 1 + t, 1), int(y[i]), float(honest[i]), float(refund[i])) for i in range(n)]
    frame = spark.createDataFrame(rows, "k int, at date, y int, honest double, refund double")
    check = LeakageCheck(
        keys=("k",), label="y", task="binary", time="at", lag=Lag(skill=0.4), severity=only("lag_collapse"),
    )  # fmt: skip
    seen = inspected(frame, check)
    assert severe(seen) == {("lag_collapse", "refund")}


def test_a_regression_is_judged_by_correlation_and_means(spark):
    rng = np.random.default_rng(13)
    n = 1_200
    of_test = rng.random(n) < 0.4
    y = rng.normal(size=n) + 0.5 * of_test
    rows = [
        (
            i,
            float(y[i]),
            float(2 * y[i] + rng.normal(0, 0.1)),
            None if y[i] < 0 else 1.0,
            float(rng.normal()),
            "test" if of_test[i] else "train",
        )
        for i in range(n)
    ]
    frame = spark.createDataFrame(rows, "k int, y double, leak double, presence double, clean double, split string")
    check = LeakageCheck(
        keys=("k",), label="y", task="regression", split=Split(column="split", by="entity"),
        severity=only("single_feature", "presence", "target_rate"),
    )  # fmt: skip
    seen = inspected(frame, check)
    assert severe(seen) == {("single_feature", "leak"), ("presence", "presence"), ("target_rate", "y")}
    (rate,) = [one for one in seen.findings if one.kind == "target_rate"]
    assert rate.figure == pytest.approx(abs(y[of_test].mean() - y[~of_test].mean()) / y[~of_test].std(ddof=1))


# Where parts stand


def test_parts_in_a_table_of_their_own_and_test_rows_in_another_give_the_same_findings(spark):
    frame = clean_frame(spark, 3, n=800)
    quiet = only("entity_overlap", "psi")
    check = clean_check(lag=None, severity=quiet)
    one = inspected(frame, check)
    splits = frame.select("k", F.col("split").alias("part")).distinct()
    beside = check.model_copy(update={"split": Split(column="part", table="splits", by="entity")})
    two = inspected(frame.drop("split"), beside, splits=splits)
    apart = check.model_copy(update={"split": Split(test_table="holdout", by="entity")})
    train, test = (frame.where(f"split = '{part}'").drop("split") for part in ("train", "test"))
    three = inspected(train, apart, test=test.withColumn("visits", F.col("visits").cast("bigint")))
    assert one.findings == two.findings == three.findings
    assert severe(one) == set()
    assert repr(one.alignment) == repr(two.alignment) == repr(three.alignment)


def test_an_accepted_finding_stays_as_info_and_one_that_is_gone_is_told(spark):
    frame = clean_frame(spark, 3, n=800).withColumn("leak", F.col("y") * 1.0)
    accepted = (Accepted(kind="single_feature", column="leak", reason="known at the till"), Accepted(kind="psi", column="x", reason="old"))
    check = clean_check(lag=None, split=None, severity=only("single_feature"), accepted=accepted)
    seen = inspected(frame, check)
    assert [(one.severity, one.column) for one in found(seen.findings)] == [("info", "leak")]
    assert "known at the till" in found(seen.findings)[0].what
    assert not seen.stopping
    assert [warning for warning in seen.warnings if "psi of 'x'" in warning]


# Costs


def test_each_pass_scans_once_and_exchanges_once(spark, tmp_path):
    path = str(tmp_path / "t")
    clean_frame(spark, 1, n=400).write.parquet(path)
    frame = spark.read.parquet(path)
    check = clean_check()
    columns = columns_of(dict(frame.dtypes), check, "t")
    instants = Instants(check, columns.types, "UTC")
    parted = with_part(frame, check, instants)
    overlap = plan_of(overlap_frame(parted, train="train", test="test", keys=("k",), name=("k", "at"), content=columns.names))
    assert (count(overlap, "FileScan"), count(overlap, "Exchange hashpartitioning"), count(overlap, "Exchange SinglePartition")) == (
        1,
        1,
        1,
    )
    categories = plan_of(categories_frame([parted], train="train", parts=("test",), texts=columns.texts))
    assert (count(categories, "FileScan"), count(categories, "Exchange hashpartitioning")) == (1, 2)  # values, then columns
    lagged = plan_of(lagged_frame(parted, keys=("k",), time=instants.time, label="y", features=columns.names))
    assert (count(lagged, "FileScan"), count(lagged, "Exchange"), count(lagged, "Sort [")) == (1, 1, 1)


def wide_frame(spark, n=240, k=1_000):
    rng = np.random.default_rng(2)
    y, values = rng.integers(0, 2, n), rng.integers(0, 4, (n, k))
    schema = "k int, y int, split string, `leak.x` double, " + ", ".join(f"c{j} {'int' if j % 2 else 'double'}" for j in range(k))
    rows = [
        (i, int(y[i]), "test" if i % 2 else "train", float(y[i]), *(int(v) if j % 2 else float(v) for j, v in enumerate(values[i])))
        for i in range(n)
    ]
    return spark.createDataFrame(rows, schema)


@pytest.mark.slow
def test_a_thousand_columns_are_looked_at_in_the_same_passes(spark):
    check = LeakageCheck(
        keys=("k",), label="y", task="binary", split=Split(column="split", by="entity"),
        severity=only("single_feature", "presence", "id_like", "duplicate_rows"),
    )  # fmt: skip
    seen = inspected(wide_frame(spark), check)
    assert severe(seen) == {("single_feature", "leak.x")}
    assert len(seen.relevances) == 1_001


@pytest.mark.slow
def test_a_thousand_columns_are_aligned_too(spark):
    seen = inspected(wide_frame(spark), LeakageCheck(keys=("k",), label="y", task="binary", split=Split(column="split", by="entity")))
    assert severe(seen) == {("single_feature", "leak.x")}
    assert len(seen.alignment) == 1_002


# Bad input

BAD = "k int, y int, split string, x double"
GOOD_ROWS = [(i, i % 2, "train" if i < 30 else "test", float(i % 5)) for i in range(60)]


def bad_rows(**changes):
    return [
        tuple(
            changes.get(name, value) if not callable(changes.get(name)) else changes[name](i)
            for name, value in zip(("k", "y", "split", "x"), row, strict=True)
        )
        for i, row in enumerate(GOOD_ROWS)
    ]


@pytest.mark.parametrize(
    ("rows", "changes", "error", "told"),
    [
        (bad_rows(y=None), {}, DataError, "none of 60 rows has a label in column 'y'"),
        (bad_rows(y=1), {}, DataError, r"one class \(1\) only"),
        (bad_rows(y=lambda i: i % 3), {}, DataError, "binary needs two"),
        (bad_rows(split="train"), {}, DataError, "no row is in the part 'test'"),
        (bad_rows(split=None), {}, DataError, "no row is in the part 'train'"),
        (bad_rows(split=lambda i: "tset" if i > 40 else "train"), {}, DataError, "such as 'tset'.*known are train, test, validation, gap"),
        ([], {}, DataError, "has no row"),
        (GOOD_ROWS, {"label": "target"}, ColumnError, "'target' not found"),
        (GOOD_ROWS, {"keys": ("key",)}, ColumnError, "'key' not found"),
        (GOOD_ROWS, {"positive": "yes"}, DataError, "'yes' does not occur in label 'y', whose classes are 0, 1"),
        (GOOD_ROWS, {"split": Split(column="x.y")}, ColumnError, "'x.y' not found"),
        (GOOD_ROWS, {"split": Split(column="part", table="splits")}, DataError, "give it as `splits`"),
        (GOOD_ROWS, {"split": Split(test_table="holdout")}, DataError, "give it as `test`"),
    ],
)
def test_bad_input_is_refused_by_name(spark, rows, changes, error, told):
    check = LeakageCheck(**{"keys": ("k",), "label": "y", "task": "binary", "split": Split(column="split"), **changes})
    with pytest.raises(error, match=told):
        inspected(spark.createDataFrame(rows, BAD), check)


def test_a_row_that_a_split_table_puts_on_both_sides_is_refused(spark):
    frame = spark.createDataFrame(GOOD_ROWS, BAD).drop("split")
    splits = spark.createDataFrame(
        [(i, part) for i in range(60) for part in ("train", "test") if part == "train" or i > 40], "k int, part string"
    )
    check = LeakageCheck(keys=("k",), label="y", task="binary", split=Split(column="part", table="splits"))
    with pytest.raises(DataError, match="such as 'test and train'"):
        inspected(frame, check, splits=splits)


def test_nulls_are_left_out_and_told(spark):
    rows = [(i, None if i % 10 == 0 else i % 2, None if i % 7 == 0 else "train" if i % 3 else "test", float(i % 5)) for i in range(90)]
    check = LeakageCheck(keys=("k",), label="y", task="binary", split=Split(column="split"), severity=only("entity_overlap"))
    seen = inspected(spark.createDataFrame(rows, BAD), check)
    assert seen.warnings[:2] == (
        f"{sum(row[2] is None for row in rows)} rows are in no part and are not looked at",
        f"{sum(row[2] is not None and row[1] is None for row in rows)} rows have no label; no skill is of them",
    )


def test_times_without_a_zone_that_they_need_are_refused(spark):
    frame = spark.createDataFrame([(1, 0, date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC))], "k int, y int, at date, seen timestamp")
    check = LeakageCheck(keys=("k",), label="y", task="binary", time="at")
    with pytest.raises(ConfigError, match="give time_zone"):
        inspected(frame, check)
