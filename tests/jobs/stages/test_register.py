"""The registry: what a run registers, what the command line shows of it, and what is told of absent things."""

import json

import pytest

from sparkds import cli
from sparkds.errors import TableError
from sparkds.jobs.registry_table import records_in
from sparkds.jobs.stages import register
from sparkds.tables import Tables
from tests.jobs.test_feature_engineering_pipeline import conf, go, orders, write_csv

STAGES = [{"kind": "windows"}, {"kind": "register", "owner": "ann", "description": "orders by customer"}]


def told(capsys, *arguments):
    code = cli.main(["features", *arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_versions_are_registered_and_the_command_line_lists_shows_compares_and_traces_them(spark, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli.sessions, "session", lambda *_, **__: spark)
    write_csv(tmp_path / "in", orders())
    first = go(spark, tmp_path, settings=conf(stages=STAGES))
    assert first.sections["register"]["written"] is True
    again = go(spark, tmp_path, settings=conf(stages=STAGES))
    assert (again.sections["register"]["written"], again.sections["register"]["version"]) == (False, 1)
    changed = go(spark, tmp_path, settings=conf(stages=STAGES, windows=[2, 7]))
    assert (changed.sections["register"]["version"], changed.sections["register"]["table"]) == (2, "features_v2")
    out = ["--output", str(tmp_path / "out")]

    code, text, _ = told(capsys, "list", *out)
    assert code == 0
    assert [line.split()[:3] for line in text.splitlines()[1:]] == [
        ["features@1", "features", "windows"], ["features@2", "features_v2", "windows"],
    ]  # fmt: skip
    code, text, _ = told(capsys, "show", "features@1", *out, "--json")
    record = json.loads(text)
    assert (record["owner"], record["keys"], record["time_key"]) == ("ann", ["customer"], "known_at")
    assert record["sources"][0]["table"] == "orders"
    assert record["state_tables"] == ["features_rfm_edges"]
    by_name = {c["name"]: c for c in record["columns"]}
    assert by_name["amount_sum_5d"]["sources"] == ["orders.amount", "orders.day"]
    assert "as_of" not in by_name
    assert record["declaration"]["windows"] == [2, 5]
    code, text, _ = told(capsys, "show", "features", *out)
    assert "features@2" in text
    assert "amount_sum_7d" in text
    code, text, _ = told(capsys, "diff", "features@1", "features@2", *out)
    assert any(line.split()[:2] == ["added", "amount_sum_7d"] for line in text.splitlines())
    assert any(line.split()[:2] == ["dropped", "amount_sum_5d"] for line in text.splitlines())
    code, text, _ = told(capsys, "lineage", "features@2.amount_sum_7d", *out)
    assert text.splitlines() == ["features_v2.amount_sum_7d", "   <- orders.amount", "   <- orders.day"]
    code, _, error = told(capsys, "show", "fetures", *out)
    assert code == 1
    assert "did you mean 'features'" in error
    code, _, error = told(capsys, "lineage", "features.amount_sum_8d", *out)
    assert code == 1
    assert "has no feature 'amount_sum_8d'; did you mean" in error


def test_only_unity_catalog_is_told_of_keys_and_tags(spark, tmp_path, monkeypatch):
    write_csv(tmp_path / "in", orders())
    assert go(spark, tmp_path, settings=conf(stages=STAGES)).sections["register"]["catalog_statements"] == 0
    tables = Tables(spark, str(tmp_path / "out"))
    (record,) = records_in(tables)
    said = []

    class Catalog:
        in_directory = False
        spark = type("Session", (), {"sql": staticmethod(said.append)})

        def identifier(self, name):
            return f"`main`.`s`.`{name}`"

    monkeypatch.setattr(register.sessions, "on_databricks", lambda: True)
    assert register.tell_catalog(Catalog(), record) == len(said) > 10
    assert said[-1].endswith("PRIMARY KEY (`customer`, `known_at` TIMESERIES)")


def test_a_table_that_is_not_there_or_not_ours_cannot_be_registered(spark, tmp_path):
    write_csv(tmp_path / "in", orders())
    (tmp_path / "out").mkdir()
    with pytest.raises(TableError, match="'absent' not found"):
        go(spark, tmp_path, settings=conf(stages=[{"kind": "register", "table": "absent"}]))
    out = Tables(spark, str(tmp_path / "out"))
    spark.range(3).write.format("delta").save(out.path("mine"))
    with pytest.raises(TableError, match="'mine' in .* was not written by sparkds"):
        go(spark, tmp_path, settings=conf(stages=[{"kind": "register", "table": "mine"}]))
    assert records_in(out) == []
