"""The stage: what it writes, that it can be run again, that the gate stops after everything is written, and the command line."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from sparkds.cli import main
from sparkds.errors import ColumnError, DataError, GateError, TableError
from sparkds.features.leakage.finding import COLUMNS, TITLES
from sparkds.features.leakage.states import ALIGNMENT_COLUMNS
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.jobs.stages.leakage import ALIGNMENT_SCHEMA, FINDING_SCHEMA
from sparkds.tables import Tables, TableSpec

FEW = {kind: "off" for kind in TITLES if kind != "single_feature"}
SOME = {kind: "off" for kind in TITLES if kind not in ("feature_time", "single_feature", "entity_overlap", "psi")}
STAGE = {
    "kind": "leakage",
    "table": "training_set",
    "label": "bought",
    "time": "as_of",
    "split": {"column": "split", "by": "entity"},
    "severity": FEW,
}


def conf(**changes):
    return {
        "source": "orders", "keys": ["customer"], "event_time": "day", "time_zone": "Europe/Berlin",
        "name": "features", "stages": [{**STAGE, **changes}],
    }  # fmt: skip


def training_set(spark, out, *, leak=False, name="training_set"):
    rng = np.random.default_rng(1)
    rows = []
    for i in range(240):
        bought = bool(rng.random() < 0.5)
        told = float(bought) if leak else float(rng.normal())
        rows.append(
            (f"c{i}", date(2026, 1, 1), bought, "test" if i % 3 == 0 else "train", told, date(2025, 12, 1) + timedelta(days=i % 31))
        )
    frame = spark.createDataFrame(rows, "customer string, as_of date, bought boolean, split string, `days.since €` double, last_day date")
    Tables(spark, str(out)).replace(name, frame, rows=None, metadata={"job": "test"}, spec=TableSpec())


def go(spark, root, settings, **asked):
    return run(config=Config.model_validate(settings), input=str(root / "in"), output=str(root / "out"), spark=spark, **asked)


def rows_of(spark, root, name):
    return sorted(map(tuple, Tables(spark, str(root / "out")).read(name).collect()), key=repr)


def test_a_clean_table_passes_and_a_second_run_writes_the_same_rows(spark, tmp_path):
    training_set(spark, tmp_path / "out")
    first = go(spark, tmp_path, conf(severity=SOME))
    told = first.sections["leakage"]
    assert told["findings"] == {"error": 0, "warning": 0, "info": 0, "ok": 4, "skipped": 0}
    assert (told["found"], told["gate"], told["rows"]) == ([], {"level": "error", "passed": True}, {"train": 160, "test": 80})
    assert "Nothing was found." in Path(told["report"]).with_suffix(".md").read_text()
    assert {table.name: table.rows for table in first.tables} == {"features_leakage": 4, "features_alignment": 2 + 1}
    before = {name: rows_of(spark, tmp_path, name) for name in ("features_leakage", "features_alignment")}
    page = Path(told["report"]).read_text()
    again = go(spark, tmp_path, conf(severity=SOME))
    assert {table.name: (table.version, table.rows) for table in again.tables} == {table.name: (table.version, 0) for table in first.tables}
    assert again.sections == first.sections
    rebuilt = go(spark, tmp_path, conf(severity=SOME), rebuild=True)
    assert rebuilt.sections == first.sections
    assert {name: rows_of(spark, tmp_path, name) for name in before} == before
    assert Path(told["report"]).read_text() == page
    commit = Tables(spark, str(tmp_path / "out")).last_commit("features_leakage")
    assert commit.metadata["sources"] == {"training_set": "1"}
    assert {"definition_hash", "job", "stage"} <= set(commit.metadata)


def test_the_gate_stops_after_findings_and_report_are_written(spark, tmp_path):
    training_set(spark, tmp_path / "out", leak=True)
    with pytest.raises(
        GateError, match=r"Found: 1 error\. 1 of them stops at gate 'error'(.|\n)*'days.since €' alone tells the label with AUC 1.000"
    ):
        go(spark, tmp_path, conf())
    with pytest.raises(GateError, match="alone tells the label"):  # told again, without a new look
        go(spark, tmp_path, conf())
    assert Tables(spark, str(tmp_path / "out")).version("features_leakage") == 1
    found = [row for row in rows_of(spark, tmp_path, "features_leakage") if row[1] == "error"]
    assert [(row[0], row[2], row[4]) for row in found] == [("single_feature", "days.since €", 1.0)]
    assert "days.since €" in (tmp_path / "out" / "features_leakage_report" / "report.html").read_text()
    open_gate = go(spark, tmp_path, conf(gate="none", name="quiet", report=False))
    assert open_gate.sections["leakage"]["found"] == ["error: 'days.since €' alone tells the label with AUC 1.000 on 240 rows"]
    assert open_gate.sections["leakage"]["report"] is None
    assert {table.name for table in open_gate.tables} == {"quiet_leakage", "quiet_alignment"}


def test_the_command_line_ends_with_1_and_tells_what_stopped_it(spark, tmp_path, capsys):
    training_set(spark, tmp_path / "out", leak=True)
    (tmp_path / "in").mkdir()
    path = tmp_path / "conf.yml"
    path.write_text(json.dumps(conf()))
    kind = ["--session", "connect"] if "connect" in type(spark).__module__ else []
    asked = [
        "feature_engineering_pipeline",
        "--input",
        str(tmp_path / "in"),
        "--output",
        str(tmp_path / "out"),
        "--config",
        str(path),
        *kind,
    ]
    assert main(asked) == 1
    status = json.loads(capsys.readouterr().out)
    assert (status["status"], status["error"]["type"]) == ("failed", "GateError")
    assert "days.since €" in status["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"table": "trainig_set"}, TableError, "training_set"),
        ({"label": "bougth"}, ColumnError, "did you mean 'bought'"),
        ({"split": {"column": "split", "test": "holdout"}}, DataError, "known are train, holdout"),
        ({"compared_tables": ["scoring"]}, TableError, "scoring"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(spark, tmp_path, changes, error, told):
    training_set(spark, tmp_path / "out")
    with pytest.raises(error, match=told):
        go(spark, tmp_path, conf(**changes))
    assert not (tmp_path / "out" / "features_leakage").exists()


def test_keys_and_zone_are_the_jobs_and_tables_follow_from_the_declaration():
    config = Config.model_validate(conf(compared_tables=["scoring"], split={"column": "part", "table": "splits"}))
    (stage,) = config.stages
    check = stage.check(config, {})
    assert (check.keys, check.time_zone) == (("customer",), "Europe/Berlin")
    assert config.tables_needed == ("training_set", "splits", "scoring")
    assert config.tables_written == ("features_leakage", "features_alignment")
    assert config.tables_read == ()
    inputs = Config.model_validate(conf(location="input", keys=["customer", "shop"]))
    assert (inputs.tables_read, inputs.tables_needed) == (("training_set",), ())
    assert inputs.stages[0].check(inputs, {}).keys == ("customer", "shop")


def test_columns_that_a_training_set_has_beside_its_features_get_their_roles():
    types = {"customer": "string", "as_of": "date", "known_at": "timestamp", "bought": "boolean", "label_until": "date", "x": "double"}
    types |= {"features_known_at": "timestamp", "visits_known_at": "timestamp", "split": "string", "complete": "boolean"}
    config = Config.model_validate(conf(time="known_at", label_until="label_until"))
    check = config.stages[0].check(config, types)
    assert check.known_at == ("features_known_at", "visits_known_at")
    assert set(types) - set(check.roles) == {"x"}
    own = Config.model_validate(conf(time="known_at", known_at=["visits_known_at"], features=["x", "complete"]))
    check = own.stages[0].check(own, types)
    assert (check.known_at, "complete" in check.roles) == (("visits_known_at",), False)


def test_schemas_and_comments_name_the_same_columns():
    for schema, columns in ((FINDING_SCHEMA, COLUMNS), (ALIGNMENT_SCHEMA, ALIGNMENT_COLUMNS)):
        assert [part.split()[0].strip("`") for part in schema.split(", ")] == list(columns)


def test_figures_that_numpy_computed_are_written_as_plain_values():
    from types import SimpleNamespace

    from sparkds.jobs.stages.leakage import _values

    row = SimpleNamespace(figure=np.float64(0.5), n_rows=np.int64(3), qvalue=np.float64("nan"), what="x")
    told = _values(row, ("figure", "n_rows", "qvalue", "what"))
    assert told == (0.5, 3, None, "x")
    assert [type(value) for value in told] == [float, int, type(None), str]
