"""The job: what a run writes and registers, what a second run leaves alone, and what bad input is told."""

import json
import math
from datetime import date, timedelta

import mlflow
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sparkds import config
from sparkds.cli import main
from sparkds.errors import ColumnError, ConfigError, DataError, TableError
from sparkds.jobs import model_trainer
from sparkds.jobs.model_trainer import Config, run
from sparkds.models import registry
from sparkds.models.splits import entity_text
from sparkds.tables import Tables

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
CONF = {
    "name": "cancer",
    "table": "cancer",
    "keys": ["patient"],
    "label": "malignant",
    "positive": True,
    "split": {"kind": "stratified", "seed": 3, "shares": SHARES},
    "task": "binary",
    "estimator": {"kind": "logistic"},
    "cost": {"false_positive": 1, "false_negative": 10},
    "seed": 1,
    "sample_seed": 2,
    "importance": {"max_rows": 100, "repeats": 2},
    "model": "cancer",
}
FEATURES = ("mean_radius", "mean_texture", "worst_area", "worst_symmetry")


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def cancer():
    data = load_breast_cancer(as_frame=True)
    rows = data.data.rename(columns=lambda name: name.replace(" ", "_"))[list(FEATURES)]
    return [(i, bool(y == 0), *map(float, row)) for i, (y, row) in enumerate(zip(data.target, rows.to_numpy(), strict=True))]


def write(spark, root, rows=None, schema=None, name="cancer"):
    told = "patient int, malignant boolean, " + ", ".join(f"{f} double" for f in FEATURES)
    frame = spark.createDataFrame(cancer() if rows is None else rows, schema or told)
    Tables(spark, str(root / "in")).replace(name, frame, rows=None, metadata={}, spec=model_trainer.training_tables.TableSpec())


def go(spark, root, rebuild=False, **changes):
    return run(
        config=Config.model_validate({**CONF, **changes}), input=str(root / "in"), output=str(root / "out"), spark=spark, rebuild=rebuild
    )


def told(spark, root, what, name="cancer"):
    return [row.asDict() for row in Tables(spark, str(root / "out")).read(f"{name}_{what}").collect()]


@pytest.fixture(scope="module")
def trained(spark, tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    write(spark, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return root, go(spark, root)


def test_the_registered_model_is_scikit_learns_on_the_rows_of_the_split_table(spark, trained):
    root, result = trained
    part = {row["patient"]: row["split"] for row in told(spark, root, "splits")}
    rows = cancer()
    assert len(part) == len(rows)
    x, y = np.array([row[2:] for row in rows]), np.array([row[1] for row in rows])
    parts = np.array([part[row[0]] for row in rows])
    for malignant in (True, False):
        n = (y == malignant).sum()
        assert abs(((y == malignant) & (parts == "train")).sum() - 0.6 * n) <= 0.5
    direct = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[parts == "train"], y[parts == "train"])
    wanted = direct.predict_proba(x)[:, 1]
    loaded = mlflow.pyfunc.load_model(result.sections["model"]["uri"])
    import pandas as pd

    np.testing.assert_allclose(loaded.predict(pd.DataFrame(x, columns=FEATURES))[:, 1], wanted, rtol=0, atol=1e-8)
    (auc,) = [r["value"] for r in told(spark, root, "metrics") if (r["model"], r["part"], r["metric"]) == ("candidate", "test", "auc")]
    assert auc == pytest.approx(roc_auc_score(y[parts == "test"], wanted[parts == "test"]), abs=1e-9)
    assert result.sections["test"]["auc"] == auc
    assert result.processed_items == 569
    outputs = [column.name for column in loaded.metadata.signature.outputs.inputs]
    assert outputs == ["probability_false", "probability_true"]


def test_the_run_and_the_version_say_what_they_were_made_of(spark, trained):
    root, result = trained
    client = mlflow.MlflowClient()
    version = client.get_model_version("cancer", "1")
    assert version.tags["sparkds.sources"] == json.dumps({"cancer": Tables(spark, str(root / "in")).source_version("cancer")})
    assert json.loads(version.tags["sparkds.features"]) == list(FEATURES)
    assert version.tags["sparkds.model_hash"] == result.sections["model_hash"]
    assert json.loads(version.tags["sparkds.cuts"]) == result.sections["cuts"]
    assert registry.alias_version("cancer", "challenger") == 1
    logged = client.get_run(version.run_id)
    assert logged.data.metrics["candidate.test.auc"] == result.sections["test"]["auc"]
    assert logged.data.params["estimator.kind"] == "logistic"
    models = {r["model"] for r in told(spark, root, "metrics")}
    assert models == {"candidate", "majority", "hist_gradient_boosting"}
    importance = sorted(told(spark, root, "importance"), key=lambda r: r["rank"])
    assert {r["feature"] for r in importance} == set(FEATURES)
    assert importance[-1]["coverage"] == pytest.approx(1)
    assert math.isfinite(result.sections["threshold"])


def test_the_same_run_again_finds_its_model_and_a_rebuild_gives_the_same_bits(spark, trained):
    root, result = trained
    before = [table.version for table in result.tables]
    again = go(spark, root)
    assert again.sections["model"]["version"] == 1
    assert not again.sections["model"]["is_new"]
    assert [table.version for table in again.tables] == before
    rebuilt = go(spark, root, rebuild=True)
    assert rebuilt.sections["model"]["version"] == 2
    assert rebuilt.sections["model_hash"] == result.sections["model_hash"]
    assert rebuilt.sections["test"] == result.sections["test"]
    changed = go(spark, root, seed=2)
    assert changed.sections["model"]["version"] == 3
    elsewhere = go(spark, root, name="other")
    assert elsewhere.sections["model"]["version"] == 2
    assert not elsewhere.sections["model"]["is_new"]
    assert "stays" in elsewhere.warnings[-1]


def test_rows_in_another_order_and_other_files_give_the_same_model(spark, trained, tmp_path):
    _, result = trained
    schema = "patient int, malignant boolean, " + ", ".join(f"{f} double" for f in FEATURES)
    frame = spark.createDataFrame(cancer()[::-1], schema).repartition(5)
    Tables(spark, str(tmp_path / "in")).replace("cancer", frame, rows=None, metadata={}, spec=model_trainer.training_tables.TableSpec())
    again = go(spark, tmp_path)
    assert again.sections["model_hash"] == result.sections["model_hash"]
    assert again.sections["test"] == result.sections["test"]
    assert again.sections["spine_hash"] == result.sections["spine_hash"]
    assert again.sections["spine_hash"].startswith("569:")


def world(n=240):
    rng = np.random.default_rng(3)
    rows = []
    for i in range(n):
        day = date(2026, 1, 1) + timedelta(days=int(rng.integers(0, 120)))
        amount, town = float(rng.normal()), str(rng.choice(["Bonn", "Rom"]))
        label = "yes" if amount + (town == "Rom") + rng.logistic() > 0.4 else "no"
        rows.append((i % 60, day, label, amount, None if i % 7 == 0 else int(i), town, i % 2 == 0, None, float("inf") if i == 5 else 1.0))
    return list({(row[0], row[1]): row for row in rows}.values())


MIXED = "customer int, day date, label string, amount decimal(12,6) , n bigint, town string, flag boolean, hole double, wild double"
TIMED = {
    "name": "mixed", "table": "mixed", "keys": ["customer", "day"], "label": "label", "positive": "yes", "model": "mixed",
    "split": {"kind": "temporal", "time": "day", "validation_from": "2026-03-01", "test_from": "2026-04-01", "gap_days": 5},
    "folds": {"kind": "expanding", "time": "day", "n_folds": 2, "test_days": 14, "gap_days": 2, "until": "2026-02-24"},
    "tuning": {"kind": "optuna", "metric": "log_loss", "n_trials": 4, "seed": 1, "random_trials": 2, "prune": False,
               "parameters": {"c": {"low": 0.01, "high": 10, "log": True}}},
    "calibration": "sigmoid",
}  # fmt: skip


def mixed(spark, root, rows=None):
    from decimal import Decimal

    given = [(*row[:3], Decimal(f"{row[3]:.6f}"), *row[4:]) for row in (world() if rows is None else rows)]
    write(spark, root, given, MIXED, "mixed")


def test_time_texts_decimals_holes_and_tuning_go_through_and_a_stopped_search_goes_on(spark, tmp_path, monkeypatch):
    mixed(spark, tmp_path)
    real, calls = model_trainer.train, []
    monkeypatch.setattr(model_trainer, "train", lambda *args, **kwargs: calls.append(1) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        go(spark, tmp_path, **TIMED)
    monkeypatch.setattr(model_trainer, "train", real)
    result = go(spark, tmp_path, **TIMED)
    assert result.sections["tuning"]["known"] == result.sections["tuning"]["trials"] == 4
    assert result.sections["tuning"]["best"]["c"] != 1
    parts = {(row["customer"], row["day"]): row["split"] for row in told(spark, tmp_path, "splits", "mixed")}
    assert {parts[key] for key in parts if key[1] < date(2026, 2, 24)} == {"train"}
    assert result.sections["rows"]["gap"] == sum(part == "gap" for part in parts.values()) > 0
    assert any("hole" in warning for warning in result.warnings)
    inputs = mlflow.models.get_model_info(result.sections["model"]["uri"]).signature.inputs.input_dict()
    assert list(inputs) == ["amount", "n", "flag", "hole", "wild", "town"]
    assert {column.type.name for name, column in inputs.items() if name != "town"} == {"double"}
    rows = told(spark, tmp_path, "metrics", "mixed")
    assert {r["part"] for r in rows} >= {"fold_0", "fold_1", "folds_mean", "folds_std", "train_minus_validation"}
    nested = mlflow.MlflowClient().search_runs(["1"], "tags.state = 'completed'")
    assert len(nested) == 8
    assert all({"value", "fold_0", "fold_1", "seconds"} <= set(r.data.metrics) and "c" in r.data.params for r in nested)


def test_a_sample_is_of_the_declared_size_and_said(spark, tmp_path):
    write(spark, tmp_path)
    result = go(spark, tmp_path, max_train_rows=400, importance=None, baselines=[{"kind": "majority"}])
    assert 200 < result.sections["sample"]["rows"] <= 400
    assert any("hash sample" in warning for warning in result.warnings)
    assert len(told(spark, tmp_path, "splits")) == 569
    assert entity_text([1]) == "1"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": "malignent"}, ColumnError, "did you mean 'malignant'"),
        ({"features": ["mean_radios"]}, ColumnError, "did you mean 'mean_radius'"),
        ({"positive": "yes"}, ConfigError, "'yes' is of another type than label 'malignant', which is boolean"),
        ({"positive": None}, ConfigError, "needs `positive`"),
        ({"table": "cancr"}, TableError, "did you mean 'cancer'"),
        ({"keys": ["mean_radius"]}, DataError, "repeats a key"),
        ({"keys": ["patient", "nowhere"]}, ColumnError, "'nowhere' not found"),
        ({"leave_out": list(FEATURES)}, ConfigError, "no column left to learn from"),
        ({"estimator": {"kind": "ridge"}}, ConfigError, "'ridge' does not do binary"),
        ({"weight": "malignant"}, ColumnError, "a weight is a positive number"),
    ],
)
def test_declarations_that_do_not_fit_the_table_are_named_and_nothing_is_written(spark, trained, tmp_path, change, error, message):
    root, _ = trained
    with pytest.raises(error, match=message):
        run(config=Config.model_validate({**CONF, **change}), input=str(root / "in"), output=str(tmp_path), spark=spark)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("cancer")]


@pytest.mark.parametrize(
    ("rows", "schema", "message"),
    [
        ([(i, None, 1.0) for i in range(9)], "patient int, malignant boolean, x double", "none of 9 rows has a label"),
        ([(i, True, 1.0) for i in range(9)], "patient int, malignant boolean, x double", r"has 1 classes \(true\)"),
        ([(i, i == 0, 1.0) for i in range(3)], "patient int, malignant boolean, x double", "leaves no row with a label for test"),
        (
            [(i, i % 2 == 0, None) for i in range(99)],
            "patient int, malignant boolean, x double",
            "no training row has a value in any of 1 features",
        ),
        ([(None, True, 1.0)], "patient int, malignant boolean, x double", "has a null one"),
        ([(i, i % 2 == 0, date(2026, 1, 1)) for i in range(9)], "patient int, malignant boolean, x date", "feature 'x' is date"),
    ],
)
def test_rows_that_cannot_train_are_named(spark, tmp_path, rows, schema, message):
    write(spark, tmp_path, rows, schema)
    with pytest.raises((DataError, ColumnError), match=message):
        go(spark, tmp_path, split={"kind": "hash", "seed": 4, "shares": SHARES})
    assert not (tmp_path / "out" / "cancer_metrics").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ["x"], "leave_out": ["y"]}, "of features, leave_out and selection one is given"),
        ({"features": ["x"], "selection": "decisions"}, "of features, leave_out and selection one is given"),
        ({"features": ["malignant"]}, "it is no feature"),
        ({"features": ["x", "x"]}, "name a column twice"),
        ({"tuning": {"kind": "grid", "metric": "auc", "parameters": {"c": [1]}}}, "tuning needs folds"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config.model_validate({**CONF, **change})


def test_days_on_the_command_line_are_refused_with_the_place_where_they_are_said():
    with pytest.raises(ConfigError, match="say which days train in the split"):
        run(config=Config.model_validate(CONF), input="in/", output="out/", spark=None, as_of=date(2026, 1, 1))


def test_the_spine_hash_is_of_the_keys_of_labelled_rows_in_any_order(spark):
    from sparkds.models.training_sample import label_counts

    rows = [(i, day, i % 2 == 0, "train" if i < 20 else "validation" if i < 30 else "test") for i in range(40) for day in (1, 2)]

    def spine(told):
        frame = spark.createDataFrame(told, "id int, day int, y boolean, split string")
        return label_counts(frame, "y", "binary", True, keys=["id", "day"]).spine_hash

    known = spine(rows)
    assert known.startswith("80:")
    assert spine(rows[::-1]) == known
    assert spine([(i, day, y, "train" if part == "test" and i > 35 else part) for i, day, y, part in rows]) == known
    assert spine(rows[1:]) != known
    assert spine([(41, 1, True, "train"), *rows[1:]]) != known
    assert spine([*rows, (50, 1, None, "train")]) == known


def test_groups_learn_from_all_rows_though_the_sample_has_some(spark, tmp_path):
    rng = np.random.default_rng(8)
    x = rng.normal(size=1600)
    rows = [(i, bool(rng.random() < 1 / (1 + np.exp(-(4 if i % 2 else -4) * x[i]))), float(x[i]), "ns"[i % 2]) for i in range(len(x))]
    write(spark, tmp_path, rows, "patient int, malignant boolean, x double, city string")
    told = {"kind": "per_group", "column": "city", "estimator": {"kind": "logistic"}, "least": 300}
    result = go(spark, tmp_path, estimator=told, max_train_rows=600, features=["x", "city"], cost=None, baselines=[])
    assert result.sections["sample"]["rows"] < 600
    assert result.sections["groups"] == {"column": "city", "models": 2}  # 480 training rows each, of which the sample has some 135
    assert result.sections["retrained_equal"] is True
    assert result.sections["test"]["auc"] > 0.9
    model = mlflow.sklearn.load_model(result.sections["model"]["uri"])
    assert set(model.models) == {"n", "s"}
    part = {row["patient"]: row["split"] for row in Tables(spark, str(tmp_path / "out")).read("cancer_splits").collect()}
    north = [row for row in rows if row[3] == "n" and part[row[0]] == "train"]
    direct = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit([[row[2]] for row in north], [row[1] for row in north])
    slope = direct.named_steps["logisticregression"].coef_[0, 0]
    assert model.models["n"].named_steps["model"].coef_[0, 0] == pytest.approx(slope, rel=2e-3)  # the group's column has a penalty


def test_the_command_line_prints_the_model_and_its_figures(spark, tmp_path, capfd, monkeypatch):
    write(spark, tmp_path)
    monkeypatch.setattr("sparkds.cli.sessions.session", lambda *args, **kwargs: spark)
    monkeypatch.setattr("sparkds.cli.sessions.environment", lambda spark: {})
    path = tmp_path / "job.yml"
    path.write_text(config.as_yaml(Config.model_validate({**CONF, "importance": None, "baselines": []})), encoding="utf-8")
    code = main(["model_trainer", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--config", str(path)])
    status = json.loads(capfd.readouterr().out)
    assert (code, status["status"]) == (0, "completed")
    assert status["model"]["uri"] == "models:/cancer/1"
    assert status["test"]["auc"] > 0.9


def test_the_kept_columns_of_a_selection_are_the_features(spark, tmp_path):
    source = Tables(spark, str(tmp_path / "in"))
    decided = [("mean_radius", True), ("worst_area", False), ("mean_texture", True)]
    spec = model_trainer.training_tables.TableSpec()
    source.replace("decisions", spark.createDataFrame(decided, "`column` string, kept boolean"), rows=None, metadata={}, spec=spec)
    chosen = Config.model_validate({**CONF, "selection": "decisions"})
    assert chosen.tables_read == ("cancer", "decisions")
    names = model_trainer.training_tables.feature_names
    assert names(chosen, ["patient", "malignant", *FEATURES], source) == ["mean_radius", "mean_texture"]
    with pytest.raises(ColumnError, match="'mean_texture' not found in table 'cancer'; selection 'decisions' keeps it"):
        names(chosen, ["patient", "malignant", "mean_radius"], source)
    with pytest.raises(ConfigError, match="keeps 'mean_radius', which is a key, the label or the weight"):
        names(chosen.model_copy(update={"label": "mean_radius"}), ["patient", *FEATURES], source)
    source.replace("mine", spark.range(2), rows=None, metadata={}, spec=spec)
    with pytest.raises(ColumnError, match="'column' not found in table 'mine', which is no table of decisions"):
        names(chosen.model_copy(update={"selection": "mine"}), list(FEATURES), source)
