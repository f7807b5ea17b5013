"""Metrics from score counts against scikit-learn, naive loops and reorderings inside bins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from sparkds.errors import ConfigError, DataError
from sparkds.stats.classification import (
    area_under_roc,
    average_precision,
    best_threshold,
    brier,
    calibration,
    calibration_error,
    confusion,
    kolmogorov_smirnov,
    largest_calibration_gap,
    lift,
    log_loss,
    roc_curve,
    threshold_metrics,
)
from sparkds.stats.score_counts import coarser, counted, merged, score_edges

EXACT = {"rel": 1e-12, "abs": 1e-14}


def world(seed, n=3_000, ties=False):
    rng = np.random.default_rng(seed)
    score = rng.beta(0.6, 2.5, n)
    if ties:
        score = np.round(score, 2)
    label = (rng.random(n) < score**1.3).astype(float)
    return label, score, rng.gamma(2.0, 1.0, n)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_equal_those_of_scikit_learn(ties, weighted):
    y, s, w = world(1, ties=ties)
    w = w if weighted else None
    found = counted(y, s, weight=w)
    assert area_under_roc(found).value == pytest.approx(sk.roc_auc_score(y, s, sample_weight=w), **EXACT)
    assert average_precision(found).value == pytest.approx(sk.average_precision_score(y, s, sample_weight=w), **EXACT)
    assert log_loss(found).value == pytest.approx(sk.log_loss(y, s, sample_weight=w), **EXACT)
    assert brier(found).value == pytest.approx(sk.brier_score_loss(y, s, sample_weight=w), **EXACT)
    false, true, _ = sk.roc_curve(y, s, sample_weight=w, drop_intermediate=False)
    curve = roc_curve(found)
    np.testing.assert_allclose(curve.true_positive / found.n_positive, true, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(curve.false_positive / found.n_negative, false, rtol=1e-12, atol=1e-14)
    assert kolmogorov_smirnov(found).value == pytest.approx(np.abs(true - false).max(), **EXACT)
    for threshold in (0.1, 0.35, 0.6):
        cells = confusion(found, threshold)
        np.testing.assert_allclose(cells, sk.confusion_matrix(y, s >= threshold, sample_weight=w).ravel(), rtol=1e-12)
        told = threshold_metrics(found, threshold)
        for name, of in (
            ("precision", sk.precision_score),
            ("recall", sk.recall_score),
            ("f1", sk.f1_score),
            ("accuracy", sk.accuracy_score),
        ):
            assert told[name].value == pytest.approx(of(y, s >= threshold, sample_weight=w), **EXACT)


@pytest.mark.parametrize("bins", [10, 50, 2_000])
@pytest.mark.parametrize("ties", [False, True])
def test_bins_bound_the_ranking_and_leave_sums_exact(bins, ties):
    y, s, _ = world(2, ties=ties)
    binned = counted(y, s, edges=score_edges(bins, (0.35,)))
    for metric, wanted in (
        (area_under_roc, sk.roc_auc_score(y, s)),
        (average_precision, sk.average_precision_score(y, s)),
        (kolmogorov_smirnov, kolmogorov_smirnov(counted(y, s)).value),
    ):
        found = metric(binned)
        assert found.bin_low - 1e-12 <= wanted <= found.bin_high + 1e-12
        if bins == 2_000:
            assert found.bin_high - found.bin_low < 0.02
    assert log_loss(binned).value == pytest.approx(sk.log_loss(y, s), **EXACT)
    assert brier(binned).value == pytest.approx(sk.brier_score_loss(y, s), **EXACT)
    assert binned.mean_score == pytest.approx(s.mean(), **EXACT)
    assert tuple(confusion(binned, 0.35)) == tuple(sk.confusion_matrix(y, s >= 0.35).ravel())
    if not ties:
        widest = np.argmax(binned.high - binned.low)
        inside = float(binned.low[widest] + binned.high[widest]) / 2
        assert confusion(binned, inside) is None
        assert "name it among the thresholds" in threshold_metrics(binned, inside)["recall"].reason


def test_the_bounds_are_reached_by_the_best_and_the_worst_order_inside_bins():
    y, s, _ = world(3, n=400)
    edges = score_edges(10)
    binned = counted(y, s, edges=edges)
    bin_of = np.searchsorted(edges, s, side="right")
    best, worst = bin_of + 0.5 * y, bin_of - 0.5 * y
    auc, ap = area_under_roc(binned), average_precision(binned)
    assert auc.bin_high == pytest.approx(sk.roc_auc_score(y, best))
    assert auc.bin_low == pytest.approx(sk.roc_auc_score(y, worst))
    assert ap.bin_high == pytest.approx(sk.average_precision_score(y, best))
    one_by_one = np.argsort(np.lexsort((np.arange(len(y)), worst)))
    assert ap.bin_low <= sk.average_precision_score(y, one_by_one) <= ap.bin_low + 0.01


def test_rare_events_with_tiny_scores_are_ranked_as_finely_as_others():
    rng = np.random.default_rng(5)
    s = rng.beta(0.5, 500, 20_000)
    y = (rng.random(20_000) < s).astype(float)
    found = area_under_roc(counted(y, s, edges=score_edges(2_000)))
    assert found.bin_low <= sk.roc_auc_score(y, s) <= found.bin_high
    assert found.bin_high - found.bin_low < 0.006


def test_the_error_of_the_auc_is_that_of_the_naive_double_loop():
    y, s, _ = world(4, n=120, ties=True)
    positive, negative = s[y == 1], s[y == 0]
    wins = np.array([[1.0 if p > q else 0.5 if p == q else 0.0 for q in negative] for p in positive])
    variance = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    found = area_under_roc(counted(y, s))
    assert found.value == pytest.approx(wins.mean())
    assert found.std_error == pytest.approx(math.sqrt(variance))
    told = found.measured(alpha=0.05)
    assert 0 < told.low < told.value < told.high < 1


def test_deciles_hold_equal_ranks_and_ties_stay_together():
    y, s, _ = world(6)
    table = calibration(counted(y, s))
    assert table.group.tolist() == list(range(1, 11))
    assert set(table.n) == {300}
    order = np.argsort(s)
    for i in range(10):
        rows = order[300 * i : 300 * (i + 1)]
        assert table.mean_score[i] == pytest.approx(s[rows].mean())
        assert table.observed[i] == pytest.approx(y[rows].mean())
        assert (table.lowest_score[i], table.highest_score[i]) == (s[rows].min(), s[rows].max())
        assert table.low[i] < table.observed[i] < table.high[i] or table.observed[i] in (0, 1)
    one = calibration(counted(y, np.full(len(y), 0.3)))
    assert one.n.tolist() == [3_000]
    assert one.observed[0] == pytest.approx(y.mean())
    gaps = np.abs(table.mean_score - table.observed)
    assert calibration_error(counted(y, s)).value == pytest.approx(gaps.mean())
    assert largest_calibration_gap(counted(y, s)).value == gaps.max()


def test_lift_from_the_top_is_the_naive_one():
    y, s, _ = world(7)
    table = lift(counted(y, s))
    order = np.argsort(-s)
    assert table.group.tolist() == list(range(1, 11))
    for i in range(10):
        assert table.gain[i] == pytest.approx(y[order[: 300 * (i + 1)]].sum() / y.sum())
        assert table.lift[i] == pytest.approx(y[order[300 * i : 300 * (i + 1)]].mean() / y.mean())
        assert table.cumulative_lift[i] == pytest.approx(table.gain[i] / table.n_share[i])
    assert table.n_share[-1] == table.gain[-1] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(0, 20), st.integers(0, 2)), min_size=1, max_size=60),
    st.booleans(),
)
def test_any_split_gives_the_whole(rows, binned):
    y, s, part = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    s = s / 20
    edges = score_edges(10) if binned else None
    whole = counted(y, s, edges=edges)
    parts = [counted(y[part == i], s[part == i], edges=edges) for i in range(3)]
    for order in ([0, 1, 2], [2, 0, 1]):
        found = merged([parts[i] for i in order])
        for name in ("key", "n", "score", "squared_error", "log_loss", "low", "high"):
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-12, atol=1e-15)


def test_one_class_and_no_rows_give_a_reason_and_no_number():
    only = counted([0, 0], [0.2, 0.3])
    for metric in (area_under_roc, average_precision, kolmogorov_smirnov):
        assert math.isnan(metric(only).value)
        assert "all labels are 0" in metric(only).reason
        assert "all labels are 0" in metric(only).measured(alpha=0.05).reason
    assert log_loss(only).value == pytest.approx(-np.log([0.8, 0.7]).mean())
    assert "all labels are 1" in area_under_roc(counted([1], [0.5])).reason
    assert average_precision(counted([1], [0.5])).value == 1
    nothing = counted([], [])
    for metric in (area_under_roc, average_precision, kolmogorov_smirnov, log_loss, brier, calibration_error, largest_calibration_gap):
        assert metric(nothing).reason == "there are no rows"
    assert len(calibration(nothing).n) == len(lift(nothing).gain) == 0
    assert threshold_metrics(only, 0.9)["precision"].reason == "no row is selected"
    assert threshold_metrics(only, 0.9)["recall"].reason == "there are no positives"
    assert math.isnan(best_threshold(nothing, cost_false_positive=1, cost_false_negative=1).threshold)


def test_scores_that_are_no_probabilities_are_ranked_but_not_calibrated():
    y, s, _ = world(8, n=200)
    found = counted(y, 5 * s - 2)
    assert area_under_roc(found).value == pytest.approx(sk.roc_auc_score(y, s))
    for metric in (log_loss, brier, calibration_error):
        assert "outside [0, 1]" in metric(found).reason


def test_scores_of_0_and_1_are_clipped_for_the_log_loss_as_in_scikit_learn():
    y, s = [1, 0, 1, 0], [0.0, 1.0, 1.0, 0.0]
    assert log_loss(counted(y, s)).value == pytest.approx(sk.log_loss(y, s), rel=1e-12)


def test_the_best_threshold_is_that_of_the_naive_search():
    y, s, _ = world(9, n=300, ties=True)
    found = best_threshold(counted(y, s), cost_false_positive=1.0, cost_false_negative=4.0)
    tried = {t: ((s >= t) & (y == 0)).sum() + 4.0 * ((s < t) & (y == 1)).sum() for t in [*np.unique(s), np.inf]}
    least = min(tried.values())
    assert found.cost == pytest.approx(least / 300)
    assert found.threshold == max(t for t, cost in tried.items() if cost == least)
    with pytest.raises(ConfigError, match="not both 0"):
        best_threshold(counted(y, s), cost_false_positive=0, cost_false_negative=0)


def test_bad_rows_are_refused_by_name():
    with pytest.raises(DataError, match="a label is 2; allowed are 0 and 1"):
        counted([0, 2], [0.1, 0.2])
    with pytest.raises(DataError, match="score is missing"):
        counted([0, 1], [0.1, math.nan])
    with pytest.raises(DataError, match="weight is negative"):
        counted([0, 1], [0.1, 0.2], weight=[1, -1])
    with pytest.raises(DataError, match="2 labels, 1 scores"):
        counted([0, 1], [0.1])
    with pytest.raises(ConfigError, match="at least 10"):
        score_edges(5)


def test_coarser_groups_keep_every_row():
    y, s, w = world(10, n=500, ties=True)
    grouped, numbers = coarser(counted(y, s, weight=w), 4)
    assert grouped.n.sum() == pytest.approx(w.sum())
    assert numbers.tolist() == [0, 1, 2, 3]
    assert np.isnan(calibration(counted(y, s, weight=w)).low).all()


def test_a_metric_without_a_known_sampling_error_has_no_interval():
    counts = counted([0, 1, 0, 1, 1], [0.1, 0.6, 0.7, 0.8, 0.9])
    for metric in (average_precision(counts), kolmogorov_smirnov(counts)):
        told = metric.measured(alpha=0.05)
        assert math.isnan(metric.std_error)
        assert (math.isnan(told.low), math.isnan(told.high)) == (True, True)
    told = area_under_roc(counts).measured(alpha=0.05)
    assert told.low < told.value < told.high
