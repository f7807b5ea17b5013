"""Holidays of a table and embeddings by a model in the stage `generate`: read or resolved once, pinned in the state, composed."""

import json
import sys
from datetime import UTC, date, datetime

import mlflow
import pytest

from sparkds import tracking
from sparkds.cli import main
from sparkds.errors import ColumnError, ConfigError, TableError
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.tables import Tables, TableSpec
from tests.models.fitted import quiet, signature

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROWS = [
    ("a", date(2026, 1, 1), "quick fox"),
    ("a", date(2026, 1, 2), "lazy dog and fox"),
    ("b", date(2026, 1, 1), "boom"),
    ("b", date(2026, 1, 2), None),
    ("c", date(2026, 1, 2), "  "),
]


with quiet():  # of MLflow's advice on type hints

    class Measured(mlflow.pyfunc.PythonModel):
        """Length and number of spaces of a text, times a factor; fails on one text."""

        def __init__(self, factor):
            self.factor = factor

        def predict(self, context, model_input, params=None):
            texts = model_input["said"]
            if (texts == "boom").any():
                raise ValueError("boom")
            import numpy as np

            return self.factor * np.column_stack([texts.str.len(), texts.str.count(" ")]).astype(float)

    class Needy(mlflow.pyfunc.PythonModel):
        """Model that needs what is not there."""

        def load_context(self, context):
            raise ModuleNotFoundError("No module named 'not_installed_anywhere'")

        def predict(self, context, model_input, params=None):
            return model_input


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Registry of two versions of an embedding, one model that takes a number, and one that cannot be loaded."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not have the tests
    folder = tmp_path_factory.mktemp("registry")
    found = tracking.Store(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())
    tracking.connect(found, "embeddings")
    mlflow.set_experiment("embeddings")
    told = signature({"said": "string"}, {"length": "double", "spaces": "double"})
    for name, model, sign in (
        ("measured", Measured(1.0), told),
        ("measured", Measured(10.0), told),
        ("numbers", Measured(1.0), signature({"x": "double"}, {"y": "double"})),
        ("needy", Needy(), told),
    ):
        with mlflow.start_run(), quiet():
            mlflow.pyfunc.log_model(name="model", python_model=model, signature=sign, pip_requirements=[], registered_model_name=name)
    mlflow.MlflowClient().set_registered_model_alias("measured", "now", "1")
    return found.tracking_uri


EMBEDDING = {"kind": "embedding", "model": "models:/measured@now", "column": "the text", "dimensions": ["n.chars", "n_spaces"]}
HOLIDAY = {"kind": "holiday", "column": "as_of", "table": "holidays"}


def settings(store, *derivations, **changes):
    stage = {"kind": "generate", "table": "notes", "derivations": list(derivations), "tracking": store, **changes}
    return {"source": "notes", "keys": ["customer"], "event_time": "as_of", "time_zone": "UTC", "stages": [stage]}


def go(spark, root, store, *derivations, **changes):
    told = Config.model_validate(settings(store, *derivations, **changes))
    return run(config=told, input=str(root / "in"), output=str(root / "out"), spark=spark, now=NOW)


@pytest.fixture
def place(spark, tmp_path):
    notes = spark.createDataFrame(ROWS, "customer string, as_of date, `the text` string")
    Tables(spark, str(tmp_path / "out")).replace("notes", notes, rows=None, metadata={}, spec=TableSpec(comment="notes"))
    spark.createDataFrame([(date(2026, 1, 1), "x")], "date date, name string").write.parquet(str(tmp_path / "in" / "holidays"))
    return tmp_path


def rows(spark, root):
    found = Tables(spark, str(root / "out")).read("notes_generated").collect()
    return {(row["customer"], row["as_of"].day): (row["n.chars"], row["n_spaces"], row["as_of_holiday"]) for row in found}


def test_embeddings_and_holidays_are_pinned_by_the_first_run_and_zero_without_text(spark, place, store):
    done = go(spark, place, store, EMBEDDING, HOLIDAY)
    expected = {
        ("a", 1): (9.0, 1.0, 1),
        ("a", 2): (16.0, 3.0, 0),
        ("b", 1): (None, None, 1),
        ("b", 2): (0.0, 0.0, 0),
        ("c", 2): (0.0, 0.0, 0),
    }
    assert rows(spark, place) == expected
    states = {row["kind"]: row for row in Tables(spark, str(place / "out")).read("notes_generated_states").collect()}
    assert json.loads(states["embedding"]["state"])["uri"] == "models:/measured/1"
    assert json.loads(states["holiday"]["state"]) == {"dates": {"": ["2026-01-01"]}}
    assert [table.name for table in done.tables] == ["notes_generated", "notes_generated_states"]
    mlflow.MlflowClient().set_registered_model_alias("measured", "now", "2")
    try:
        again = go(spark, place, store, EMBEDDING, HOLIDAY)
        assert (again.tables[0].rows, rows(spark, place)) == (0, expected)
        later = go(spark, place, store, EMBEDDING, HOLIDAY, refit=True)
        assert later.sections["generate"]["states"]["embedding(the text)"]["version"] == 2
        assert rows(spark, place)["a", 1] == (90.0, 10.0, 1)
    finally:
        mlflow.MlflowClient().set_registered_model_alias("measured", "now", "1")


def test_a_model_or_table_that_does_not_fit_is_named_and_nothing_is_written(spark, place, store):
    for derivation, error, message in (
        ({**EMBEDDING, "model": "models:/needy/1"}, ConfigError, r"models:/needy/1 cannot be loaded \(ModuleNotFoundError"),
        ({**EMBEDDING, "model": "models:/mesured@now"}, ConfigError, "no registered model 'mesured'; did you mean 'measured'"),
        ({**EMBEDDING, "model": "models:/numbers/1"}, ConfigError, r"models:/numbers/1 takes x \(double\); an embedding gives it one text"),
        ({**EMBEDDING, "dimensions": 3}, ConfigError, "the declaration has 3 numbers"),
        ({**EMBEDDING, "column": "as_of"}, ColumnError, "column 'as_of' in table 'notes' has type date; a text is a string"),
        ({**HOLIDAY, "date_column": "day"}, ColumnError, "column 'day' not found in table 'holidays'"),
        ({**HOLIDAY, "table": "holydays"}, TableError, "holydays"),
    ):
        with pytest.raises(error, match=message):
            go(spark, place, store, derivation)
    assert not Tables(spark, str(place / "out")).exists("notes_generated")


def test_the_command_line_derives_time_and_text_in_one_run(spark, place, store, capsys):
    import yaml

    text = {"column": "the text", "features": {"kind": "vocabulary", "most": 50, "min_documents": 1}}
    told = settings(
        store,
        {"kind": "calendar", "column": "as_of", "parts": ["day_of_week"], "cyclic": ["month"]},
        {"kind": "time_since_previous", "column": "as_of", "keys": ["customer"], "tie": "the text", "unit": "days"},
        {"kind": "text_svd", "components": 2, "seed": 1, **text},
        {"kind": "tf_idf", **text},
        fit={"until": "2026-01-01"},
    )
    conf = place / "conf.yml"
    conf.write_text(yaml.safe_dump(told))
    code = main(["feature_engineering_pipeline", "--config", str(conf), "--input", str(place / "in"), "--output", str(place / "out")])
    assert code == 0
    status = json.loads(capsys.readouterr().out)
    assert status["status"] == "completed"
    found = {(row["customer"], row["as_of"].day): row for row in Tables(spark, str(place / "out")).read("notes_generated").collect()}
    assert found["a", 2]["as_of_since_previous_days"] == 1.0
    assert found["a", 1]["as_of_day_of_week"] == 4
    assert found["a", 2]["the text_tf_idf_fox"] == 1.0
    assert (found["b", 2]["the text_svd_0"], found["c", 2]["the text_svd_0"]) == (0.0, 0.0)
