"""Figures of the evaluation against those of MLflow's evaluator on the same small data."""

import numpy as np
import pandas as pd
import pytest

from sparkds.models.evaluation import evaluation_rows
from sparkds.models.score_evidence import ScoreEvidence
from sparkds.stats.score_counts import counted, score_edges


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_metrics_equal_those_of_mlflow_evaluate_on_breast_cancer(tmp_path):
    import mlflow
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    train = np.arange(len(y)) % 3 != 0
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.02)).fit(x[train], y[train])
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        experiment = mlflow.create_experiment("agreement", artifact_location=str(tmp_path / "artifacts"))
        with mlflow.start_run(experiment_id=experiment):
            logged = mlflow.sklearn.log_model(model, name="model", input_example=x[train].head(2), serialization_format="cloudpickle")
            told = mlflow.models.evaluate(
                logged.model_uri,
                pd.concat([x[~train], y[~train]], axis=1),
                targets="target",
                model_type="classifier",
                evaluators="default",
                evaluator_config={"log_model_explainability": False, "log_explainer": False},
            ).metrics
    finally:
        mlflow.set_tracking_uri(None)
    score = model.predict_proba(x[~train])[:, 1]
    rows = evaluation_rows(ScoreEvidence({("m", "", ""): counted(y[~train], score)}, {}, {}))
    found = {r.name: r.value for r in rows if r.kind in ("metric", "threshold")}
    for name, theirs in {
        "auc": "roc_auc", "log_loss": "log_loss", "accuracy": "accuracy_score", "precision": "precision_score", "recall": "recall_score",
        "f1": "f1_score", "true_positive": "true_positives", "false_negative": "false_negatives",
    }.items():  # fmt: skip
        assert found[name] == pytest.approx(told[theirs], rel=1e-12), name
    binned = evaluation_rows(ScoreEvidence({("m", "", ""): counted(y[~train], score, edges=score_edges(2_000, (0.5,)))}, {}, {}))
    in_bins = {r.name: r.value for r in binned if r.kind in ("metric", "threshold")}
    assert in_bins["log_loss"] == pytest.approx(told["log_loss"], rel=1e-12)
    assert abs(in_bins["auc"] - told["roc_auc"]) <= in_bins["auc_hidden_by_bins"] + 1e-12


def test_a_fit_on_greenes_data_has_the_published_coefficients_and_likelihood():
    """Spector and Mazzeo's data in Greene, Econometric Analysis, table of the logit model: -13.021, 2.826, 0.095, 2.379, log L -12.890."""
    from statsmodels.datasets import spector

    from sparkds.models.estimators import FeatureColumns, Logistic

    told = spector.load_pandas()
    x, y = told.exog[["GPA", "TUCE", "PSI"]], told.endog.to_numpy(dtype=float)
    pipeline = Logistic(c=1e8).fitted(x, y, None, FeatureColumns(("GPA", "TUCE", "PSI")), "binary", 0)
    scaler, model = pipeline.named_steps["prepared"].named_transformers_["numbers"][-1], pipeline.named_steps["model"]
    slope = model.coef_[0] / scaler.scale_
    assert slope == pytest.approx([2.826, 0.095, 2.379], abs=3e-3)  # the solver stops at a gradient of 1e-4
    assert model.intercept_[0] - slope @ scaler.mean_ == pytest.approx(-13.021, abs=2e-2)
    rows = evaluation_rows(ScoreEvidence({("m", "", ""): counted(y, pipeline.predict_proba(x)[:, 1])}, {}, {}))
    found = {r.name: r.value for r in rows if r.kind in ("metric", "threshold")}
    assert found["log_loss"] * len(y) == pytest.approx(12.890, abs=1e-3)
    assert (found["true_positive"], found["true_negative"]) == (8, 18)  # Greene: 8 of 11 and 18 of 21 predicted rightly
