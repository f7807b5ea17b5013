"""Batch scorer: the command on small tables - what is written, once, and what is refused before anything is."""

import json
import math
from datetime import date

import mlflow
import numpy as np
import pandas as pd
import pytest

from sparkds import config, tracking
from sparkds.cli import main
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.jobs.batch_scorer import Config, run
from sparkds.models.model_version import resolve
from sparkds.tables import Tables, TableSpec
from tests.models.fitted import NAMES, Fussy, log_classifier, log_pyfunc, quiet, signature

DAYS = (date(2026, 1, 1), date(2026, 1, 2))
CONF = {"model": "models:/prospects@champion", "table": "features", "keys": ["id"], "day": "as_of"}
FUSSY = {**CONF, "model": "models:/fussy/1", "day": None}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Registry with a classifier, its champion, and a model that fails on thirteen."""
    folder = tmp_path_factory.mktemp("registry")
    found = tracking.Store(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())
    tracking.connect(found, "fitted")
    mlflow.set_experiment("fitted")
    version = log_classifier()
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("prospects", "champion", str(version))
    client.set_model_version_tag("prospects", str(version), "sparkds.threshold", "0.4")
    log_pyfunc(Fussy().predict, "fussy", signature({"x0": "double", "x1": "double"}, {"prediction": "double"}))
    log_classifier("old", requirements=["scikit-learn==1.2.0"])
    return found.tracking_uri


def rows_of_days(n=40):
    rng = np.random.default_rng(3)
    return [(i, day, *map(float, rng.normal(size=3))) for day in DAYS for i in range(n)]


def write(spark, root, rows, schema="id bigint, as_of date, x0 double, x1 double, x2 double", **told):
    Tables(spark, str(root / "in")).replace(
        "features", spark.createDataFrame(rows, schema), rows=None, metadata={}, spec=TableSpec(), **told
    )


def go(spark, root, store, conf=CONF, **asked):
    return run(config=Config(**{**conf, "tracking": store}), input=str(root / "in"), output=str(root / "out"), spark=spark, **asked)


def scores(spark, root):
    return [row.asDict() for row in Tables(spark, str(root / "out")).read("scores").collect()]


def test_every_row_of_a_day_is_scored_once_with_version_and_decision(spark, tmp_path, store):
    rows = rows_of_days()
    write(spark, tmp_path, rows)
    conf = {**CONF, "decision": {"score": "probability_1"}}
    first = go(spark, tmp_path, store, conf=conf)
    assert first.sections["scored"] == [{"as_of": "2026-01-02", "rows": 40, "failed": 0}]
    go(spark, tmp_path, store, conf=conf, start=DAYS[0], end=DAYS[1])
    found = {(r["id"], r["as_of"]): r for r in scores(spark, tmp_path)}
    assert len(found) == 80
    x = pd.DataFrame([row[2:] for row in rows], columns=list(NAMES))
    known = mlflow.pyfunc.load_model("models:/prospects@champion").predict(x)
    pinned = str(Tables(spark, str(tmp_path / "in")).version("features"))
    for row, p in zip(rows, known.tolist(), strict=True):
        told = found[row[0], row[1]]
        assert (told["probability_0"], told["probability_1"]) == tuple(p)
        assert told["decision"] == (p[1] >= 0.4)
        assert (told["model_name"], told["model_version"], told["features_version"]) == ("prospects", 1, pinned)
    target = Tables(spark, str(tmp_path / "out"))
    versions, before = target.version("scores"), scores(spark, tmp_path)
    again = go(spark, tmp_path, store, conf=conf, as_of=DAYS[1])
    if target.commits("scores"):  # where settings are locked a merge keeps no metadata, and the day is scored again
        assert (again.tables[0].version, again.tables[0].rows) == (versions, 0)
    plain = [{(r["id"], r["as_of"]): (r["probability_0"], r["probability_1"]) for r in rows} for rows in (before, scores(spark, tmp_path))]
    assert plain[0] == plain[1]
    assert go(spark, tmp_path, store, conf=conf, as_of=DAYS[1], rebuild=True).tables[0].rows == 40
    assert len(scores(spark, tmp_path)) == 80


def test_rows_on_which_the_model_fails_have_a_code_and_no_score(spark, tmp_path, store):
    rows = [(i, DAYS[0], {3: 13.0, 5: 99.0}.get(i, 1.0), 1.0, 0.0) for i in range(40)]
    write(spark, tmp_path, rows)
    with pytest.raises(DataError, match=r"2 of 40 rows have no score, more than max_error_share 0: .*thirteen.*; nothing was written"):
        go(spark, tmp_path, store, conf=FUSSY)
    assert not Tables(spark, str(tmp_path / "out")).exists("scores")
    told = go(spark, tmp_path, store, conf={**FUSSY, "max_error_share": 0.05})
    assert any("2 of 40 rows have no score" in warning for warning in told.warnings)
    found = {r["id"]: r for r in scores(spark, tmp_path)}
    assert {i: r["score_error"] for i, r in found.items() if r["score_error"]} == {3: "ValueError", 5: "not_finite"}
    assert {i for i, r in found.items() if r["prediction"] is None} == {3, 5}


def test_a_model_that_fails_on_every_row_writes_nothing(spark, tmp_path, store):
    write(spark, tmp_path, [(i, DAYS[0], 13.0, 1.0, 0.0) for i in range(1200)])
    with pytest.raises(DataError, match="1200 x ValueError .thirteen is not a number.; nothing was written"):
        go(spark, tmp_path, store, conf={**FUSSY, "max_error_share": 0.5})
    assert not Tables(spark, str(tmp_path / "out")).exists("scores")


def test_an_empty_table_and_a_day_without_rows_are_no_error(spark, tmp_path, store):
    write(spark, tmp_path, [])
    told = go(spark, tmp_path, store, as_of=DAYS[0])
    assert (told.processed_items, told.tables) == (0, [])
    assert any("no row to score" in warning for warning in told.warnings)
    assert any("has no day" in warning for warning in go(spark, tmp_path, store).warnings)


def test_a_key_that_stands_twice_writes_nothing(spark, tmp_path, store):
    write(spark, tmp_path, [*rows_of_days(3), (1, DAYS[1], 0.0, 0.0, 0.0)])
    with pytest.raises(DataError, match=r"repeat a key .*id=1"):
        go(spark, tmp_path, store)
    assert not Tables(spark, str(tmp_path / "out")).exists("scores")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "models:/prospects@champio"}, ConfigError, "did you mean 'champion'"),
        ({"model": "models:/nobody/1"}, ConfigError, "no registered model"),
        ({"keys": ["idd"]}, ColumnError, "did you mean 'id'"),
        ({"day": "x0"}, ColumnError, "must be a date"),
        ({"carry": ["score_error"]}, ColumnError, "'score_error' not found"),
        ({"decision": {"score": "probability_2"}}, ColumnError, "did you mean 'probability_"),
        ({"model": "models:/old/1"}, ConfigError, "install 'scikit-learn==1.2.0'"),
    ],
)
def test_what_does_not_fit_is_named_before_a_row_is_scored(spark, tmp_path, store, change, error, message):
    write(spark, tmp_path, rows_of_days(2))
    with pytest.raises(error, match=message):
        go(spark, tmp_path, store, conf={**CONF, **change})
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("scores*"))


def test_other_libraries_are_a_warning_where_that_is_declared(spark, tmp_path, store):
    write(spark, tmp_path, rows_of_days(2))
    told = go(spark, tmp_path, store, conf={**CONF, "model": "models:/old/1", "environment": "warn"})
    assert any("scikit-learn is" in warning for warning in told.warnings)
    assert told.processed_items == 2


def test_a_column_of_the_wrong_type_is_named(spark, tmp_path, store):
    rows = [(i, day, str(x0), x1, x2) for i, day, x0, x1, x2 in rows_of_days(2)]
    write(spark, tmp_path, rows, schema="id bigint, as_of date, x0 string, x1 double, x2 double")
    with pytest.raises(ColumnError, match="'x0' of table 'features' is string; model models:/prospects/1 takes double"):
        go(spark, tmp_path, store)


def test_a_pickle_is_refused_where_that_is_configured(spark, tmp_path, store, monkeypatch):
    write(spark, tmp_path, rows_of_days(2))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    from sparkds.models.model_cache import Pinned, loaded
    from sparkds.models.model_version import downloaded, resolve

    tracking.connect(tracking.Store(store, store), "fitted")
    found = resolve("models:/prospects@champion")
    with pytest.raises(Exception, match="(?i)pickle"):
        loaded(Pinned(found.uri + "#refused", downloaded(found, tmp_path), store, store))


def test_the_command_prints_one_json_object(spark, tmp_path, store, capfd):
    write(spark, tmp_path, rows_of_days(5))
    (tmp_path / "conf.json").write_text(json.dumps({**CONF, "tracking": store}))
    asked = [
        "batch_scorer",
        "-i",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
        "-c",
        str(tmp_path / "conf.json"),
        "--as-of",
        "2026-01-01",
    ]
    assert main(asked) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["status"], told["processed_items"], told["model"]["version"]) == ("completed", 5, 1)
    assert all(math.isfinite(r["probability_1"]) for r in scores(spark, tmp_path))


def test_days_without_a_date_column_and_an_environment_that_cannot_be_rebuilt_are_refused(spark, tmp_path, store):
    with pytest.raises(ConfigError, match="set day in the configuration"):
        go(spark, tmp_path, store, conf={**CONF, "day": None}, as_of=DAYS[0])
    with pytest.raises(ValueError, match="only road: spark_udf can"):
        Config(**{**CONF, "env_manager": "virtualenv"})
    with pytest.raises(ValueError, match="named twice"):
        Config(**{**CONF, "carry": ["id"]})


def test_the_features_that_moved_a_score_are_told_beside_it(spark, tmp_path, store):
    rows = [(1, DAYS[0], 0.5, 2.0, 0.0), (2, DAYS[0], 13.0, 1.0, 0.0)]
    write(spark, tmp_path, rows)
    wish = {"explanations": {"most": 1, "reference": {"x0": 0.0, "x1": 3.5}}, "max_error_share": 0.5}
    go(spark, tmp_path, store, conf={**FUSSY, **wish})
    found = {r["id"]: r for r in scores(spark, tmp_path)}
    assert [e.asDict() for e in found[1]["explanation"]] == [{"feature": "x1", "contribution": -1.5}]
    assert found[2]["explanation"] is None
    with pytest.raises(ConfigError, match="carries no reference values"):
        go(spark, tmp_path, store, conf={**FUSSY, "explanations": {}})
    with pytest.raises(ValueError, match="explanations need road: arrow"):
        Config(**{**FUSSY, "explanations": {}, "road": "spark_udf"})


def test_incremental_scores_what_changed_and_tells_what_is_gone(spark, tmp_path, store):
    conf = {**CONF, "incremental": True, "day": None}
    schema = "id bigint, as_of date, x0 double, x1 double, x2 double"
    first = [(i, DAYS[0], float(i), 0.0, 0.0) for i in range(20)]
    write(spark, tmp_path, first)
    with pytest.raises(ConfigError, match="incremental needs the change feed of table 'features'"):
        go(spark, tmp_path, store, conf=conf)
    source = Tables(spark, str(tmp_path / "fed"))
    spec = TableSpec(change_feed=True)
    source.replace("features", spark.createDataFrame(first, schema), rows=None, metadata={}, spec=spec)

    def again(**asked):
        told = Config(**{**conf, "tracking": store})
        return run(config=told, input=str(tmp_path / "fed"), output=str(tmp_path / "out"), spark=spark, **asked).sections

    told = again()
    assert (told["scored"][0]["rows"], told["changes"]["since"]) == (20, None)
    before = {r["id"]: r for r in scores(spark, tmp_path)}
    told = again()
    assert (told["scored"], told["changes"]["deleted"]) == ([], 0)
    changed = [(3, DAYS[0], -5.0, 0.0, 0.0), (99, DAYS[0], 1.0, 1.0, 1.0)]
    source.replace("features", spark.createDataFrame(changed, schema), rows={"id": [3, 99, 7]}, metadata={}, spec=spec)
    told = again()
    assert (told["scored"][0]["rows"], told["changes"]["deleted"]) == (2, 1)
    after = {r["id"]: r for r in scores(spark, tmp_path)}
    assert len(after) == 21
    pinned = str(source.version("features"))
    assert {i for i, r in after.items() if r["features_version"] == pinned} == {3, 99}
    untouched = [i for i in before if i != 3]
    assert [after[i] for i in untouched] == [before[i] for i in untouched]
    full = mlflow.pyfunc.load_model("models:/prospects@champion").predict(pd.DataFrame([c[2:] for c in changed], columns=list(NAMES)))
    assert [after[c[0]]["probability_1"] for c in changed] == full[:, 1].tolist()
    assert again(rebuild=True)["scored"][0]["rows"] == 20
    with pytest.raises(ConfigError, match="incremental scores what changed"):
        go(spark, tmp_path, store, conf={**conf, "day": "as_of"}, as_of=DAYS[0])


def test_a_version_that_is_deleted_after_it_was_resolved_is_named(spark, tmp_path, store, monkeypatch):
    write(spark, tmp_path, rows_of_days(2))
    version = log_classifier("shortlived")

    def resolved_then_gone(address):
        found = resolve(address)
        mlflow.MlflowClient().delete_model_version("shortlived", str(version))
        return found

    monkeypatch.setattr("sparkds.jobs.batch_scorer.resolve", resolved_then_gone)
    with pytest.raises(ConfigError, match="its files cannot be read .*; was the version deleted"):
        go(spark, tmp_path, store, conf={**CONF, "model": f"models:/shortlived/{version}"})
    assert not Tables(spark, str(tmp_path / "out")).exists("scores")


class Needy(mlflow.pyfunc.PythonModel):
    """Model that needs what is not there."""

    def load_context(self, context):
        raise ModuleNotFoundError("No module named 'not_installed_anywhere'")

    def predict(self, context, model_input, params=None):
        return model_input["x0"]


def test_a_model_that_cannot_be_loaded_is_named_before_a_row_is_scored(spark, tmp_path, store, monkeypatch):
    write(spark, tmp_path, rows_of_days(2))
    with mlflow.start_run(), quiet():
        mlflow.pyfunc.log_model(
            name="model", python_model=Needy(), signature=signature({"x0": "double"}, {"prediction": "double"}), pip_requirements=[],
            registered_model_name="needy",
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"models:/needy/1 cannot be loaded \(ModuleNotFoundError: .*not_installed_anywhere"):
        go(spark, tmp_path, store, conf={**CONF, "model": "models:/needy/1"})
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(ConfigError, match=r"(?i)cannot be loaded .*pickle.*; install what it needs, or allow its format"):
        go(spark, tmp_path, store)
    assert not Tables(spark, str(tmp_path / "out")).exists("scores")


def test_a_column_of_another_type_in_one_late_file_writes_nothing(spark, tmp_path, store):
    folder = tmp_path / "in" / "features"
    for schema, value in (("x1 double", 1.0), ("x1 string", "one")):
        rows = [(i, DAYS[0], 0.5, value, 0.0) for i in range(3)]
        frame = spark.createDataFrame(rows, f"id bigint, as_of date, x0 double, {schema}, x2 double")
        frame.coalesce(1).write.mode("append").parquet(str(folder))
    with pytest.raises((ColumnError, DataError), match=r"column \[x1\] in another type than the other files|column 'x1' .* is string"):
        go(spark, tmp_path, store)
    assert not Tables(spark, str(tmp_path / "out")).exists("scores")


def test_the_shipped_configuration_loads():
    assert config.load(Config, "conf/batch_scorer.yml").keys == ("customer_id",)
