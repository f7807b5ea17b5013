"""The score pass on Spark against the state of the same rows on arrays."""

import io
import math
from contextlib import redirect_stdout
from decimal import Decimal

import numpy as np
import pytest
from sklearn import metrics as sk

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.models.evaluation import evaluation_rows
from sparkds.models.score_pass import read_score_counts, score_counts_frame, top_values
from sparkds.stats.classification import area_under_roc, brier, confusion, log_loss
from sparkds.stats.paired_models import delong, mcnemar
from sparkds.stats.score_counts import counted

SCHEMA = "`a.label` boolean, champion double, challenger float, sex string, age int, w decimal(6,2)"


def world(n=4_000, seed=1):
    rng = np.random.default_rng(seed)
    first = np.round(rng.beta(0.7, 2, n), 3)
    second = np.clip(first + rng.normal(0, 0.1, n), 0, 1).astype(np.float32)
    label = rng.random(n) < first
    sex = rng.choice(["f", "m", None], n, p=[0.5, 0.4, 0.1])
    age = rng.integers(0, 5, n)
    rows = [
        (bool(y), float(a), float(b), None if s is None else str(s), int(g), Decimal(int(w)) / 4)
        for y, a, b, s, g, w in zip(label, first, second, sex, age, rng.integers(0, 9, n), strict=True)
    ]
    rows[0] = (None, *rows[0][1:])
    rows[1] = (rows[1][0], None, *rows[1][2:])
    rows[2] = (rows[2][0], math.nan, *rows[2][2:])
    rows[3] = (rows[3][0], math.inf, *rows[3][2:])
    return rows


@pytest.fixture(scope="module")
def rows():
    return world()


@pytest.fixture(scope="module")
def frame(spark, rows):
    return spark.createDataFrame(rows, SCHEMA)


def arrays(rows, column, keep=lambda row: True, weighted=False):
    kept = [r for r in rows if keep(r) and r[0] is not None and r[column] is not None and math.isfinite(r[column])]
    y = np.array([float(r[0]) for r in kept])
    s = np.array([np.float32(r[column]) if column == 2 else r[column] for r in kept], dtype=float)
    return y, s, np.array([float(r[5]) for r in kept]) if weighted else None


def same(found, wanted):
    for name in ("n", "score", "squared_error", "log_loss"):
        np.testing.assert_allclose(getattr(found, name).sum(axis=0), getattr(wanted, name).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("bins", [2_000, "distinct"])
def test_one_pass_over_two_models_and_groups_equals_the_arrays(frame, rows, bins):
    counts = score_counts_frame(
        frame,
        label="a.label",
        scores={"one": "champion", "two": "challenger"},
        groups=["sex", "age", ("sex", "age")],
        shown={"age": ["0", "1"]},
        pairs=[("one", "two")],
        thresholds=(0.5, 0.2),
        bins=bins,
    )
    found = read_score_counts(counts, label="a.label")
    assert found.models == ("one", "two")
    assert found.groups == ("age", "sex", "sex × age")
    assert found.values("one", "sex") == ("(null)", "f", "m")
    assert found.values("one", "age") == ("(other)", "0", "1")
    for model, column in (("one", 1), ("two", 2)):
        y, s, _ = arrays(rows, column)
        whole = found.counts[model, "", ""]
        same(whole, counted(y, s))
        assert log_loss(whole).value == pytest.approx(sk.log_loss(y, s), rel=1e-12)
        assert brier(whole).value == pytest.approx(sk.brier_score_loss(y, s), rel=1e-12)
        auc = area_under_roc(whole)
        assert auc.bin_low - 1e-12 <= sk.roc_auc_score(y, s) <= auc.bin_high + 1e-12
        assert auc.bin_high - auc.bin_low < (0.002 if bins == 2_000 else 1e-12)
        same(found.counts[model, "sex", "f"], counted(*arrays(rows, column, lambda r: r[3] == "f")[:2]))
        same(found.counts[model, "age", "(other)"], counted(*arrays(rows, column, lambda r: r[4] > 1)[:2]))
        y, s, _ = arrays(rows, column, lambda r: r[3] is None and r[4] == 1)
        part = found.counts[model, "sex × age", "(null) × 1"]
        same(part, counted(y, s))
        for threshold in (0.5, 0.2):
            assert tuple(confusion(part, threshold)) == tuple(sk.confusion_matrix(y, s >= threshold, labels=[0, 1]).ravel())
    assert found.skipped["one", "", ""] == {"label_missing": 1, "score_missing": 1, "score_not_finite": 2}
    assert found.skipped["two", "", ""] == {"label_missing": 1}
    assert sum(n for key, of in found.skipped.items() if key[:2] == ("one", "sex") for n in of.values()) == 4
    pair = found.pairs["one", "two"]
    both = [r for r in rows if r[0] is not None and r[1] is not None and math.isfinite(r[1])]
    assert pair.n.sum() == len(both)
    y, a = (np.array([float(r[i]) for r in both]) for i in (0, 1))
    b = np.array([float(np.float32(r[2])) for r in both])
    scores = [np.array([float(np.float32(r[i])) if i == 2 else r[i] for r in both]) for i in (1, 2)]
    told = {r.name: r for r in evaluation_rows(found, thresholds=(0.2,), replicates=50) if r.kind == "comparison"}
    wanted = delong(*scores, np.array([float(r[0]) for r in both]))
    assert told["auc_difference"].value == pytest.approx(wanted.value, abs=0.002 if bins == 2_000 else 1e-12)
    assert told["auc_difference"].low == pytest.approx(wanted.low, abs=0.003 if bins == 2_000 else 1e-12)
    right = [(s >= 0.2) == np.array([r[0] for r in both]) for s in scores]
    exact = mcnemar((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum(), len(both))
    assert (told["accuracy_difference"].value, told["accuracy_difference"].pvalue) == (exact.value, exact.pvalue)
    assert told["brier_difference"].value == pytest.approx(
        brier(counted(*arrays(both, 1)[:2])).value - brier(counted(*arrays(both, 2)[:2])).value
    )
    assert told["brier_difference"].low < told["brier_difference"].value < told["brier_difference"].high
    if bins == 2_000:
        (unknown,) = [r for r in evaluation_rows(found, thresholds=(0.3,), replicates=20) if r.name == "accuracy_difference"]
        assert unknown.reason == "the threshold 0.3 is not among those of the pass"
    assert pair.squared_error.sum() == pytest.approx(((a - y) ** 2 - (b - y) ** 2).sum(), abs=1e-9)
    assert pair.log_loss.sum() == pytest.approx(len(y) * (sk.log_loss(y, a) - sk.log_loss(y, b)), abs=1e-9)


def test_weights_count_as_weights(frame, rows):
    found = read_score_counts(score_counts_frame(frame, label="a.label", scores={"m": "champion"}, weight="w"), weight="w")
    y, s, w = arrays(rows, 1, weighted=True)
    whole = found.counts["m", "", ""]
    assert whole.weighted
    assert brier(whole).value == pytest.approx(sk.brier_score_loss(y, s, sample_weight=w), rel=1e-12)
    assert whole.n.sum() == w.sum()


def test_one_scan_and_one_exchange(frame, spark, rows, tmp_path):
    frame.write.parquet(str(tmp_path / "scored"))
    stored = spark.read.parquet(str(tmp_path / "scored"))
    counts = score_counts_frame(
        stored, label="a.label", scores={"one": "champion", "two": "challenger"}, groups=["sex", "age"], pairs=[("one", "two")]
    )
    told = io.StringIO()
    with redirect_stdout(told):
        counts.explain()
    plan = told.getvalue()
    assert plan.count("Exchange") == 1
    assert plan.count("FileScan") == 1
    assert read_score_counts(counts).counts["one", "", ""].n_total == len(rows) - 4


def test_what_cannot_be_evaluated_is_refused_by_name(spark, frame):
    def read(values, schema="y int, s double, g string", **more):
        made = spark.createDataFrame(values, schema)
        return read_score_counts(score_counts_frame(made, label="y", scores={"m": "s"}, **more), label="y", weight=more.get("weight"))

    with pytest.raises(DataError, match="label 'y' has values other than 0 and 1, e.g. 2"):
        read([(0, 0.1, "a"), (2, 0.2, "a"), (1, 0.2, "a")])
    with pytest.raises(DataError, match="weight 's' is negative, missing or not finite in 1 rows"):
        read([(0, -0.1, "a"), (1, 0.5, "b")], weight="s")
    with pytest.raises(DataError, match="group 'g' has more than 1000 values"):
        read([(i % 2, 0.5, str(i)) for i in range(2_500)], groups=["g"])
    nothing = read([], groups=["g"])
    assert nothing.counts == nothing.skipped == {}
    one_class = read([(0, 0.5, "a"), (0, 0.7, "a")])
    assert "all labels are 0" in area_under_roc(one_class.counts["m", "", ""]).reason
    with pytest.raises(ColumnError, match="'lable' not found in the scored table; did you mean 'a.label'"):
        score_counts_frame(frame, label="lable", scores={"m": "champion"})
    with pytest.raises(ColumnError, match="score 'sex' is string; allowed are numbers and booleans"):
        score_counts_frame(frame, label="a.label", scores={"m": "sex"})
    timed = frame.selectExpr("*", "timestamp'2026-01-01' as at", "array(1) as many")
    with pytest.raises(ColumnError, match="group 'at' is timestamp; make a day or hour of it"):
        score_counts_frame(timed, label="a.label", scores={"m": "champion"}, groups=["at"])
    with pytest.raises(ColumnError, match="group 'many' is array<int>; allowed are plain values"):
        score_counts_frame(timed, label="a.label", scores={"m": "champion"}, groups=["many"])
    with pytest.raises(ConfigError, match="a group occurs twice"):
        score_counts_frame(frame, label="a.label", scores={"m": "champion"}, groups=["sex", ("sex",)])
    with pytest.raises(ConfigError, match="no model is given"):
        score_counts_frame(frame, label="a.label", scores={})
    with pytest.raises(ConfigError, match="not of two different models"):
        score_counts_frame(frame, label="a.label", scores={"m": "champion"}, pairs=[("m", "m")])


def test_the_most_frequent_values_come_first(frame):
    assert top_values(frame, ["sex", "age"], most=2)["sex"] == ("f", "m")
    assert len(top_values(frame, ["age"], most=3)["age"]) == 3
    assert top_values(frame, []) == {}
