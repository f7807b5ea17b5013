"""Model promoter: who becomes champion after an evaluation, and who does not."""

import json
from datetime import date

import mlflow
import pytest
from sklearn.linear_model import LogisticRegression

from sparkds import config, task_values, tracking
from sparkds.cli import main
from sparkds.errors import ConfigError, DataError, GateError, TableError
from sparkds.jobs import evaluation_tables
from sparkds.jobs.model_promoter import Config, run
from sparkds.models import registry
from sparkds.models.gates import Verdict
from sparkds.tables import Tables, TableSpec

CONF = Config(evaluation="judged")


@pytest.fixture
def output(tmp_path, monkeypatch):
    """Output location with a registered model of two versions."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    told = str(tmp_path / "out")
    tracking.connect(tracking.store_of(told), "tests")
    for slope in (1.0, 2.0):
        model = LogisticRegression().fit([[0.0], [slope]], [0, 1])
        mlflow.sklearn.log_model(model, name="model", registered_model_name="cancer", serialization_format="cloudpickle")
    return told


def judge(spark, output, version, *statuses, evaluation="e1"):
    """Verdicts as the evaluation suite writes them."""
    uri = f"models:/cancer/{version}" if version else "column ours"
    verdicts = [Verdict(f"gate{i}", "candidate", 0.5, "at_least", 0.4, status, "why") for i, status in enumerate(statuses)]
    frame = spark.createDataFrame(evaluation_tables.gate_values(evaluation, uri, verdicts), evaluation_tables.GATE_SCHEMA)
    facts = {"identity": evaluation, "model": uri}
    spec = evaluation_tables.gates_spec()
    Tables(spark, output).replace("judged_gates", frame, rows={"evaluation": [evaluation]}, metadata=facts, spec=spec)


def promote(spark, output, **days):
    return run(config=CONF, input="nowhere/", output=output, spark=spark, **days)


def test_the_version_judged_last_becomes_champion_once_and_the_one_before_is_kept(spark, output, tmp_path, monkeypatch):
    judge(spark, output, 1, "pass", "pass")
    first = promote(spark, output)
    assert (first.sections["champion_before"], first.sections["promoted"], first.processed_items) == (None, True, 2)
    judge(spark, output, 2, "pass", evaluation="e2")
    monkeypatch.setenv(task_values.FILE, str(tmp_path / "values.json"))
    monkeypatch.setattr("sparkds.cli.sessions.session", lambda *args, **kwargs: spark)
    monkeypatch.setattr("sparkds.cli.sessions.environment", lambda spark: {})
    told = ["model_promoter", "--input", output, "--output", output, "--config", "conf/model_promoter.yml", "--set", "evaluation=judged"]
    for promoted in ("true", "false"):
        assert main(told) == 0
        assert json.loads((tmp_path / "values.json").read_text())["promoted"] == promoted
        assert (registry.alias_version("cancer", "champion"), registry.alias_version("cancer", "previous_champion")) == (2, 1)


def test_a_gate_that_does_not_pass_and_a_newer_challenger_change_no_alias(spark, output):
    judge(spark, output, 1, "pass", "not_computable")
    with pytest.raises(GateError, match=r"models:/cancer/1 does not pass its gates: gate1 \(not computable: why\); it is not promoted"):
        promote(spark, output)
    judge(spark, output, 1, "pass")
    mlflow.MlflowClient().set_registered_model_alias("cancer", "challenger", "2")
    with pytest.raises(DataError, match=r"challenger of 'cancer' is version 2 by now, version 1 was judged; evaluate again"):
        promote(spark, output)
    assert registry.alias_version("cancer", "champion") is None


def test_without_an_evaluation_of_a_registered_version_nothing_is_promoted(spark, output):
    with pytest.raises(TableError, match="judged_gates"):
        promote(spark, output)
    judge(spark, output, None, "pass")
    with pytest.raises(ConfigError, match="judged column ours, which is no registered version"):
        promote(spark, output)
    tables = Tables(spark, output)
    tables.replace("judged_gates", tables.read("judged_gates"), rows=None, metadata={"job": "other"}, spec=TableSpec())
    with pytest.raises(DataError, match="was not an evaluation"):
        promote(spark, output)


def test_days_are_refused():
    with pytest.raises(ConfigError, match="a promotion has no days"):
        run(config=CONF, input="in/", output="out/", spark=None, as_of=date(2026, 1, 1))


def test_the_shipped_configuration_loads():
    assert config.load(Config, "conf/model_promoter.yml").tables_needed == ("buyers_test_gates",)
