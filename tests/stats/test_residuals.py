"""Regression metrics from residual states against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from sparkds.errors import ConfigError, DataError
from sparkds.stats.residuals import (
    bias,
    mae,
    mape,
    measured_residuals,
    merged_residuals,
    prediction_bins,
    quantile_loss,
    r_squared,
    residual_table,
    rmse,
)

EXACT = {"rel": 1e-12}


def world(seed=1, n=2_000, offset=0.0):
    rng = np.random.default_rng(seed)
    p = rng.normal(0, 10, n) + offset
    return p + rng.normal(0, 3, n), p, rng.gamma(2, 1, n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_metrics_equal_those_of_scikit_learn(weighted, offset):
    y, p, w = world(offset=offset)
    w = w if weighted else None
    parts = [measured_residuals(y[i::3], p[i::3], weight=None if w is None else w[i::3], shares=(0.1, 0.9)) for i in range(3)]
    found = merged_residuals(parts)
    close = EXACT if offset == 0 else {"rel": 1e-9}
    assert rmse(found).value == pytest.approx(sk.root_mean_squared_error(y, p, sample_weight=w), **close)
    assert mae(found).value == pytest.approx(sk.mean_absolute_error(y, p, sample_weight=w), **close)
    assert r_squared(found).value == pytest.approx(sk.r2_score(y, p, sample_weight=w), **close)
    assert mape(found).value == pytest.approx(sk.mean_absolute_percentage_error(y, p, sample_weight=w), **close)
    for share in (0.1, 0.9):
        assert quantile_loss(found, share).value == pytest.approx(sk.mean_pinball_loss(y, p, sample_weight=w, alpha=share), **close)
    assert bias(found).value == pytest.approx(np.average(p - y, weights=w), rel=1e-7)


def test_labels_of_0_are_left_out_of_the_percentage_error_and_counted():
    found = mape(measured_residuals([0.0, 2.0, 4.0], [1.0, 1.0, 5.0]))
    assert found.value == pytest.approx((0.5 + 0.25) / 2)
    assert found.n == 2
    assert "1 rows with label 0 left out" in found.method
    assert mape(measured_residuals([0.0], [1.0])).reason == "all labels are 0"


def test_deciles_of_the_prediction_are_the_naive_ones():
    rng = np.random.default_rng(4)
    p = np.sort(rng.permutation(np.arange(1, 1_001))).astype(float)
    y = p * 0.9 + rng.normal(0, 1, 1_000)
    table = residual_table(measured_residuals(y, p))
    assert table.group.tolist() == list(range(1, 11))
    assert table.n.tolist() == [100] * 10
    for i in range(10):
        rows = slice(100 * i, 100 * (i + 1))
        assert table.mean_prediction[i] == pytest.approx(p[rows].mean())
        assert table.mean_label[i] == pytest.approx(y[rows].mean())
        assert table.bias[i] == pytest.approx((p - y)[rows].mean())
        assert table.rmse[i] == pytest.approx(sk.root_mean_squared_error(y[rows], p[rows]))
        assert table.mae[i] == pytest.approx(sk.mean_absolute_error(y[rows], p[rows]))
    assert len(residual_table(measured_residuals(y, np.full(1_000, 3.0))).n) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(0, 2)), min_size=1, max_size=50))
def test_any_split_gives_the_whole(rows):
    y, p, part = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    whole = measured_residuals(y, p, shares=(0.5,))
    parts = [measured_residuals(y[part == i], p[part == i], shares=(0.5,)) for i in range(3)]
    for order in ([0, 1, 2], [2, 1, 0]):
        found = merged_residuals([parts[i] for i in order])
        for name in ("key", "n", "mean_label", "m2_label", "error", "squared", "absolute", "percentage", "n_zero", "pinball"):
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-9, atol=1e-12)


def test_bins_rise_with_the_prediction_and_are_narrow():
    x = np.sort(np.concatenate([-np.geomspace(1e-9, 1e9, 500), [0.0, -0.0], np.geomspace(1e-9, 1e9, 500)]))
    assert (np.diff(prediction_bins(x)) >= 0).all()
    a = np.geomspace(1, 1e6, 999)
    assert (prediction_bins(a * 1.002) > prediction_bins(a)).all()


def test_nothing_and_constants_have_reasons():
    nothing = measured_residuals([], [])
    for metric in (rmse, mae, bias, r_squared, mape):
        assert metric(nothing).reason == "there are no rows"
        assert math.isnan(metric(nothing).value)
    assert r_squared(measured_residuals([2.0, 2.0], [1.0, 3.0])).reason == "all labels are the same"
    assert len(residual_table(nothing).n) == 0
    with pytest.raises(ConfigError, match="not in the state; it has none"):
        quantile_loss(nothing, 0.5)
    with pytest.raises(ConfigError, match=r"give numbers in \(0, 1\)"):
        measured_residuals([1.0], [1.0], shares=(1.5,))
    with pytest.raises(DataError, match="missing or not finite"):
        measured_residuals([math.nan], [1.0])
    with pytest.raises(DataError, match="weight is negative"):
        measured_residuals([1.0], [1.0], weight=[-1.0])
    with pytest.raises(ConfigError, match="merge states of the same shares"):
        merged_residuals([nothing, measured_residuals([], [], shares=(0.5,))])
