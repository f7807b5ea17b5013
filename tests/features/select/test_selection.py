"""Selection on Spark: every rule on real rows, correlations against NumPy, samples that only rows and seed decide, and bad input."""

import io
import math
from contextlib import redirect_stdout
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features.relevance import labelled_counts
from sparkds.features.select import FeatureSelection, Importance, Rules
from sparkds.features.select.column_figures import column_figures, distinct_values
from sparkds.features.select.correlation import Centre, correlated_pairs, pairs_frame
from sparkds.features.select.sample import class_weights, training_sample
from sparkds.features.select.selection import select_features, task_of
from sparkds.stats.relevance import relevances

SCHEMA = (
    "customer bigint, y int, amount double, stage string, `good.one` double, `its copy` double, `ünï` int, hub double, noise double, "
    "fax string, only string, `null or one` double, rare int, token string, code bigint, kind string, price decimal(12,2), day date, "
    "parts array<int>"
)
N = 1_200
PLAN = Importance(folds=2, repeats=1, max_rows=1_000, model="linear")
SELECTION = FeatureSelection(label="y", leave_out=("customer", "amount", "stage"), importance=PLAN)


def world(seed=4):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(N):
        good, other, noise = (float(v) for v in rng.normal(size=3))
        y = int(good + 0.8 * other + rng.logistic() * 0.7 > 0)
        rows.append(
            (
                i,
                None if i % 40 == 0 else y,
                math.nan if i % 40 == 0 else good * 3 + float(rng.normal()),
                ("low", "middle", "high")[int(np.digitize(good, [-0.5, 0.7]))],
                good,
                math.nan if i % 11 == 0 else -2 * good + 0.05 * float(rng.normal()),
                round(other * 10),
                math.nan if i % 9 == 0 else good + 0.1 * float(rng.normal()),
                noise,
                "+49" if i % 30 == 0 else None,
                "same",
                1.0 if i % 3 else None,
                1 if i % 100 == 1 else 0,
                f"t{i}",
                10_000 + i * 7,
                str(rng.choice(["a", "b"], p=[0.8, 0.2] if y else [0.2, 0.8])),
                Decimal(int(rng.integers(1, 10**9))) / 100,
                date(2026, 1, 1) + timedelta(days=int(rng.integers(0, 60))),
                [1],
            )
        )
    return rows


@pytest.fixture(scope="module")
def rows():
    return world()


@pytest.fixture(scope="module")
def frame(spark, rows):
    return spark.createDataFrame(rows, SCHEMA).repartition(3)


@pytest.fixture(scope="module")
def found(frame):
    return select_features(frame, SELECTION)


def test_every_column_has_a_decision_and_each_rule_drops_its_own(found, frame):
    rules = {row.column: row.rule for row in found.decisions}
    assert list(rules) == [c for c in frame.columns if c not in ("customer", "y", "amount", "stage")]
    assert rules["fax"] == "null_share"
    assert rules["only"] == rules["null or one"] == "single_value"
    assert rules["rare"] == "near_zero_variance"
    assert rules["token"] == rules["code"] == "id_like"
    assert rules["noise"] == rules["price"] == rules["day"] == "not_relevant"
    assert rules["parts"] == "unusable_type"
    assert found.features == ("good.one", "ünï", "kind")
    assert all(row.reason for row in found.decisions)
    assert {row.column for row in found.decisions if row.rule == "correlated"} == {"its copy", "hub"}


def test_a_correlated_column_names_the_one_that_is_kept_over_it(found, rows):
    row = next(row for row in found.decisions if row.column == "its copy")
    pairs = np.array([(r[4], r[5]) for r in rows if r[1] is not None and not math.isnan(r[5])])
    assert row.correlated_with == "good.one"
    assert row.correlation == pytest.approx(np.corrcoef(pairs.T)[0, 1], abs=1e-12)
    assert "'good.one' is the more relevant" in row.reason


def test_figures_are_those_of_the_labelled_rows(found, rows):
    by = {row.column: row for row in found.decisions}
    kept = [r for r in rows if r[1] is not None]
    assert (found.n_rows, found.n_no_label, found.task) == (N, N - len(kept), "binary")
    assert found.classes == {"0": sum(r[1] == 0 for r in kept), "1": sum(r[1] == 1 for r in kept)}
    assert by["fax"].null_share == pytest.approx(sum(r[9] is None for r in kept) / len(kept))
    assert by["token"].n_distinct == len(kept)
    rare = sum(r[12] for r in kept)
    assert by["rare"].frequency_ratio == pytest.approx((len(kept) - rare) / rare)
    assert by["only"].frequency_ratio == math.inf
    assert by["ünï"].n_distinct == len({r[6] for r in kept})


def test_importance_says_what_it_rests_on(found):
    facts = found.importance
    assert facts.n_sampled == 1_000
    assert sum(facts.by_class.values()) == 1_000
    assert (facts.n_fits, facts.score_kind) == (2, "roc_auc")
    assert 0.8 < facts.score < 1
    assert facts.covered >= 0.9
    kept = [row for row in found.decisions if row.kept]
    assert {row.importance_rank for row in kept} == {1, 2, 3}
    assert all(row.selected_in > 0 and row.importance > 0 and row.importance_sd >= 0 for row in kept)


def test_partitions_and_order_of_rows_change_nothing(found, frame):
    again = select_features(frame.orderBy("noise").coalesce(1), SELECTION)
    assert again.features == found.features
    for one, other in zip(again.decisions, found.decisions, strict=True):
        for field in one._fields:
            value, wanted = getattr(one, field), getattr(other, field)
            assert value == wanted or value == pytest.approx(wanted, rel=1e-9, nan_ok=True), (one.column, field)


def test_what_is_always_kept_stays_and_goes_before_its_rivals(frame):
    selection = SELECTION.model_copy(update={"always_keep": ("its copy", "noise", "only"), "importance": None})
    by = {row.column: row for row in select_features(frame, selection).decisions}
    assert by["noise"].kept
    assert by["noise"].reason.startswith("always kept by declaration, although not_relevant")
    assert by["only"].kept
    assert by["its copy"].kept
    assert by["good.one"].rule == "correlated"
    assert by["good.one"].correlated_with == "its copy"
    assert "which is always kept" in by["good.one"].reason
    assert math.isnan(by["its copy"].importance)


def test_elimination_and_a_label_of_numbers_go_the_same_road(frame):
    plan = PLAN.model_copy(update={"keep": "elimination"})
    selection = FeatureSelection(label="amount", features=("good.one", "ünï", "kind", "noise"), importance=plan)
    found = select_features(frame, selection.model_copy(update={"rules": Rules(false_discovery_rate=None)}))
    assert (found.task, found.classes, found.importance.score_kind) == ("regression", {}, "r2")
    assert found.features == ("good.one",)
    assert [n for n, _, _ in found.importance.curve] == [4, 3, 2, 1]
    assert sorted(row.elimination_rank for row in found.decisions) == [1, 2, 3, 4]
    assert {row.rule for row in found.decisions} == {"", "elimination"}


def test_several_classes_and_shapley_values(frame):
    plan = PLAN.model_copy(update={"measure": "shapley", "explained_rows": 40})
    found = select_features(frame, FeatureSelection(label="stage", features=("good.one", "noise", "kind"), importance=plan))
    assert found.task == "multiclass"
    assert found.features == ("good.one",)
    assert found.importance.importance_of == "mean absolute Shapley value of the predicted chance"


def test_no_survivor_is_a_selection_without_features(frame):
    found = select_features(frame, FeatureSelection(label="y", features=("noise", "token", "fax"), importance=PLAN))
    assert found.features == ()
    assert found.importance is None


def test_correlations_are_numpys_over_the_rows_that_have_both(spark, monkeypatch):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12)) + 1e6
    x[rng.random(x.shape) < 0.1] = np.nan
    x[:, 3] = 5.0
    frame = spark.createDataFrame([tuple(map(float, row)) for row in x], ", ".join(f"`v.{i}` double" for i in range(12))).repartition(3)
    names = [f"v.{i}" for i in range(12)]
    wanted = {}
    for i in range(12):
        for j in range(i + 1, 12):
            both = ~np.isnan(x[:, i] + x[:, j])
            if 3 not in (i, j):
                wanted[names[i], names[j]] = (both.sum(), np.corrcoef(x[both, i], x[both, j])[0, 1])
    centres = [Centre(1e6, 3.0)] * 12
    monkeypatch.setattr("sparkds.features.select.correlation.BLOCK", 5)
    for at_once in (1_024, 8):
        monkeypatch.setattr("sparkds.features.select.correlation.AT_ONCE", at_once)
        found = {(p.left, p.right): p for p in correlated_pairs(frame, names, centres, limit=0.2)}
        assert set(found) == {pair for pair, (_, r) in wanted.items() if abs(r) > 0.2}
        for pair, one in found.items():
            assert one.n == wanted[pair][0]
            assert one.correlation == pytest.approx(wanted[pair][1], abs=1e-9)


def test_correlations_are_one_scan_and_one_exchange_and_so_are_different_values(spark, frame, tmp_path):
    frame.select("`good.one`", "hub", "kind").write.parquet(str(tmp_path / "rows"))
    stored = spark.read.parquet(str(tmp_path / "rows"))
    told = io.StringIO()
    with redirect_stdout(told):
        pairs_frame(stored, ["good.one", "hub"], [Centre(0, 1)] * 2, limit=0.5).explain()
    plan = told.getvalue().partition("== Initial Plan ==")[0]
    assert (plan.count("FileScan"), plan.count("Exchange")) == (1, 1)
    estimated = distinct_values(stored, ["good.one", "kind"])
    assert estimated["kind"] == pytest.approx(2, abs=0.01)
    assert estimated["good.one"] == pytest.approx(N, rel=0.05)


def test_figures_beyond_the_sample_come_from_counts_and_sketches(frame, rows, monkeypatch):
    monkeypatch.setattr("sparkds.features.relevance.SAMPLE_ROWS", 300)
    columns = ["rare", "token", "kind", "only", "null or one", "ünï"]
    counts = labelled_counts(frame, label="y", task="binary", columns=columns)
    assert counts.bins.n_sampled == 300
    told = relevances(counts.features, task="binary")
    by = {f.column: f for f in column_figures(frame.where("y is not null"), counts, told)}
    kept = [r for r in rows if r[1] is not None]
    rare = sum(r[12] for r in kept)
    assert (by["rare"].top, by["rare"].second, by["rare"].single) == (len(kept) - rare, rare, False)
    assert by["token"].n_distinct == pytest.approx(len(kept), rel=0.05)
    assert by["kind"].n_distinct == 2
    assert by["only"].single
    assert by["null or one"].single


def test_a_sample_is_decided_by_rows_and_seed_and_has_enough_of_a_rare_class(frame, rows):
    labelled = frame.where("y is not null")
    counts = labelled_counts(labelled, label="rare", task="binary", columns=["good.one", "kind"])
    asked = {
        "label": "rare",
        "task": "binary",
        "columns": ["good.one", "kind"],
        "bins": counts.bins,
        "classes": counts.classes,
        "most": 200,
    }
    one = training_sample(labelled, **asked, seed=1, group="kind")
    same = training_sample(labelled.orderBy("noise").coalesce(1), **asked, seed=1, group="kind")
    other = training_sample(labelled, **asked, seed=2)
    np.testing.assert_array_equal(one.x, same.x)
    assert not np.array_equal(one.x, other.x)
    assert one.by_class["1"] == counts.classes["1"]  # all 12: fifty times as likely as in proportion
    assert sum(one.by_class.values()) == 200
    assert set(one.groups) == {"a", "b"}
    assert other.groups == ()
    assert set(one.x[:, 1]) == {0.0, 1.0}
    assert class_weights({"a": 50, "b": 50}, 1_000) == {"a": 1.0, "b": 1.0}


def test_the_task_follows_from_the_label(frame):
    assert task_of(frame, "y") == "binary"
    assert task_of(frame, "stage") == "multiclass"
    assert task_of(frame, "amount") == "regression"
    with pytest.raises(ConfigError, match="label 'ünï' is int with more than two values; say task: multiclass or task: regression"):
        task_of(frame, "ünï")
    with pytest.raises(ColumnError, match="label 'day' is date"):
        task_of(frame, "day")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"label": "yy"}, ColumnError, "column 'yy' not found in the training table; did you mean 'y'"),
        ({"leave_out": ("custmer",)}, ColumnError, "did you mean 'customer'"),
        ({"features": ("hubb",)}, ColumnError, "did you mean 'hub'"),
        ({"importance": Importance(group="costumer")}, ColumnError, "did you mean 'customer'"),
        ({"features": ("parts",)}, ConfigError, "no column is a candidate"),
        ({"label": "only", "task": "binary"}, DataError, r"label 'only' has one class \(same\) only"),
    ],
)
def test_bad_input_has_a_named_error(frame, changes, error, message):
    with pytest.raises(error, match=message):
        select_features(frame, FeatureSelection(**{"label": "y", "importance": None, **changes}))


@pytest.mark.slow
def test_a_thousand_columns_are_selected_in_sane_time(spark):
    from time import monotonic

    from pyspark.sql import functions as F

    base = spark.range(4_000, numPartitions=2).select(F.rand(1).alias("u"), *(F.randn(i).alias(f"f{i}") for i in range(999)))
    frame = base.select((F.col("u") + F.col("f0") > 0.5).alias("y"), "u", *(f"f{i}" for i in range(999)))
    began = monotonic()
    found = select_features(frame, FeatureSelection(label="y", importance=PLAN, rules=Rules(false_discovery_rate=None)))
    assert "f0" in found.features
    assert len(found.decisions) == 1_000
    assert monotonic() - began < 240
