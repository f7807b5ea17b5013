"""Importance and elimination on arrays: against scikit-learn, all subsets, and worlds in which the answer is known."""

import math
from itertools import combinations

import numpy as np
import pytest
from sklearn.inspection import permutation_importance as sk_importance
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from sparkds.errors import DataError
from sparkds.features.select import Importance
from sparkds.features.select.elimination import eliminated, sizes_of
from sparkds.features.select.importance import Rows, Split, fitted, judged, permutation_importance, score, shapley_values, splits
from sparkds.stats.stability import covering_set

SPLIT = Split(np.arange(10), np.arange(10), 3, 0)


def world(n=900, d=6, seed=0, task="binary"):
    """Columns 0 and 1 matter, 2 is text that matters, the others are noise; some holes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x[:, 2] = rng.integers(0, 4, n)
    told = 1.5 * x[:, 0] - x[:, 1] + np.array([-1.5, 1.5, 0, 0])[x[:, 2].astype(int)]
    x[rng.random((n, d)) < 0.02] = np.nan
    is_text = np.arange(d) == 2
    if task == "regression":
        return Rows(x, told + rng.normal(size=n), is_text, 0)
    y = (told + rng.logistic(size=n) > 0).astype(float)
    return Rows(x, y + (told > 2) if task == "multiclass" else y, is_text, 3 if task == "multiclass" else 2)


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(1)
    y, p = (rng.random(80) < 0.4).astype(float), np.round(rng.random(80), 1)
    assert score("binary", y, p) == pytest.approx(roc_auc_score(y, p))
    y3, p3 = rng.integers(0, 3, 80).astype(float), rng.dirichlet([1, 1, 1], 80)
    assert score("multiclass", y3, p3) == pytest.approx(-log_loss(y3, p3))
    assert score("regression", p, y) == pytest.approx(r2_score(p, y))
    assert score("regression", np.ones(4), np.ones(4)) == 0.0


@pytest.mark.parametrize("model", ["gradient_boosting", "linear"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_columns_that_matter_are_the_important_ones(task, model):
    data = world(task=task)
    spec = Importance(model=model, folds=2, repeats=2)
    found = judged(data, spec, task, splits(data, spec))
    mean = found.importance.mean(axis=0)
    assert set(np.argsort(-mean)[:3]) == {0, 1, 2}
    assert mean[3:].max() < mean[:3].min() / 3
    assert found.importance.shape == (2, 6)


def test_permutation_importance_agrees_with_scikit_learns():
    data = world(3_000)

    class Known:
        def fit(self, x, y):
            return self

        def predict(self, x):
            return np.nan_to_num(1.5 * x[:, 0] - x[:, 1])

    wanted = sk_importance(Known(), data.x, data.y, scoring=lambda m, x, y: roc_auc_score(y, m.predict(x)), n_repeats=20, random_state=0)
    found = permutation_importance(Known().predict, data, "binary", SPLIT, repeats=20)
    np.testing.assert_allclose(found, wanted.importances_mean, atol=0.004)
    assert found[2:].tolist() == [0, 0, 0, 0]  # exactly


def test_unused_columns_are_found_many_at_a_time():
    data = world(200, 64)
    asked = []

    def model(x):
        asked.append(1)
        return x[:, 0]

    model_importance = permutation_importance(model, data._replace(x=np.nan_to_num(data.x)), "binary", SPLIT, repeats=3)
    assert (model_importance != 0).sum() == 1
    assert len(asked) < 20


# shap 0.51.0, explainers.Exact with maskers.Independent, of the function and the rows of the test below
SHAP = [[0.551563, 0.650701, -0.384739, 0.0], [0.004028, -0.07907, -0.384739, 0.0], [0.154279, 0.098515, -0.384739, 0.0]]


def exact_shapley(f, row, background):
    """By definition: over all sets, with the mean over the background."""
    d = len(row)
    found = np.zeros(d)

    def value(inside):
        x = background.copy()
        x[:, list(inside)] = row[list(inside)]
        return f(x).mean()

    for j in range(d):
        others = [i for i in range(d) if i != j]
        for size in range(d):
            for inside in combinations(others, size):
                weight = math.factorial(size) * math.factorial(d - size - 1) / math.factorial(d)
                found[j] += weight * (value((*inside, j)) - value(inside))
    return found


def test_shapley_values_come_to_those_over_all_sets():
    rng = np.random.default_rng(2)
    background, x = rng.normal(size=(40, 4)), rng.normal(size=(3, 4))

    def f(z):
        return z[:, 0] * z[:, 1] + np.maximum(z[:, 2], 0)

    found = shapley_values(f, x, background, SPLIT, repeats=4_000)[:, :, 0]
    wanted = np.stack([exact_shapley(f, row, background) for row in x])
    np.testing.assert_allclose(found, wanted, atol=0.08)
    np.testing.assert_allclose(wanted, SHAP, atol=1e-6)
    assert found[:, 3].tolist() == [0, 0, 0]


def test_shapley_values_of_a_sum_are_exact_with_one_background_row_and_add_up():
    x, background = np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 1.0, 5.0]])

    def f(z):
        return np.stack([z.sum(axis=1), z[:, 0] * z[:, 1]], axis=1)

    found = shapley_values(f, x, background, SPLIT, repeats=1)[0]
    np.testing.assert_allclose(found[:, 0], [1.0, 1.0, -2.0])
    np.testing.assert_allclose(found[:, 1], [1.5, 0.5, 0.0])  # of each order 1 or 2, and 1 or 0
    np.testing.assert_allclose(found.sum(axis=0), f(x)[0] - f(background)[0])


def test_shapley_importance_of_a_model_ranks_the_columns_that_matter_first():
    data = world()
    spec = Importance(measure="shapley", folds=2, explained_rows=60, repeats=2)
    mean = judged(data, spec, "binary", splits(data, spec)).importance.mean(axis=0)
    assert set(np.argsort(-mean)[:3]) == {0, 1, 2}


def test_the_same_seed_gives_the_same_figures_and_folds_of_groups_stay_together():
    data = world(300)
    spec = Importance(folds=3, seeds=(0, 1), repeats=1)
    groups = [f"g{i % 40}" for i in range(300)]
    folds = splits(data, spec, groups)
    assert len(folds) == 6
    for fold in folds:
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.held_out}
        assert len(fold.train) + len(fold.held_out) == 300
    first, second = (judged(data, spec, "binary", splits(data, spec)) for _ in range(2))
    np.testing.assert_array_equal(first.importance, second.importance)


def test_folds_without_a_class_are_left_out_and_none_left_is_told():
    data = world(300)
    one = data._replace(y=np.arange(300) == 0)
    with pytest.raises(DataError, match="none of 3 folds of 300 sampled rows has every class on both sides"):
        splits(one, Importance())


def test_elimination_keeps_what_matters_and_ranks_the_rest():
    data = world(900, 10)
    spec = Importance(folds=3, model="linear")
    found = eliminated(data, spec, "binary", splits(data, spec))
    assert found.sizes.tolist() == sizes_of(10) == [10, 8, 6, 5, 4, 3, 2, 1]
    assert set(np.flatnonzero(found.kept)) == {0, 1, 2}
    assert (found.rank[:3] == 1).all()
    assert sorted(found.rank[3:]) == list(range(2, 9))
    assert found.selected.sum(axis=1).tolist() == [3, 3, 3]
    assert found.score[found.sizes == 3] > found.score[found.sizes == 1]


def test_a_model_of_text_codes_it_has_not_seen_predicts():
    data = world(200)
    for model in ("linear", "gradient_boosting"):
        predict = fitted(data, Importance(model=model), "binary", 0)
        unseen = data.x[:5].copy()
        unseen[:, 2] = 9.0
        assert np.isfinite(predict(unseen)).all()


def test_two_copies_share_their_importance_and_the_covering_set_has_one_or_both():
    data = world(900)
    copied = data._replace(x=np.column_stack([data.x, data.x[:, 0]]), is_text=np.append(data.is_text, False))
    spec = Importance(folds=2)
    mean = judged(copied, spec, "binary", splits(copied, spec)).importance.mean(axis=0)
    assert covering_set(mean, share=0.9)[[0, 6]].any()
