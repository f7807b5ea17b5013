"""Splits: which part and fold a row is in, the same in Python and on Spark, whatever else the table holds."""

import random
from collections import Counter
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.hashing import BUCKETS, bucket
from sparkds.models import split_columns
from sparkds.models.splits import (
    Cuts,
    ExpandingFolds,
    Hashed,
    HashFolds,
    Shares,
    Stratified,
    Temporal,
    entity_text,
    parts_of,
    stratified_cuts,
)

SHARES = Shares(train=0.7, validation=0.15, test=0.15)
TIME = Temporal(time="day", validation_from=date(2026, 3, 1), test_from=date(2026, 4, 1), gap_days=7, until=date(2026, 5, 1))
EXPANDING = ExpandingFolds(time="day", n_folds=3, test_days=10, gap_days=4, until=date(2026, 3, 1))


def test_parts_of_pinned_entities_never_change():
    split = Hashed(seed=7, shares=SHARES)
    told = [split.part_of(entity_text([f"u{i}", i])) for i in range(12)]
    assert told == ["train"] * 3 + ["validation"] + ["train"] * 3 + ["test"] + ["train"] * 2 + ["test", "train"]
    assert bucket("u0\x1f0", "split:7") == 191987570805246919


def test_a_hashed_split_has_its_shares_up_to_chance_and_another_seed_another_split():
    told = [Hashed(seed=1, shares=SHARES).part_of(str(i)) for i in range(20_000)]
    counts = Counter(told)
    for part, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert abs(counts[part] / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5
    other = [Hashed(seed=2, shares=SHARES).part_of(str(i)) for i in range(20_000)]
    assert sum(a == b for a, b in zip(told, other, strict=True)) / 20_000 == pytest.approx(0.7**2 + 2 * 0.15**2, abs=0.02)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 101, 1000])
def test_a_stratified_split_has_the_shares_of_every_class_within_rounding(n):
    split = Stratified(seed=3, shares=SHARES)
    entities = [str(i) for i in range(n + 40)]
    strata = ["a"] * n + ["b"] * 40
    counts = Counter(zip(parts_of(split, stratified_cuts(split, entities, strata), entities, strata), strata, strict=True))
    for stratum, size in (("a", n), ("b", 40)):
        reached = 0
        for part, cut in (("train", 0.7), ("validation", 0.85), ("test", 1.0)):
            reached += counts[part, stratum]
            assert abs(reached - cut * size) <= 0.5 + 1e-9


def test_an_entity_of_two_classes_cannot_be_stratified():
    with pytest.raises(DataError, match="several classes"):
        stratified_cuts(Stratified(seed=1, by=("c",), shares=SHARES), ["x", "x"], ["0", "1"])


@pytest.mark.parametrize("values", [(0.7, 0.2, 0.2), (0.5, 0.25, 0.2500001), (1, 0, 0)])
def test_shares_that_are_not_all_rows_are_refused(values):
    with pytest.raises(ValidationError):
        Shares(train=values[0], validation=values[1], test=values[2])


def test_a_gap_lies_before_each_boundary_and_belongs_to_no_part():
    parts = {day: TIME.part_of(day) for day in (date(2026, 1, 1) + timedelta(days=i) for i in range(130))}
    assert parts[date(2026, 2, 21)] == "train"
    assert {parts[date(2026, 2, 22) + timedelta(days=i)] for i in range(7)} == {"gap"}
    assert parts[date(2026, 3, 1)] == "validation"
    assert parts[date(2026, 3, 24)] == "validation"
    assert parts[date(2026, 3, 25)] == parts[date(2026, 3, 31)] == "gap"
    assert parts[date(2026, 4, 1)] == parts[date(2026, 4, 30)] == "test"
    assert parts[date(2026, 5, 1)] is None
    with pytest.raises(ValidationError, match="no day left"):
        Temporal(time="day", validation_from=date(2026, 3, 1), test_from=date(2026, 3, 8), gap_days=7)
    with pytest.raises(ValidationError, match="Europe/Berlin"):
        Temporal(time="t", validation_from=date(2026, 3, 1), test_from=date(2026, 4, 8), gap_days=7, time_zone="Mars")


def test_folds_by_hash_keep_an_entity_together_and_judge_every_row_once():
    entities = [str(i % 50) for i in range(500)]
    folds = HashFolds(n_folds=4, seed=2).indices(entities)
    judged = np.concatenate([test for _, test in folds])
    assert sorted(judged) == list(range(500))
    for train, test in folds:
        assert not {entities[i] for i in train} & {entities[i] for i in test}
        assert len(train) + len(test) == 500


def test_expanding_folds_train_on_the_past_only_and_leave_the_gap_out():
    days = [date(2026, 1, 1) + timedelta(days=i) for i in range(80)]
    for fold, (train, test) in enumerate(EXPANDING.indices(days)):
        assert [days[i] for i in test] == [EXPANDING.start_of(fold) + timedelta(days=i) for i in range(10)]
        assert max(days[i] for i in train) == EXPANDING.start_of(fold) - timedelta(days=5)
        assert {EXPANDING.fold_of(days[i]) for i in test} == {fold}
    assert EXPANDING.fold_of(EXPANDING.until) is None
    assert EXPANDING.fold_of(EXPANDING.start_of(0) - timedelta(days=1)) is None


def rows(n=400):
    rng = random.Random(5)
    return [(f"u{i % 90}", i, date(2026, 1, 1) + timedelta(days=rng.randrange(140)), rng.choice("aab")) for i in range(n)]


@pytest.fixture(scope="module")
def frame(spark):
    return spark.createDataFrame([*rows(), (None, 1, None, None)], "user string, n int, day date, label string").repartition(3)


def test_spark_gives_the_same_parts_and_folds_as_python(frame):
    hashed, stratified, folds = Hashed(seed=7, by=("user",), shares=SHARES), Stratified(seed=7, shares=SHARES), HashFolds(n_folds=7, seed=1)
    keys = ["user", "n"]
    cuts = split_columns.stratified_cuts_of(stratified, frame, keys=keys, label="label")
    both = [entity_text([user, n]) for user, n, _, _ in rows()]
    assert cuts == stratified_cuts(stratified, both, [row[3] for row in rows()])
    told = split_columns.split_frame(hashed, frame, keys=keys).withColumnRenamed("split", "hashed")
    told = split_columns.split_frame(stratified, told, keys=keys, label="label", cuts=cuts).withColumnRenamed("split", "stratified")
    told = split_columns.split_frame(TIME, told, keys=keys).withColumnRenamed("split", "temporal")
    told = told.withColumn("fold", split_columns.fold_column(folds, told, keys=keys))
    told = told.withColumn("expanding", split_columns.fold_column(EXPANDING, told, keys=keys))
    seen = told.collect()
    assert len(seen) == 401
    for row in seen:
        if row["user"] is None:
            assert [row[c] for c in ("hashed", "stratified", "temporal", "fold", "expanding")] == [None] * 5
            continue
        entity = entity_text([row["user"], row["n"]])
        assert row["hashed"] == hashed.part_of(row["user"])
        assert row["stratified"] == parts_of(stratified, cuts, [entity], [row["label"]])[0]
        assert row["temporal"] == TIME.part_of(row["day"])
        assert row["fold"] == folds.fold_of(entity)
        assert row["expanding"] == EXPANDING.fold_of(row["day"])


def test_cuts_are_the_same_when_the_search_goes_down_several_levels(frame, monkeypatch):
    stratified = Stratified(seed=9, shares=SHARES)
    wanted = split_columns.stratified_cuts_of(stratified, frame, keys=["user", "n"], label="label")
    monkeypatch.setattr(split_columns, "FEW", 0)
    monkeypatch.setattr(split_columns, "BITS", 20)
    assert split_columns.stratified_cuts_of(stratified, frame, keys=["user", "n"], label="label") == wanted
    assert all(isinstance(cut, Cuts) and 0 < cut.train < cut.validation < BUCKETS for cut in wanted.values())


def test_columns_that_cannot_be_split_by_are_named(spark, frame):
    with pytest.raises(ColumnError, match="did you mean 'user'"):
        split_columns.split_frame(Hashed(seed=1, by=("usr",), shares=SHARES), frame, keys=["n"])
    doubles = frame.selectExpr("cast(n as double) n", "cast(day as timestamp) day", "user", "label")
    with pytest.raises(ColumnError, match="double, whose text differs"):
        split_columns.split_frame(Hashed(seed=1, shares=SHARES), doubles, keys=["n"])
    with pytest.raises(ConfigError, match="give time_zone"):
        split_columns.split_frame(TIME, doubles, keys=["n"])
    with pytest.raises(ColumnError, match="needs a date or a timestamp"):
        split_columns.split_frame(TIME.model_copy(update={"time": "user"}), doubles, keys=["n"])
    with pytest.raises(DataError, match="entities have rows of several classes"):
        split_columns.stratified_cuts_of(Stratified(seed=1, by=("user",), shares=SHARES), frame, keys=["user", "n"], label="label")
    with pytest.raises(DataError, match="more than 50 classes"):
        split_columns.stratified_cuts_of(Stratified(seed=1, stratum="n", shares=SHARES), frame, keys=["user", "n"])


def test_days_of_timestamps_are_local_days(spark):
    frame = spark.createDataFrame([(1, datetime(2026, 2, 28, 12))], "n int, day timestamp").selectExpr(
        "n", "timestamp'2026-02-28T23:30:00Z' day"
    )
    for zone, part in (("UTC", "gap"), ("Europe/Berlin", "validation")):
        split = TIME.model_copy(update={"time_zone": zone})
        assert split_columns.split_frame(split, frame, keys=["n"]).collect()[0]["split"] == part
