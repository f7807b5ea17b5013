"""Relevance from counts against scikit-learn, SciPy and least squares on the same bins."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import chi2_contingency
from sklearn.metrics import mutual_info_score, roc_auc_score

from sparkds.stats.multiplicity import adjust
from sparkds.stats.relevance import (
    FeatureCounts,
    best_class_skill,
    binned_r2,
    grouped_bins,
    independence_pvalue,
    mutual_information,
    ranking_skill,
    relevances,
)


def table_of(x, y, k, c):
    counts = np.zeros((k, c))
    np.add.at(counts, (x, y), 1)
    return counts


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 9, 700)
    y = (rng.random(700) < 0.1 + 0.06 * x).astype(int)
    return x, y


def test_mutual_information_is_scikit_learns_and_the_correction_of_miller_and_madow(rows):
    x, y = rows
    wanted = mutual_info_score(x, y) + (9 + 2 - 18 - 1) / (2 * 700)
    assert mutual_information(table_of(x, y, 11, 3)) == pytest.approx(wanted, abs=1e-12)
    assert mutual_information(np.ones((5, 5))) == 0.0
    assert math.isnan(mutual_information(np.zeros((2, 2))))


def test_pvalue_is_the_chi_square_of_scipy_without_empty_rows_and_columns(rows):
    x, y = rows
    wanted = chi2_contingency(table_of(x, y, 9, 2), correction=False).pvalue
    assert independence_pvalue(table_of(x, y, 12, 4)) == pytest.approx(wanted, rel=1e-10)
    assert math.isnan(independence_pvalue([[3, 4], [0, 0]]))


def test_auc_of_bins_is_scikit_learns_in_whichever_direction_is_better(rows):
    x, y = rows
    auc = roc_auc_score(y, x)
    for table in (table_of(x, y, 9, 2), table_of(x, 1 - y, 9, 2), table_of(8 - x, y, 9, 2)):
        assert ranking_skill(table)[0] == pytest.approx(max(auc, 1 - auc), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_auc_without_bins_lies_within_the_bound(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=300)
    y = (rng.random(300) < 1 / (1 + np.exp(-3 * x))).astype(int)
    skill, bound = ranking_skill(table_of(np.searchsorted(np.sort(rng.normal(size=4)), x), y, 5, 2))
    auc = roc_auc_score(y, x)
    assert abs(max(auc, 1 - auc) - skill) <= bound + 1e-12


def test_bins_without_order_are_ranked_by_their_share_of_positives(rows):
    x, y = rows
    table = table_of(np.array([4, 0, 7, 1, 8, 3, 2, 6, 5])[x], y, 10, 2)
    share = np.array([table[:, 1][i] / max(table[i].sum(), 1) for i in range(10)])
    code = np.array([4, 0, 7, 1, 8, 3, 2, 6, 5])[x]
    assert ranking_skill(table, is_ordered=False)[0] == pytest.approx(roc_auc_score(y, share[code]), abs=1e-12)


def test_several_classes_take_the_one_that_is_ranked_best(rows):
    x, _ = rows
    y = np.where(x > 6, 2, np.random.default_rng(1).integers(0, 2, 700))
    assert best_class_skill(table_of(x, y, 9, 3)) == (1.0, 0.0)


def test_r2_of_bins_is_the_adjusted_r2_of_least_squares_on_indicators(rows):
    x, _ = rows
    y = 3 + 0.4 * (x - 4) ** 2 + np.random.default_rng(2).normal(size=700)
    sums = np.bincount(x, weights=y, minlength=10), np.bincount(x, weights=y * y, minlength=10)
    wanted = sm.OLS(y, np.eye(9)[x]).fit().rsquared_adj
    assert binned_r2(np.bincount(x, minlength=10).astype(float), *sums) == pytest.approx(wanted, abs=1e-10)
    assert math.isnan(binned_r2(np.array([3.0, 2.0]), np.array([6.0, 4.0]), np.array([12.0, 8.0])))
    assert binned_r2(np.array([4.0]), np.array([2.0]), np.array([2.0])) == 0.0


def test_groups_are_of_about_equal_weight_and_few_bins_stay_as_they_are():
    n = np.random.default_rng(0).integers(1, 50, 120).astype(float)
    group = grouped_bins(n, groups=20)
    assert (np.diff(group) >= 0).all()
    weights = np.bincount(group, weights=n)
    assert weights.max() < 1.8 * n.sum() / 20
    assert grouped_bins(np.array([0.0, 4.0, 0.0, 2.0]), groups=2).tolist() == [0, 1, 2, 3]


def test_qvalues_are_benjamini_and_hochbergs_over_the_features(rows):
    x, y = rows
    rng = np.random.default_rng(4)
    tables = [table_of(x, y, 10, 2), *(table_of(rng.integers(0, 5, 700), y, 6, 2) for _ in range(6)), table_of(np.full(700, 1), y, 2, 2)]
    found = relevances([FeatureCounts(f"f{i}", t, np.zeros(len(t)), np.zeros(len(t))) for i, t in enumerate(tables)], task="binary")
    wanted = adjust([one.pvalue for one in found], method="bh", alpha=0.05).pvalues
    np.testing.assert_allclose([one.qvalue for one in found], wanted)
    assert found[0].qvalue < 1e-6
    last = found[-1]  # nothing but nulls
    assert (last.null_share, last.reason, last.presence_skill) == (1.0, "no row with a label has a value", 0.5)
    assert math.isnan(last.skill)
    assert math.isnan(last.qvalue)
    assert last.mutual_information == 0.0


def test_a_feature_that_is_there_for_positives_only_is_told_by_its_presence():
    n = np.array([[0.0, 30.0], [0.0, 20.0], [40.0, 0.0]])
    (found,) = relevances([FeatureCounts("refund", n, np.zeros(3), np.zeros(3))], task="binary")
    assert found.reason == "the rows with a value are of one class"
    assert found.presence_skill == 1.0
    assert found.presence_mutual_information == pytest.approx(mutual_info_score([0] * 40 + [1] * 50, [0] * 40 + [1] * 50), abs=0.02)
    assert found.mutual_information > 0.6


@pytest.mark.slow
def test_pvalues_of_features_of_chance_are_uniform():
    rng = np.random.default_rng(8)
    y = (rng.random(2_000) < 0.05).astype(int)
    p = np.array([independence_pvalue(table_of(rng.integers(0, 20, 2_000), y, 20, 2)) for _ in range(2_000)])
    for level in (0.01, 0.05, 0.2):
        assert abs((p < level).mean() - level) < 4 * math.sqrt(level / 2_000) + 0.003
