"""The residual pass on Spark against the state of the same rows on arrays."""

import io
import math
from contextlib import redirect_stdout

import numpy as np
import pytest

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.models.evaluation import residual_rows
from sparkds.models.residual_pass import read_residuals, residuals_frame
from sparkds.stats.residuals import measured_residuals

SHARES = (0.1, 0.5)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    n = 1_500
    y = np.round(rng.normal(5, 10, n)) + 1e6
    made = [[float(a), float(a + rng.normal(0, 2)), float(a * 0.9), "fm"[i % 2], float(i % 3)] for i, a in enumerate(y)]
    made[0][0], made[1][0], made[2][1], made[3][1] = None, math.inf, None, math.nan
    made[4][0] = 0.0
    return [tuple(row) for row in made]


@pytest.fixture(scope="module")
def frame(spark, rows):
    return spark.createDataFrame(rows, "y double, p double, q double, sex string, w double")


def wanted(rows, column, keep=lambda row: True, weighted=False):
    kept = [r for r in rows if keep(r) and all(v is not None and math.isfinite(v) for v in (r[0], r[column]))]
    y, p, w = (np.array([r[i] for r in kept]) for i in (0, column, 4))
    return measured_residuals(y, p, weight=w if weighted else None, shares=SHARES)


def same(found, told):
    for name in ("key", "n", "mean_label", "prediction", "squared", "absolute", "percentage", "n_zero", "pinball"):
        np.testing.assert_allclose(getattr(found, name), getattr(told, name), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.m2_label, told.m2_label, rtol=1e-8, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_pass_equals_the_arrays(frame, rows, weighted):
    sums = residuals_frame(
        frame, label="y", predictions={"one": "p", "two": "q"}, groups=["sex"], weight="w" if weighted else None, shares=SHARES
    )
    told = io.StringIO()
    with redirect_stdout(told):
        sums.explain()
    assert told.getvalue().count("Exchange") == 1
    found = read_residuals(sums, shares=SHARES)
    same(found.states["one", "", ""], wanted(rows, 1, weighted=weighted))
    same(found.states["two", "", ""], wanted(rows, 2, weighted=weighted))
    same(found.states["one", "sex", "m"], wanted(rows, 1, lambda r: r[3] == "m", weighted=weighted))
    assert found.skipped["one", "", ""] == {"label_missing": 1, "label_not_finite": 1, "score_missing": 1, "score_not_finite": 1}
    assert found.skipped["two", "", ""] == {"label_missing": 1, "label_not_finite": 1}
    rows_told = list(residual_rows(found.states, found.skipped))
    assert next(r.value for r in rows_told if (r.kind, r.model, r.group, r.name) == ("rows", "one", "", "score_missing")) == 1
    names = {r.name for r in rows_told if r.kind == "metric" and r.model == "one" and not r.group}
    assert names == {"rmse", "mae", "bias", "r_squared", "mape", "pinball_0.1", "pinball_0.5"}


def test_what_cannot_be_evaluated_is_refused_by_name(spark, frame):
    with pytest.raises(ColumnError, match="score 'sex' is string"):
        residuals_frame(frame, label="y", predictions={"m": "sex"})
    with pytest.raises(ConfigError, match="no model is given"):
        residuals_frame(frame, label="y", predictions={})
    with pytest.raises(ConfigError, match=r"give numbers in \(0, 1\)"):
        residuals_frame(frame, label="y", predictions={"m": "p"}, shares=(2.0,))
    made = spark.createDataFrame([(1.0, 1.0, -1.0)], "y double, p double, q double")
    with pytest.raises(DataError, match="weight 'q' is negative"):
        read_residuals(residuals_frame(made, label="y", predictions={"m": "p"}, weight="q"), weight="q")
    many = spark.range(2_500).selectExpr("1d as y", "1d as p", "id as g")
    with pytest.raises(DataError, match="group 'g' has more than 1000 values"):
        read_residuals(residuals_frame(many, label="y", predictions={"m": "p"}, groups=["g"]))
    empty = read_residuals(residuals_frame(frame.limit(0), label="y", predictions={"m": "p"}))
    assert empty.states == empty.skipped == {}
