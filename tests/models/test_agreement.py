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
