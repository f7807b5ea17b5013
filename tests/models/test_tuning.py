"""Tuning: a search is decided by its seed, its values are scikit-learn's, and one that was stopped goes on where it was."""

import sys

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sparkds.errors import ConfigError, DataError
from sparkds.models.estimators import HistGradientBoosting, Logistic
from sparkds.models.splits import HashFolds
from sparkds.models.training import Training, TrainingRows
from sparkds.models.tuning import Grid, Known, OptunaSearch, Range, check, tune
from sparkds.models.tuning_tasks import known_from_tasks
from tests.models.test_training import cancer

FOLDS = HashFolds(n_folds=3, seed=2)
LOGISTIC = Training(task="binary", estimator=Logistic(), seed=1)
SEARCH = OptunaSearch(metric="log_loss", parameters={"c": Range(low=1e-4, high=100, log=True)}, n_trials=8, seed=5, random_trials=3)


@pytest.fixture(scope="module")
def data():
    return cancer().of("train")


def test_a_grid_is_scikit_learns_grid_search(data):
    tuned = tune(Grid(metric="log_loss", parameters={"c": (0.001, 0.1, 10.0)}), data, LOGISTIC, FOLDS)
    direct = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": [0.001, 0.1, 10.0]}, scoring="neg_log_loss", cv=FOLDS.indices(data.entities),
    ).fit(data.rows, data.label)  # fmt: skip
    np.testing.assert_allclose([t.value for t in tuned.trials], -direct.cv_results_["mean_test_score"], rtol=1e-6)
    assert tuned.estimator == Logistic(c=direct.best_params_["logisticregression__C"])
    assert all(t.state == "completed" and len(t.fold_values) == 3 and t.seconds > 0 for t in tuned.trials)


def test_a_search_is_decided_by_its_seed_and_finds_what_is_better_than_its_worst(data):
    first, second = tune(SEARCH, data, LOGISTIC, FOLDS), tune(SEARCH, data, LOGISTIC, FOLDS)
    assert [t.parameters for t in first.trials] == [t.parameters for t in second.trials]
    assert [t.fold_values for t in first.trials] == [t.fold_values for t in second.trials]
    values = [t.value for t in first.trials if t.state == "completed"]
    assert min(values) < max(values)
    best = next(t for t in first.trials if t.value == min(values))
    assert first.estimator == Logistic(c=best.parameters["c"])
    other = tune(SEARCH.model_copy(update={"seed": 6}), data, LOGISTIC, FOLDS)
    assert [t.parameters for t in other.trials] != [t.parameters for t in first.trials]


def test_a_stopped_search_goes_on_without_fitting_what_it_knows(data, monkeypatch):
    whole = tune(SEARCH, data, LOGISTIC, FOLDS)
    seen = []

    def stopped(trial):
        seen.append(trial)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(SEARCH, data, LOGISTIC, FOLDS, on_trial=stopped)
    fitted = []
    real = sys.modules["sparkds.models.tuning"].fit
    monkeypatch.setattr("sparkds.models.tuning.fit", lambda *args: fitted.append(1) or real(*args))
    again = tune(SEARCH, data, LOGISTIC, FOLDS, known={t.key: Known(t.fold_values, 7.0) for t in seen})
    assert [(t.parameters, t.fold_values, t.state) for t in again.trials] == [(t.parameters, t.fold_values, t.state) for t in whole.trials]
    assert len(fitted) == sum(len(t.fold_values) for t in whole.trials[5:])
    assert all(t.seconds == 7 for t in again.trials[:5])


def test_trials_worse_than_the_median_are_pruned_and_never_chosen(data):
    search = OptunaSearch(metric="auc", parameters={"c": (1e-9, 1.0, 2.0)}, n_trials=12, seed=3, random_trials=4)
    tuned = tune(search, data, LOGISTIC, FOLDS)
    pruned = [t for t in tuned.trials if t.state == "pruned"]
    assert pruned
    assert all(len(t.fold_values) < 3 and np.isnan(t.value) and "median" in t.reason for t in pruned)
    assert tuned.estimator.c in (1.0, 2.0)
    whole = tune(search.model_copy(update={"prune": False}), data, LOGISTIC, FOLDS)
    assert all(t.state == "completed" for t in whole.trials)


def test_settings_of_trees_stay_whole_numbers(data):
    search = OptunaSearch(
        metric="auc", parameters={"n_trees": Range(low=2, high=6, whole=True), "learning_rate": (0.1, 0.3)}, n_trials=3, seed=3, prune=False
    )
    tuned = tune(search, data, Training(task="binary", estimator=HistGradientBoosting(), seed=1), FOLDS)
    assert all(isinstance(t.parameters["n_trees"], int) for t in tuned.trials)
    assert isinstance(tuned.estimator, HistGradientBoosting)


@pytest.mark.parametrize(
    ("search", "told"),
    [
        (Grid(metric="rmse", parameters={"c": (1.0,)}), "'rmse' is not of task binary"),
        (Grid(metric="auc", parameters={"depth": (1,)}), r"setting depth of logistic.*settings: most_categories, c, max_iter"),
        (Grid(metric="auc", parameters={"c": (-1.0,)}), "greater than 0"),
        (OptunaSearch(metric="auc", parameters={"c": Range(low=0, high=1)}, n_trials=1, seed=1), "greater than 0"),
    ],
)
def test_a_search_that_cannot_be_is_named_before_anything_is_fitted(search, told):
    with pytest.raises(ConfigError, match=told):
        check(search, LOGISTIC)


def test_ranges_and_grids_without_values_are_refused():
    with pytest.raises(ValidationError, match="low below high"):
        Range(low=1, high=1)
    with pytest.raises(ValidationError, match="whole ends"):
        Range(low=0.5, high=2, whole=True)
    with pytest.raises(ValidationError, match="0 combinations"):
        Grid(metric="auc", parameters={"c": ()})


def test_no_trial_with_a_value_is_an_error_with_the_first_reason(data):
    few = TrainingRows(data.rows, (np.arange(len(data)) == 3).astype(float), data.part, data.features, None, data.entities)
    with pytest.raises(DataError, match=r"none of 1 trials has a value; the first says: .*class"):
        tune(Grid(metric="auc", parameters={"c": (1.0,)}), few, LOGISTIC, FOLDS)


def test_optuna_that_is_not_installed_is_named(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"sparkds\[tune\]"):
        tune(SEARCH, data, LOGISTIC, FOLDS)


def test_a_grid_fitted_in_spark_tasks_has_the_values_of_the_driver(spark, data, monkeypatch):
    grid = Grid(metric="log_loss", parameters={"c": (0.001, 0.1, 10.0)}, on_spark=True)
    whole = tune(grid, data, LOGISTIC, FOLDS)
    first = whole.trials[0]
    known = known_from_tasks(spark, grid, data, LOGISTIC, FOLDS, {first.key: Known(first.fold_values, 1.0)})
    assert {key: told.fold_values for key, told in known.items()} == {t.key: t.fold_values for t in whole.trials[1:]}
    assert all(told.seconds > 0 for told in known.values())
    monkeypatch.setattr("sparkds.models.tuning_tasks.MOST_BYTES", 1000)
    assert known_from_tasks(spark, grid, data, LOGISTIC, FOLDS, {}) == {}
