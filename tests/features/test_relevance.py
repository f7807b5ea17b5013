"""Relevance on Spark against scikit-learn on the same rows, and what bad input is told."""

import io
import math
from contextlib import redirect_stdout
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.metrics import mutual_info_score, roc_auc_score

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features.relevance import feature_bins, label_counts_frame, labelled_counts, number_edges, relevance
from sparkds.stats.relevance import mutual_information

SCHEMA = (
    "bought boolean, stage string, spend double, `visits.30d` int, `ünï code` double, price decimal(8,2), country string, seen date, "
    "at timestamp, hole double, mostly double, nothing double, nested array<int>"
)
COLUMNS = ["visits.30d", "ünï code", "price", "country", "seen", "at", "hole", "mostly", "nothing"]


def world(n=1_500, seed=1):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        visits, noise = int(rng.integers(0, 12)), float(rng.normal())
        bought = bool(rng.random() < 0.1 + 0.05 * visits)
        country = str(rng.choice(["de", "at", "ch", f"rare{i}"], p=[0.5, 0.3, 0.1, 0.1]))
        rows.append(
            (
                None if i % 50 == 0 else bought,
                None if i % 50 == 0 else ("a" if visits < 4 else "b" if visits < 9 else "c"),
                math.nan if i % 50 == 0 else visits * 2.0 + float(rng.normal()),
                visits,
                math.nan if i % 7 == 0 else noise,
                None if i % 5 == 0 else Decimal(int(rng.integers(0, 99_999))) / 100,
                None if i % 9 == 0 else country,
                date(2026, 1, 1) + timedelta(days=visits),
                datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(rng.integers(0, 99_999))),
                1.0 if bought else None,
                math.inf if i % 3 == 0 else 5.0 if i % 20 else 6.0,
                None,
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
    return {one.column: one for one in relevance(frame, label="bought", task="binary", columns=COLUMNS)}


def kept(rows, column, label=0):
    at = SCHEMA.replace("`", "").split(", ")
    i = next(i for i, part in enumerate(at) if part.startswith(column))
    return [(r[i], r[label]) for r in rows if r[label] is not None and r[i] is not None]


def test_numbers_days_and_instants_are_ranked_as_by_scikit_learn(found, rows):
    n = sum(r[0] is not None for r in rows)
    for column in ("visits.30d", "price", "seen", "at", "ünï code"):
        x, y = zip(*(pair for pair in kept(rows, column) if pair[0] == pair[0]), strict=True)
        x = [
            value.toordinal() if type(value) is date else value.timestamp() if isinstance(value, datetime) else float(value) for value in x
        ]
        auc = roc_auc_score(y, x)
        one = found[column]
        assert (one.n, one.skill_kind, one.reason) == (n, "auc", "")
        assert one.null_share == pytest.approx(1 - len(x) / n)
        assert abs(one.skill - max(auc, 1 - auc)) <= one.skill_bound + 1e-9
        if column in ("visits.30d", "seen"):  # a bin for each value
            assert one.skill == pytest.approx(max(auc, 1 - auc), abs=1e-12)
        assert one.skill_bound < 0.05


def test_information_and_pvalue_are_scikit_learns_and_scipys_on_the_same_bins(found, rows):
    x, y = zip(*kept(rows, "visits"), strict=True)
    table = np.zeros((12, 2))
    np.add.at(table, (np.array(x), np.array(y, dtype=int)), 1)
    one = found["visits.30d"]
    assert one.pvalue == pytest.approx(chi2_contingency(table, correction=False).pvalue, rel=1e-9)
    assert one.mutual_information == pytest.approx(mutual_info_score(x, y) + (12 + 2 - 24 - 1) / (2 * len(x)), abs=1e-9)
    assert one.qvalue < 1e-20
    assert found["price"].qvalue > 0.01
    assert one.presence_skill == 0.5


def test_texts_beyond_the_frequent_ones_are_one_bin(frame, rows):
    (one,) = relevance(frame, label="bought", task="binary", columns=["country"], n_bins=3)
    values = [r[6] if r[6] in ("de", "at", "ch", None) else "(other)" for r in rows if r[0] is not None]
    labels = [r[0] for r in rows if r[0] is not None]
    code = {value: i for i, value in enumerate(dict.fromkeys(values))}
    table = np.zeros((len(code), 2))
    np.add.at(table, ([code[v] for v in values], np.array(labels, dtype=int)), 1)
    assert one.mutual_information == pytest.approx(mutual_information(table), abs=1e-12)
    assert one.other_share == pytest.approx(values.count("(other)") / (len(values) - values.count(None)))


def test_holes_that_tell_the_label_are_found_and_nothing_is_said_of_nothing(found):
    assert found["hole"].presence_skill == 1.0
    assert found["hole"].reason == "the rows with a value are of one class"
    assert found["nothing"].null_share == 1.0
    assert math.isnan(found["nothing"].skill)
    assert found["mostly"].null_share == pytest.approx(1 / 3, abs=0.01)  # infinities are missing


def test_several_classes_and_numbers_as_labels(frame, rows):
    (visits,) = relevance(frame, label="stage", task="multiclass", columns=["visits.30d"])
    assert (visits.skill, visits.skill_kind) == (1.0, "auc_one_vs_rest")
    x = np.array([r[3] for r in rows if r[0] is not None])
    y = np.array([r[2] for r in rows if r[0] is not None])
    found = relevance(frame, label="spend", task="regression", columns=["visits.30d", "price"])
    means = np.array([y[x == v].mean() for v in range(12)])
    r2 = 1 - ((y - means[x]) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert found[0].skill == pytest.approx(1 - (1 - r2) * (len(y) - 1) / (len(y) - 12), abs=1e-9)
    assert found[0].skill_kind == "r2"
    assert found[1].skill < 0.02
    assert found[0].mutual_information > 1
    assert found[0].qvalue < 1e-100 < 0.001 < found[1].qvalue


def test_figures_do_not_depend_on_partitions_and_rows_without_label_are_counted(frame, found, rows):
    counts = labelled_counts(frame.coalesce(1).orderBy("price"), label="bought", task="binary", columns=COLUMNS)
    assert (counts.n_rows, counts.n_no_label) == (len(rows), len(rows) // 50)
    assert sum(counts.classes.values()) == counts.n_rows - counts.n_no_label
    again = relevance(frame.coalesce(1).orderBy("price"), label="bought", task="binary", columns=COLUMNS)
    np.testing.assert_equal([tuple(one) for one in again], [tuple(one) for one in found.values()])


def test_counts_of_all_features_are_one_scan_and_one_exchange(spark, frame, tmp_path):
    path = str(tmp_path / "rows")
    frame.write.parquet(path)
    stored = spark.read.parquet(path)
    bins = feature_bins(stored, label="bought", task="binary", columns=COLUMNS)
    told = io.StringIO()
    with redirect_stdout(told):
        label_counts_frame(stored, label="bought", task="binary", bins=bins).explain()
    plan = told.getvalue().partition("== Initial Plan ==")[0]
    assert plan.count("FileScan") == 1
    assert plan.count("Exchange") == 1


def test_a_heavy_value_does_not_use_up_the_bins():
    x = np.concatenate([np.zeros(900), np.random.default_rng(0).exponential(size=100)])
    assert len(number_edges(x, 20)) >= 19
    assert number_edges(np.zeros(5), 20).tolist() == []
    x = np.random.default_rng(1).normal(size=10_000)
    share = np.diff(np.searchsorted(np.sort(x), number_edges(x, 50))) / len(x)
    assert share.max() < 0.021


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"label": "bougt"}, ColumnError, "column 'bougt' not found in the labelled table; did you mean 'bought'"),
        ({"columns": ["visits_30d"]}, ColumnError, "column 'visits_30d' not found"),
        ({"columns": ["nested"]}, ColumnError, "feature 'nested' is array<int>; a feature is a number"),
        ({"columns": []}, ConfigError, "no feature is given"),
        ({"columns": ["price", "price"]}, ConfigError, "'price' stands twice"),
        ({"columns": ["bought"]}, ConfigError, "'bought' stands twice among label and features"),
        ({"label": "seen"}, ColumnError, "label 'seen' is date; binary needs text, a truth value or a number"),
        ({"task": "regression"}, ColumnError, "label 'bought' is boolean; regression needs a number"),
        ({"task": "ranking"}, ConfigError, "task is 'ranking'; allowed are"),
        ({"n_bins": 1}, ConfigError, "n_bins is 1; give a number in"),
    ],
)
def test_what_cannot_be_counted_is_refused_before_anything_runs(frame, changes, error, message):
    with pytest.raises(error, match=message):
        relevance(frame, **{"label": "bought", "task": "binary", "columns": ["price"], **changes})


@pytest.mark.parametrize(
    ("label", "task", "message"),
    [
        ("nothing", "binary", "no row has a label in column 'nothing'"),
        ("country", "binary", "label 'country' has 1.. classes|label 'country' has more than 100 classes"),
        ("country", "multiclass", "label 'country' has more than 100 classes; take regression"),
        ("price", "multiclass", "label 'price' has more than 100 classes; take regression"),
        ("hole", "multiclass", r"label 'hole' has one class \(1.0\) only"),
        ("hole", "regression", "label 'hole' has one value only"),
    ],
)
def test_labels_without_the_classes_of_the_task_are_refused(frame, label, task, message):
    with pytest.raises(DataError, match=message):
        relevance(frame, label=label, task=task, columns=["hole" if label == "price" else "price"])


def test_a_binary_label_with_three_classes_is_refused(frame):
    with pytest.raises(DataError, match=r"label 'stage' has 3 classes \(a, b, c\); binary needs two"):
        relevance(frame, label="stage", task="binary", columns=["price"])
