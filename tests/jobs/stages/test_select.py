"""The stage: what a run writes, what a second run leaves alone, and what bad input is told."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from sparkds.cli import main
from sparkds.errors import ColumnError, ConfigError, DataError, GateError, TableError
from sparkds.features.select import selected_columns
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.jobs.selection_tables import SCHEMA
from sparkds.tables import Tables, TableSpec

CONF = {"source": "orders", "keys": ["customer"], "event_time": "day", "time_zone": "UTC", "name": "shop"}
SELECT = {
    "kind": "select",
    "label": "bought",
    "where": "split = 'train'",
    "importance": {"folds": 2, "repeats": 1, "model": "linear"},
}
NOW = datetime(2026, 6, 1, tzinfo=UTC)
COLUMNS = "customer string, split string, bought boolean, visits int, `visits · copy` double, `of.country` string, dice double, id string"


def training_set(spark, root, n=600):
    rng = np.random.default_rng(5)
    rows = []
    for i in range(n):
        visits = int(rng.integers(0, 20))
        bought = bool(rng.random() < 1 / (1 + np.exp(4 - 0.4 * visits)))
        country = str(rng.choice(["de", "fr"], p=[0.8, 0.2] if bought else [0.3, 0.7]))
        split = "train" if i % 3 else "test"
        leak = float(bought) if split == "test" else float(rng.normal())  # tells the label outside the training rows only
        rows.append((f"c{i}", split, None if i % 50 == 1 else bought, visits, visits * 2.0 + 1, country, leak, f"row {i}"))
    out = Tables(spark, str(root / "out"))
    out.replace(
        "training_set", spark.createDataFrame(rows, COLUMNS), rows=None, metadata={"job": "test"}, spec=TableSpec(keys=("customer",))
    )
    return rows


def conf(*stages):
    return Config.model_validate({**CONF, "stages": list(stages)})


def go(spark, root, **changes):
    return run(config=conf({**SELECT, **changes}), input=str(root / "in"), output=str(root / "out"), spark=spark, now=NOW)


def stored(spark, root, name="shop_selection"):
    return [row.asDict() for row in Tables(spark, str(root / "out")).read(name).orderBy("position").collect()]


def test_a_run_writes_the_decisions_and_a_second_one_nothing(spark, tmp_path):
    rows = training_set(spark, tmp_path)
    first = go(spark, tmp_path)
    section = first.sections["select"]
    assert section["features"] == ["visits", "of.country"]
    assert section["dropped"] == {"id_like": 1, "not_relevant": 1, "correlated": 1}
    assert (section["task"], section["candidates"], section["kept"]) == ("binary", 5, 2)
    assert section["left_out"] == ["customer", "split"]
    train = [r for r in rows if r[1] == "train"]
    n_no_label = sum(r[2] is None for r in train)
    assert (section["n_rows"], section["n_no_label"]) == (len(train), n_no_label)
    assert section["importance"]["n_sampled"] == len(train) - n_no_label
    assert first.warnings == [f"selection: {n_no_label} of {len(train)} rows have no label and were left out"]
    decided = stored(spark, tmp_path)
    assert [row["column"] for row in decided] == ["visits", "visits · copy", "of.country", "dice", "id"]
    assert selected_columns(decided) == ("visits", "of.country")
    by = {row["column"]: row for row in decided}
    assert by["visits · copy"]["correlated_with"] == "visits"
    assert by["dice"]["rule"] == "not_relevant"
    assert by["id"]["importance"] is None
    assert {row["n_sampled"] for row in decided} == {section["importance"]["n_sampled"]}
    assert {row["seed"] for row in decided} == {0}

    out = Tables(spark, str(tmp_path / "out"))
    assert out.properties("shop_selection")["sparkds.primary_key"] == "column"
    commit = out.last_commit("shop_selection")
    assert commit.metadata["features"] == section["features"]
    assert commit.metadata["sources"] == {"training_set": "1"}
    assert (tmp_path / "out" / "shop_selection_figures" / "importances.png").stat().st_size > 5_000
    comments = {r["col_name"]: r["comment"] for r in spark.sql(f"describe table {out.identifier('shop_selection')}").collect()}
    assert comments["mutual_information"] == "with the label, in nats"
    assert all(comments[name] for name in out.read("shop_selection").columns)

    again = go(spark, tmp_path)
    assert again.tables == [(first.tables[0].name, first.tables[0].version, 0)]
    assert again.sections == first.sections
    assert again.warnings == first.warnings
    rebuilt = run(config=conf(SELECT), input="in", output=str(tmp_path / "out"), spark=spark, now=NOW, rebuild=True)
    assert rebuilt.tables[0].version == first.tables[0].version + 1
    assert stored(spark, tmp_path) == decided
    changed = go(spark, tmp_path, rules={"false_discovery_rate": None, "correlation": None}, importance=None)
    assert changed.sections["select"]["features"] == ["visits", "visits · copy", "of.country", "dice"]
    assert changed.sections["select"]["importance"] is None


def test_the_command_selects_too_and_the_registry_keeps_the_list(spark, tmp_path, capfd):
    training_set(spark, tmp_path)
    settings = {**CONF, "stages": [SELECT, {"kind": "register", "table": "training_set", "selection": "shop_selection"}]}
    (tmp_path / "conf.json").write_text(json.dumps(settings))
    command = ["feature_engineering_pipeline", "-i", str(tmp_path), "-o", str(tmp_path / "out"), "-c", str(tmp_path / "conf.json")]
    assert main(command) == 0
    status = json.loads(capfd.readouterr().out)
    assert status["select"]["features"] == ["visits", "of.country"]
    assert status["select"]["rules"]["null_share"] == 0.95
    assert status["register"]["selected"] == 2
    assert {t["name"]: t["rows"] for t in status["tables"]}["shop_selection"] == 5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"label": "bougt"}, ColumnError, "column 'bougt' not found in the training table; did you mean 'bought'"),
        ({"table": "training_sets"}, TableError, "table 'training_sets' not found: .*; did you mean 'training_set'"),
        ({"where": "splt = 'train'"}, ConfigError, "where: \"splt = 'train'\" cannot be read on table 'training_set'"),
        ({"where": "visits"}, ConfigError, "where: 'visits' on table 'training_set' gives int; a predicate gives true or false"),
        ({"where": "split = 'nowhere'"}, DataError, "no row has a label in column 'bought'"),
        ({"where": "bought"}, DataError, r"label 'bought' has one class \(true\) only"),
        ({"leave_out": ["visit"]}, ColumnError, "did you mean 'visits'"),
    ],
)
def test_bad_input_has_a_named_error_and_nothing_is_written(spark, tmp_path, changes, error, message):
    training_set(spark, tmp_path, 60)
    with pytest.raises(error, match=message):
        go(spark, tmp_path, **changes)
    assert not (tmp_path / "out" / "shop_selection").exists()


def test_no_survivor_is_an_error_after_the_decisions_are_written_each_time(spark, tmp_path):
    training_set(spark, tmp_path, 200)
    for _ in range(2):
        with pytest.raises(GateError, match="no column of table 'training_set' survives as a feature for 'bought'"):
            go(spark, tmp_path, features=["id", "dice"])
        assert {row["column"]: row["rule"] for row in stored(spark, tmp_path)} == {"id": "id_like", "dice": "not_relevant"}
    assert Tables(spark, str(tmp_path / "out")).version("shop_selection") == 1


def test_a_stage_reads_its_table_from_the_output_and_names_its_own():
    stage = conf(SELECT).stages[0]
    assert stage.tables_needed(conf(SELECT)) == ("training_set",)
    assert stage.tables_written(conf(SELECT)) == ("shop_selection",)
    assert conf({**SELECT, "name": "mine"}).tables_written == ("mine",)
    assert "importance_of string" in SCHEMA
