"""Training: figures are scikit-learn's, validation chooses and test only judges, and the same seed gives the same bits."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sparkds.errors import ConfigError, DataError
from sparkds.models.estimators import FeatureColumns, HistGradientBoosting, Logistic, Ridge
from sparkds.models.score_metrics import Cost, binary_metrics, cheapest_threshold, decision_metrics, regression_metrics
from sparkds.models.splits import Hashed, HashFolds, Shares
from sparkds.models.training import Training, TrainingRows, cross_validated, fit, importance_of, model_hash, scores_of, train

SHARES = Shares(train=0.6, validation=0.2, test=0.2)


def cancer(n=None):
    data = load_breast_cancer(as_frame=True)
    rows = data.data.rename(columns=lambda name: name.replace(" ", "_")).head(n)
    entities = [str(i) for i in range(len(rows))]
    part = np.array([Hashed(seed=4, shares=SHARES).part_of(e) for e in entities], dtype=object)
    return TrainingRows(rows, data.target.to_numpy(float)[: len(rows)], part, FeatureColumns(tuple(rows.columns)), None, entities)


def value(found, model, part, metric):
    (row,) = [r for r in found.metrics if (r.model, r.part, r.metric) == (model, part, metric)]
    assert row.reason == ""
    return row.value


@pytest.fixture(scope="module")
def trained():
    training = Training(task="binary", estimator=Logistic(), calibration="sigmoid", cost=Cost(false_positive=1, false_negative=5), seed=3)
    return training, train(cancer(), training, folds=HashFolds(n_folds=3, seed=1))


def test_the_candidate_is_scikit_learns_calibrated_pipeline(trained):
    data = cancer()
    x, y = data.rows, data.label
    t, v, s = (data.part == part for part in ("train", "validation", "test"))
    direct = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[t], y[t])
    calibrated = CalibratedClassifierCV(FrozenEstimator(direct), method="sigmoid").fit(x[v], y[v])
    wanted = calibrated.predict_proba(x[s])[:, 1]
    np.testing.assert_allclose(trained[1].candidate.scores(data.of("test"), "binary"), wanted, rtol=0, atol=1e-10)
    for name, figure in (
        ("auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score),
        ("log_loss", metrics.log_loss), ("brier", metrics.brier_score_loss),
    ):  # fmt: skip
        assert value(trained[1], "candidate", "test", name) == pytest.approx(figure(y[s], wanted), abs=1e-9)
        raw = figure(y[s], direct.predict_proba(x[s])[:, 1])
        assert value(trained[1], "candidate_uncalibrated", "test", name) == pytest.approx(raw, abs=1e-9)


def test_baselines_stand_beside_the_candidate_and_the_constant_has_the_prior(trained):
    _, found = trained
    assert [model.name for model in found.baselines] == ["majority", "hist_gradient_boosting"]
    assert value(found, "majority", "test", "auc") == 0.5
    share = cancer().of("train").label.mean()
    assert value(found, "majority", "test", "mean_score") == pytest.approx(share)
    assert value(found, "hist_gradient_boosting", "train", "auc") == 1


def test_the_gap_is_train_minus_validation(trained):
    _, found = trained
    gap = value(found, "hist_gradient_boosting", "train_minus_validation", "auc")
    assert gap == 1 - value(found, "hist_gradient_boosting", "validation", "auc") > 0


def test_the_threshold_is_the_cheapest_on_validation_and_never_looks_at_test(trained):
    training, found = trained
    data = cancer()
    validation = data.of("validation")
    score = found.candidate.scores(validation, "binary")
    costs = {t: decision_metrics(validation.label, score, t, training.cost)["cost_per_row"][0] for t in (*score, math.inf)}
    assert found.candidate.threshold == max(t for t, c in costs.items() if c == min(costs.values()))
    other = data.label.copy()
    other[data.part == "test"] = 1 - other[data.part == "test"]
    changed = TrainingRows(data.rows, other, data.part, data.features, None, data.entities)
    again = train(changed, training)
    assert again.candidate.threshold == found.candidate.threshold
    assert model_hash(again.candidate.pipeline) == model_hash(found.candidate.pipeline)


def test_a_threshold_above_all_scores_is_right_when_acting_never_pays():
    label, score = np.array([0.0, 0, 1]), np.array([0.2, 0.9, 0.5])
    told = cheapest_threshold(label, score, Cost(false_positive=10, false_negative=1))
    assert told > 0.9
    assert decision_metrics(label, score, told, Cost(false_positive=10, false_negative=1))["precision"] == (
        pytest.approx(math.nan, nan_ok=True),
        "no row is selected",
    )


@pytest.mark.parametrize("estimator", [Logistic(), HistGradientBoosting(n_trees=30)], ids=lambda e: e.kind)
def test_the_same_data_and_seed_give_the_same_model_to_the_bit(estimator):
    training = Training(task="binary", estimator=estimator, baselines=(), calibration="isotonic", seed=11, importance=None)
    first, second = train(cancer(), training), train(cancer(), training)
    assert model_hash(first.candidate.pipeline) == model_hash(second.candidate.pipeline)
    assert first.candidate.scores(cancer(), "binary").tobytes() == second.candidate.scores(cancer(), "binary").tobytes()
    assert first.metrics == second.metrics
    other = train(cancer(500), training)
    assert model_hash(other.candidate.pipeline) != model_hash(first.candidate.pipeline)


def test_folds_report_every_figure_with_mean_and_spread(trained):
    _, found = trained
    data = cancer().of("train")
    seen = []
    for inside, outside in HashFolds(n_folds=3, seed=1).indices(data.entities):
        direct = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(data.rows.iloc[inside], data.label[inside])
        seen.append(metrics.roc_auc_score(data.label[outside], direct.predict_proba(data.rows.iloc[outside])[:, 1]))
    assert [value(found, "candidate", f"fold_{i}", "auc") for i in range(3)] == pytest.approx(seen, abs=1e-12)
    assert value(found, "candidate", "folds_mean", "auc") == pytest.approx(np.mean(seen))
    assert value(found, "candidate", "folds_std", "auc") == pytest.approx(np.std(seen, ddof=1))


def test_a_fold_without_one_class_has_a_reason_and_the_mean_says_how_many_count():
    data = cancer().of("train")
    few = TrainingRows(data.rows, (np.arange(len(data)) == 3).astype(float), data.part, data.features, None, data.entities)
    rows = cross_validated(Logistic(), few, Training(task="binary", estimator=Logistic(), seed=1), HashFolds(n_folds=3, seed=1))
    reasons = {r.part: r.reason for r in rows if r.metric == "auc"}
    assert sum("only one class" in reason or "both classes" in reason for reason in reasons.values()) == 3
    assert reasons["folds_mean"] == "0 of 3 folds have a value"


def test_importance_finds_the_feature_that_matters_and_covers_all_in_the_end():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"noise": rng.normal(size=600), "signal": rng.normal(size=600)})
    label = (rows["signal"] + rng.logistic(size=600) * 0.3 > 0).to_numpy(float)
    data = TrainingRows(rows, label, np.array(["train"] * 300 + ["validation"] * 300, dtype=object), FeatureColumns(("noise", "signal")))
    training = Training(task="binary", estimator=Logistic(), seed=5)
    found = importance_of(fit(Logistic(), data.of("train"), training), data.of("validation"), training)
    assert [f.feature for f in found] == ["signal", "noise"]
    assert found[0].importance > 0.3
    assert found[0].coverage > 0.95
    assert found[1].coverage == pytest.approx(1)
    assert found == importance_of(fit(Logistic(), data.of("train"), training), data.of("validation"), training)


def test_balanced_weights_are_scikit_learns():
    data = cancer().of("train")
    training = Training(task="binary", estimator=Logistic(), imbalance="balanced", seed=1)
    direct = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")).fit(data.rows, data.label)
    np.testing.assert_allclose(scores_of(fit(Logistic(), data, training), data, "binary"), direct.predict_proba(data.rows)[:, 1], atol=1e-9)


def test_regression_is_measured_beside_a_mean_and_a_line():
    rows = load_diabetes(as_frame=True).data
    y = load_diabetes().target
    part = np.array([Hashed(seed=4, shares=SHARES).part_of(str(i)) for i in range(len(rows))], dtype=object)
    data = TrainingRows(rows, y, part, FeatureColumns(tuple(rows.columns)))
    found = train(data, Training(task="regression", estimator=HistGradientBoosting(n_trees=30), seed=1, learning_curve=(0.3, 1)))
    assert [m.name for m in found.baselines] == ["mean", "ridge", "hist_gradient_boosting"]
    test = data.of("test")
    told = found.candidate.scores(test, "regression")
    assert value(found, "candidate", "test", "rmse") == pytest.approx(metrics.root_mean_squared_error(test.label, told))
    assert value(found, "candidate", "test", "r2") == pytest.approx(metrics.r2_score(test.label, told))
    assert value(found, "candidate", "test", "mae") == pytest.approx(metrics.mean_absolute_error(test.label, told))
    n = len(data.of("train"))
    assert value(found, "candidate", f"learning_{n}", "r2") == value(found, "candidate", "validation", "r2")
    with pytest.raises(ConfigError, match="regression has no calibration"):
        train(data, Training(task="regression", estimator=Ridge(), seed=1, calibration="sigmoid"))


def test_what_cannot_be_computed_has_a_reason():
    assert binary_metrics(np.ones(3), np.array([0.1, 0.2, 0.3]))["auc"][1] == "only one class: every label is 1"
    assert binary_metrics(np.empty(0), np.empty(0))["brier"][1] == "no rows"
    assert regression_metrics(np.ones(3), np.zeros(3))["r2"][1] == "every label is the same"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: TrainingRows(d.rows, np.zeros(len(d)), d.part, d.features), "a classifier needs both classes"),
        (lambda d: d.at(np.flatnonzero(d.part != "test")), "no row for test"),
        (lambda d: d.at(np.flatnonzero((d.part != "validation") | (d.label == 1))), "calibration needs both classes"),
    ],
)
def test_parts_that_cannot_train_or_judge_are_named(change, told):
    with pytest.raises(DataError, match=told):
        train(change(cancer()), Training(task="binary", estimator=Logistic(), calibration="isotonic", seed=1))
