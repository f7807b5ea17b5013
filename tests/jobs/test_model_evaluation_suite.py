"""Model evaluation suite: figures against scikit-learn, gates and their consequences, report, and what bad input is told."""

import json
import math
from datetime import date, timedelta

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, mean_absolute_error, r2_score, roc_auc_score

from sparkds import config, tracking
from sparkds.cli import main
from sparkds.errors import ColumnError, ConfigError, DataError, GateError
from sparkds.jobs import model_trainer
from sparkds.jobs.model_evaluation_suite import Config, run
from sparkds.models import registry
from sparkds.tables import Tables, TableSpec
from tests.models.fitted import Fussy, log_pyfunc, signature

FEATURES = ("mean_radius", "mean_texture", "worst_area", "worst_symmetry")
SCHEMA = "patient int, malignant boolean, ward string, seen date, " + ", ".join(f"{f} double" for f in FEATURES)
TRAINING = {
    "name": "cancer",
    "table": "cancer",
    "keys": ["patient"],
    "label": "malignant",
    "positive": True,
    "leave_out": ["ward", "seen"],
    "split": {"kind": "hash", "seed": 3, "shares": {"train": 0.5, "validation": 0.2, "test": 0.3}},
    "folds": {"kind": "hash", "n_folds": 3, "seed": 1},
    "learning_curve": [0.5, 1],
    "task": "binary",
    "estimator": {"kind": "logistic"},
    "cost": {"false_positive": 1, "false_negative": 10},
    "seed": 1,
    "sample_seed": 2,
    "importance": {"max_rows": 100, "repeats": 5},
    "model": "cancer",
}
GATES = [{"kind": "metric", "metric": "auc", "at_least": 0.9}, {"kind": "overfit"}, {"kind": "reproducible"}, {"kind": "signature"}]
CONF = {
    "name": "judged",
    "table": "cancer",
    "keys": ["patient"],
    "label": "malignant",
    "positive": True,
    "model": "models:/cancer/1",
    "training": "cancer",
    "groups": ["ward"],
    "period": {"time": "seen", "by": "month"},
    "slices": {"least": 10},
    "bins": "distinct",
    "gates": GATES,
    "replicates": 50,
}
SCORED = {"name": "given", "table": "scored", "keys": ["id"], "label": "y", "positive": 1, "scores": {"ours": "a", "theirs": "b"}}


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def cancer():
    data = load_breast_cancer(as_frame=True)
    rows = data.data.rename(columns=lambda name: name.replace(" ", "_"))[list(FEATURES)].to_numpy()
    told = zip(data.target, rows, strict=True)
    return [(i, bool(y == 0), "ab"[i % 2], date(2026, 1, 1) + timedelta(days=i % 80), *map(float, row)) for i, (y, row) in enumerate(told)]


def write(spark, root, rows, schema, name):
    Tables(spark, str(root / "in")).replace(name, spark.createDataFrame(rows, schema), rows=None, metadata={}, spec=TableSpec())


def go(spark, root, conf=CONF, days=(None, None), **changes):
    told = Config.model_validate({**conf, **changes})
    return run(config=told, input=str(root / "in"), output=str(root / "out"), spark=spark, start=days[0], end=days[1])


def told(spark, root, name):
    return [row.asDict() for row in Tables(spark, str(root / "out")).read(name).collect()]


def figures(spark, root, name, evaluation):
    rows = [row for row in told(spark, root, f"{name}_evaluation") if row["evaluation"] == evaluation]
    return {(r["kind"], r["model"], r["other_model"], r["group"], r["group_value"], r["name"], r["at"]): r for r in rows}


def train(spark, root, **changes):
    made = model_trainer.Config.model_validate({**TRAINING, **changes})
    return model_trainer.run(config=made, input=str(root / "in"), output=str(root / "out"), spark=spark)


@pytest.fixture(scope="module")
def judged(spark, tmp_path_factory):
    """A trained model, evaluated and promoted."""
    root = tmp_path_factory.mktemp("judged")
    write(spark, root, cancer(), SCHEMA, "cancer")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        train(spark, root)
        return root, go(spark, root)


def scores_of(spark, root, uri):
    """Label and probability of the test rows by the model itself, on the driver."""
    part = {row["patient"]: row["split"] for row in told(spark, root, "cancer_splits")}
    rows = [row for row in cancer() if part[row[0]] == "test"]
    x = pd.DataFrame([row[4:] for row in rows], columns=FEATURES)
    return rows, np.array([float(row[1]) for row in rows]), mlflow.pyfunc.load_model(uri).predict(x)[:, 1]


def test_figures_of_every_model_are_scikit_learns_on_the_test_part(spark, judged):
    root, result = judged
    found = figures(spark, root, "judged", result.sections["evaluation"])
    baselines = json.loads(mlflow.MlflowClient().get_model_version("cancer", "1").tags["sparkds.baselines"])
    assert set(baselines) == {"majority", "hist_gradient_boosting"}
    for model, uri in {"candidate": "models:/cancer/1", **baselines}.items():
        _, y, p = scores_of(spark, root, uri)
        of = {name: found["metric", model, "", "", "", name, None]["value"] for name in ("auc", "average_precision", "brier", "log_loss")}
        assert of["auc"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
        assert of["average_precision"] == pytest.approx(average_precision_score(y, p), abs=1e-12)
        assert of["brier"] == pytest.approx(brier_score_loss(y, p), abs=1e-12)
        assert of["log_loss"] == pytest.approx(log_loss(y, p), abs=1e-9)
    assert result.processed_items == len(y)
    assert ("comparison", "candidate", "hist_gradient_boosting", "", "", "auc_difference", None) in found


def test_the_threshold_of_the_model_groups_periods_and_slices_are_those_of_the_rows(spark, judged):
    root, result = judged
    found = figures(spark, root, "judged", result.sections["evaluation"])
    rows, y, p = scores_of(spark, root, "models:/cancer/1")
    threshold = float(mlflow.MlflowClient().get_model_version("cancer", "1").tags["sparkds.threshold"])
    ward = np.array([row[2] for row in rows])
    for value in "ab":
        rate = found["fairness", "candidate", "", "ward", value, "selection_rate", threshold]
        assert rate["value"] == pytest.approx((p[ward == value] >= threshold).mean(), abs=1e-12)
    month = np.array([row[3].month for row in rows])
    base = found["metric", "candidate", "", "period", "2026-02-01", "base_rate", None]
    assert base["value"] == pytest.approx(y[month == 2].mean(), abs=1e-12)
    assert not any(key[0] == "fairness" and key[3] == "period" for key in found)
    assert {key[3] for key in found if key[0] == "slice"} <= {"ward", *FEATURES} | {
        f"{a} × {b}" for a in ("ward", *FEATURES) for b in FEATURES
    }


def test_a_model_that_passes_becomes_champion_with_report_and_card(spark, judged):
    root, result = judged
    assert result.sections["gates"] == {"passed": True, "promoted": True, "failed": [], "not_computable": []}
    assert registry.alias_version("cancer", "champion") == 1
    verdicts = {row["gate"]: row for row in told(spark, root, "judged_gates")}
    assert {row["status"] for row in verdicts.values()} == {"pass"}
    assert verdicts["overfit_auc"]["figure"] < 0.05
    folder = root / "out" / "judged_report"
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "**All gates pass. It becomes the champion: models:/cancer/1.**" in text
    for part in ("## Calibration", "## Fairness", "## Stability over time", "## Importance", "## Training", "cross-validation: auc"):
        assert part in text
    assert (folder / "report.html").read_text(encoding="utf-8").count("data:image/png;base64,") == text.count("](") >= 9
    client = mlflow.MlflowClient()
    card, description = (folder / "model_card.md").read_text(encoding="utf-8"), client.get_model_version("cancer", "1").description
    assert len(description) <= 5000
    assert description.split("… the whole card")[0].rstrip() in card
    assert len(description) > 1000
    logged = client.get_run(result.sections["run_id"])
    assert logged.data.tags["gates"] == "pass"
    assert {file.path for file in client.list_artifacts(logged.info.run_id, "report")} >= {"report/report.html", "report/roc_curves.png"}


def test_an_evaluation_again_writes_the_same_rows_in_the_place_of_the_old_ones(spark, judged):
    root, result = judged
    before = figures(spark, root, "judged", result.sections["evaluation"])
    again = go(spark, root, model="models:/cancer@challenger")  # it has become the champion
    assert "there is no challenger of 'cancer'; its champion, version 1, is judged again" in again.warnings
    assert again.sections["evaluation"] == result.sections["evaluation"]
    assert again.sections["run_id"] == result.sections["run_id"]
    assert figures(spark, root, "judged", result.sections["evaluation"]) == before


def test_a_challenger_that_is_worse_than_the_champion_stays_a_challenger(spark, judged, tmp_path, monkeypatch, capfd):
    root, _ = judged
    made = train(spark, root, name="weak", features=["mean_texture"], leave_out=[])
    assert made.sections["model"]["version"] == 2
    gates = [*GATES, {"kind": "not_worse", "than": "champion"}, {"kind": "not_worse", "than": "baselines", "metric": "log_loss"}]
    conf = {**CONF, "model": "models:/cancer@challenger", "training": "weak", "name": "weak", "gates": gates, "baselines": False}
    with pytest.raises(GateError, match=r"models:/cancer/2 does not pass its gates: auc \(fail.*no baseline was evaluated.*report.html"):
        go(spark, root, conf)
    assert (registry.alias_version("cancer", "champion"), registry.alias_version("cancer", "challenger")) == (1, 2)
    monkeypatch.setattr("sparkds.cli.sessions.session", lambda *args, **kwargs: spark)
    monkeypatch.setattr("sparkds.cli.sessions.environment", lambda spark: {})
    path = tmp_path / "job.yml"
    common = ["model_evaluation_suite", "--input", str(root / "in"), "--output", str(root / "out"), "--config", str(path)]
    codes = []
    for fail in (True, False):
        path.write_text(config.as_yaml(Config.model_validate({**conf, "fail_on_gates": fail})), encoding="utf-8")
        codes.append(main(common))
        status = json.loads(capfd.readouterr().out)
    assert codes == [1, 0]
    assert status["gates"]["failed"] == ["auc", "not_worse_than_champion:champion"]
    assert status["gates"]["not_computable"] == ["not_worse_than_baselines"]
    assert not status["gates"]["promoted"]
    found = figures(spark, root, "weak", status["evaluation"])
    difference = found["comparison", "candidate", "champion", "", "", "auc_difference", None]
    assert difference["value"] < -0.1
    assert difference["high"] < 0


def test_tables_of_another_training_are_refused(spark, judged):
    root, _ = judged
    train(spark, root, name="other", seed=9, model="elsewhere")
    with pytest.raises(ConfigError, match=r"table 'other_metrics' is of another training than models:/cancer/1"):
        go(spark, root, training="other")


def given(n=3000):
    rng = np.random.default_rng(4)
    a = rng.beta(1, 2, n)
    y = (rng.random(n) < a).astype(int)
    b = np.clip(a + rng.normal(0, 0.2, n), 0, 1)
    rows = [(i, int(y[i]), float(a[i]), float(b[i]), "xyz"[i % 3], date(2026, 3, 1 + i % 20), float(rng.normal())) for i in range(n)]
    return rows, "id int, y int, a double, b double, region string, day date, amount double"


def test_scores_that_are_columns_are_judged_by_day_without_a_model(spark, tmp_path):
    rows, schema = given()
    write(spark, tmp_path, rows, schema, "scored")
    result = go(spark, tmp_path, SCORED, days=(date(2026, 3, 2), date(2026, 3, 5)), judged="ours", day="day", fail_on_gates=False)
    inside = [row for row in rows if date(2026, 3, 2) <= row[5] <= date(2026, 3, 5)]
    assert result.processed_items == len(inside)
    found = figures(spark, tmp_path, "given", result.sections["evaluation"])
    row = found["metric", "theirs", "", "", "", "auc", None]
    known = roc_auc_score([r[1] for r in inside], [r[3] for r in inside])
    assert abs(row["value"] - known) <= found["metric", "theirs", "", "", "", "auc_hidden_by_bins", None]["value"] + 1e-12
    assert "signature" in result.sections["gates"]["not_computable"]
    assert any("leave fairness out" in warning for warning in result.warnings)
    text = (tmp_path / "out" / "given_report" / "report.md").read_text(encoding="utf-8")
    assert "nothing to promote" in text


def test_intersections_of_groups_are_shown_and_a_numeric_slice_is_found(spark, tmp_path):
    rows, schema = given()
    spoilt = [(*row[:2], 0.05 if row[6] > 1 else row[2], *row[3:]) for row in rows]
    write(spark, tmp_path, spoilt, schema, "scored")
    conf = {**SCORED, "judged": "ours", "groups": [["region", "day"], "region"], "slices": {"columns": ["amount", "region"], "bins": 10}}
    result = go(spark, tmp_path, conf, fail_on_gates=False, gates=[{"kind": "fairness", "criterion": "demographic_parity"}])
    found = figures(spark, tmp_path, "given", result.sections["evaluation"])
    assert any(key[0] == "fairness" and key[3] == "region × day" for key in found)
    worst = [key for key in found if key[0] == "slice" and key[5] == "loss_difference"]
    assert any(key[3] == "amount" and key[4].startswith("> 1.2") for key in worst)


def test_a_regression_has_its_errors_and_its_own_gates(spark, tmp_path):
    rng = np.random.default_rng(5)
    y = rng.normal(10, 3, 800)
    p = y + rng.normal(0, 1, 800)
    write(spark, tmp_path, [(i, float(y[i]), float(p[i])) for i in range(800)], "id int, y double, p double", "spent")
    conf = {
        "name": "spent",
        "table": "spent",
        "keys": ["id"],
        "label": "y",
        "task": "regression",
        "scores": {"ours": "p"},
        "judged": "ours",
    }
    result = go(spark, tmp_path, conf, fail_on_gates=False, quantiles=[0.5])
    found = figures(spark, tmp_path, "spent", result.sections["evaluation"])
    of = {name: found["metric", "ours", "", "", "", name, None]["value"] for name in ("rmse", "mae", "r_squared", "pinball_0.5")}
    assert of["rmse"] == pytest.approx(math.sqrt(((p - y) ** 2).mean()), rel=1e-12)
    assert (of["mae"], of["r_squared"]) == (pytest.approx(mean_absolute_error(y, p)), pytest.approx(r2_score(y, p)))
    assert of["pinball_0.5"] == pytest.approx(of["mae"] / 2)
    assert "## Errors by prediction" in (tmp_path / "out" / "spent_report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": "z"}, ColumnError, "column 'z' not found"),
        ({"scores": {"ours": "c"}}, ColumnError, "column 'c' not found in table 'scored'"),
        ({"groups": ["regoin"]}, ColumnError, "did you mean 'region'"),
        ({"slices": {"columns": ["c"]}}, ColumnError, "column 'c' not found"),
        ({"keys": ["region"]}, DataError, "repeats a key"),
        ({"period": {"time": "id"}}, ColumnError, "period 'id' is int; give a date column"),
        ({"compared": {"other": "models:/nobody/1"}}, ConfigError, "no registered model 'nobody'"),
    ],
)
def test_a_plan_that_does_not_fit_the_table_is_named_and_nothing_is_written(spark, tmp_path, change, error, message):
    rows, schema = given(30)
    write(spark, tmp_path, rows, schema, "scored")
    with pytest.raises(error, match=message):
        go(spark, tmp_path, {**SCORED, "judged": "ours"}, **change)
    assert not Tables(spark, str(tmp_path / "out")).exists("given_evaluation")


def test_rows_of_one_class_pass_no_gate_and_rows_without_label_or_day_are_an_error(spark, tmp_path):
    rows, schema = given(60)
    write(spark, tmp_path, [(row[0], 1, *row[2:]) for row in rows], schema, "scored")
    conf = {**SCORED, "judged": "ours", "gates": [{"kind": "metric", "metric": "auc", "at_least": 0.5}], "day": "day", "slices": None}
    with pytest.raises(GateError, match=r"auc \(not computable: all labels are 1; "):
        go(spark, tmp_path, conf)
    with pytest.raises(DataError, match=r"no row to evaluate in table 'scored' \(day from 2027-01-01"):
        go(spark, tmp_path, conf, days=(date(2027, 1, 1), None))
    write(spark, tmp_path, [(row[0], None, *row[2:]) for row in rows], schema, "scored")
    with pytest.raises(DataError, match="no row of 'scored' has a label and a score of 'ours'"):
        go(spark, tmp_path, conf)


def test_rows_on_which_the_model_fails_are_told_and_all_of_them_are_an_error(spark, tmp_path):
    store = tracking.store_of(str(tmp_path / "out"))
    tracking.connect(store, "fitted")
    mlflow.set_experiment("fitted")
    log_pyfunc(Fussy().predict, "fussy", signature({"x0": "double", "x1": "double"}, {"prediction": "double"}))
    conf = {"name": "f", "table": "t", "keys": ["id"], "label": "y", "task": "regression", "model": "models:/fussy/1", "gates": []}
    conf |= {"environment": "warn", "fail_on_gates": False, "slices": None}
    rows = [(i, float(i), 13.0 if i < 3 else 100.0 + i, 0.0) for i in range(40)]
    write(spark, tmp_path, rows, "id int, y double, x0 double, x1 double", "t")
    result = go(spark, tmp_path, conf)
    assert any("'candidate' fails on 3 rows" in warning for warning in result.warnings)
    found = figures(spark, tmp_path, "f", result.sections["evaluation"])
    assert found["rows", "candidate", "", "", "", "score_missing", None]["value"] == 3
    assert found["metric", "candidate", "", "", "", "bias", None]["value"] == pytest.approx(100)
    write(spark, tmp_path, [(i, float(i), 13.0, 0.0) for i in range(40)], "id int, y double, x0 double, x1 double", "t")
    with pytest.raises(DataError, match="has a label and a score of 'candidate'"):
        go(spark, tmp_path, conf)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "give model .* or judged"),
        ({"model": None, "judged": "mine"}, "judged 'mine' is not among scores"),
        ({"day": "seen"}, "training evaluates the test part of its split"),
        ({"positive": None}, "task binary needs `positive`"),
        ({"compared": {"champion": "models:/x/1"}}, "'champion' is taken"),
        ({"scores": {"a b": "c"}}, "'a b' is made into a column"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config.model_validate({**CONF, **change})


def test_the_shipped_configuration_loads():
    told = config.load(Config, "conf/model_evaluation_suite.yml")
    assert told.name_judged == "candidate"
    assert len(told.gates_judged) == 10
