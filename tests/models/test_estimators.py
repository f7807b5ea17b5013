"""Estimators: pipelines with preprocessing inside that take what is missing, unseen or constant, and repeat to the bit."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from sparkds.errors import ConfigError, DataError
from sparkds.models import estimators
from sparkds.models.estimators import (
    AnyEstimator,
    FeatureColumns,
    HistGradientBoosting,
    LightGBM,
    Logistic,
    Majority,
    MeanOfTraining,
    Ridge,
    XGBoost,
    default_baselines,
)

FEATURES = FeatureColumns(("x", "hole", "empty"), ("town",))


def world(n=300, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    town = rng.choice(["Bonn", "Köln", "Rom", None], size=n, p=[0.4, 0.3, 0.05, 0.25]).astype(object)
    hole = np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n))
    frame = pd.DataFrame({"x": x, "hole": hole, "empty": np.full(n, np.nan), "town": town})
    score = 2 * x + (town == "Köln") + np.isnan(hole) - 0.3
    return frame, (score + rng.logistic(size=n) > 0).astype(float), score + rng.normal(size=n)


@pytest.mark.parametrize(
    "kind", [Logistic(), Ridge(), HistGradientBoosting(n_trees=20), Majority(), MeanOfTraining()], ids=lambda e: e.kind
)
def test_a_pipeline_takes_what_is_missing_unseen_or_empty(kind):
    frame, label, number = world()
    task = kind.tasks[0]
    fitted = kind.fitted(frame, label if task == "binary" else number, None, FEATURES, task, 3)
    odd = pd.DataFrame({"x": [np.nan], "hole": [0.0], "empty": [1.0], "town": ["Atlantis"]})
    told = fitted.predict_proba(odd) if task == "binary" else fitted.predict(odd)
    assert np.isfinite(told).all()


def test_rare_and_unseen_towns_are_the_same_category_and_the_vocabulary_is_that_of_training():
    frame, label, _ = world()
    fitted = Logistic(most_categories=4).fitted(frame, label, None, FEATURES, "binary", 0)
    names = list(fitted["prepared"].get_feature_names_out())
    assert names == ["x", "hole", "missingindicator_hole", "town_(missing)", "town_Bonn", "town_Köln", "town_infrequent_sklearn"]
    few = Logistic(most_categories=3).fitted(frame, label, None, FEATURES, "binary", 0)
    rare, unseen = frame.head(1).assign(town="Rom"), frame.head(1).assign(town="Atlantis")
    assert few.predict_proba(rare).tobytes() == few.predict_proba(unseen).tobytes()
    assert few.predict_proba(rare)[0, 1] != few.predict_proba(frame.head(1).assign(town="Köln"))[0, 1]


def test_logistic_is_scikit_learns_pipeline_on_breast_cancer():
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer(as_frame=True)
    ours = Logistic(c=0.5).pipeline(FeatureColumns(tuple(map(str, data.feature_names))), "binary", seed=0).fit(data.data, data.target)
    direct = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000)).fit(data.data, data.target)
    np.testing.assert_allclose(ours.predict_proba(data.data), direct.predict_proba(data.data), rtol=0, atol=1e-12)


def test_libraries_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    monkeypatch.setitem(__import__("sys").modules, "xgboost", None)
    for kind in (LightGBM(), XGBoost()):
        with pytest.raises(ConfigError, match=f"pip install {kind.kind}"):
            kind.pipeline(FEATURES, "binary", seed=0)


@pytest.mark.parametrize("kind", [LightGBM(n_trees=10), XGBoost(n_trees=10, smallest_leaf=1)], ids=lambda e: e.kind)
def test_optional_libraries_fit_where_they_are_installed(kind):
    pytest.importorskip(kind.kind)
    frame, label, number = world()
    for task, target in (("binary", label), ("regression", number)):
        first, second = (kind.fitted(frame, target, None, FEATURES, task, 3) for _ in range(2))
        told = first.predict(frame)
        assert told.tobytes() == second.predict(frame).tobytes()
        assert np.corrcoef(told, target)[0, 1] > 0.5


def test_rows_without_any_feature_are_refused():
    with pytest.raises(DataError, match="no training row has a value in any of 1 features"):
        Logistic().fitted(world()[0], world()[1], None, FeatureColumns(("empty",)), "binary", 0)


def test_a_kind_says_which_task_it_does():
    with pytest.raises(ConfigError, match="'ridge' does not do binary; it does regression"):
        Ridge().pipeline(FEATURES, "binary", seed=0)


def test_every_kind_is_read_by_its_name_and_an_unknown_key_is_refused():
    adapter = TypeAdapter(AnyEstimator)
    for kind in ("majority", "mean", "logistic", "ridge", "hist_gradient_boosting", "lightgbm", "xgboost"):
        assert adapter.validate_python({"kind": kind}).kind == kind
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "logistic", "C": 1})


def test_baselines_are_a_constant_a_linear_model_and_trees_without_the_candidate():
    assert [b.kind for b in default_baselines("binary", Logistic())] == ["majority", "hist_gradient_boosting"]
    assert [b.kind for b in default_baselines("binary", Logistic(c=2))] == ["majority", "logistic", "hist_gradient_boosting"]
    assert [b.kind for b in default_baselines("regression", estimators.HistGradientBoosting())] == ["mean", "ridge"]
