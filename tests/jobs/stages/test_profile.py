"""The stage `profile`: what it writes, what it scans on the next day, and what bad input is told."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from sparkds.cli import main
from sparkds.errors import ColumnError, TableError
from sparkds.features.profile.states import profile_of
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.jobs.stages.profile import inside
from sparkds.tables import Tables, TableSpec

FIRST = date(2026, 2, 20)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CONF = {
    "source": "orders",
    "source_columns": {"customer": "string", "day": "date", "amount": "decimal(10,2)", "note": "string"},
    "keys": ["customer"],
    "event_time": "day",
    "time_zone": "UTC",
    "lateness_days": 0,
    "stages": [{"kind": "profile", "top": 2}],
}


def day(i):
    return FIRST + timedelta(days=i)


def orders(n_days):
    return [(f"c{j}", day(i), f"{i}.{j}5") for i in range(n_days) for j in range(3)]


def write_csv(directory, rows):
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["customer,day,amount,note", *(f"{c},{d or ''},{a}," for c, d, a in rows)]
    Path(directory, "orders.csv").write_text("\n".join(lines) + "\n")


def conf(**changes):
    return Config.model_validate({**CONF, **changes})


def go(spark, root, settings=None, **asked):
    return run(config=settings or conf(), input=str(root / "in"), output=str(root / "out"), spark=spark, **{"now": NOW, **asked})


def written(result):
    return {t.name: t.rows for t in result.tables if t.rows}


def test_a_second_run_writes_nothing_and_a_new_day_is_all_that_is_scanned(spark, tmp_path):
    write_csv(tmp_path / "in", orders(3))
    first = go(spark, tmp_path)
    assert written(first) == {"orders_profile": 4, "orders_profile_states": 12}
    section = first.sections["profile"]
    assert (section["rows"], section["columns"], section["days"]) == (9, 4, [str(day(0)), str(day(2))])
    assert section["scanned"] == [str(day(0)), str(day(2))]
    assert section["findings"] == {"note": ["all_null"]}
    assert "profile of 'orders': column 'note' has no value" in first.warnings
    assert first.processed_items == 9

    again = go(spark, tmp_path)
    assert written(again) == {}
    assert {t.name: t.version for t in again.tables} == {t.name: t.version for t in first.tables}
    assert (again.sections["profile"]["rows"], again.sections["profile"]["scanned"], again.processed_items) == (9, [], 0)
    assert again.warnings == first.warnings

    write_csv(tmp_path / "in", orders(4))
    more = go(spark, tmp_path)
    assert written(more) == {"orders_profile": 4, "orders_profile_states": 4}
    assert (more.sections["profile"]["scanned"], more.processed_items) == ([str(day(3)), str(day(3))], 3)
    assert more.sections["profile"]["rows"] == 12
    out = Tables(spark, str(tmp_path / "out"))
    rows = {row["column"]: row for row in out.read("orders_profile").collect()}
    assert (rows["amount"]["minimum"], rows["amount"]["maximum"], rows["amount"]["distinct"]) == ("0.05", "3.25", 12)
    assert (rows["customer"]["top"][0]["n"], len(rows["customer"]["top"])) == (4, 2)

    fresh = run(config=conf(), input=str(tmp_path / "in"), output=str(tmp_path / "fresh"), spark=spark, now=NOW)
    whole = {row["column"]: row for row in Tables(spark, str(tmp_path / "fresh")).read("orders_profile").collect()}
    assert fresh.sections["profile"]["rows"] == 12
    for column in ("minimum", "maximum", "distinct", "n", "nulls", "quantiles", "histogram", "findings"):
        assert {name: row[column] for name, row in whole.items()} == {name: row[column] for name, row in rows.items()}


def test_pages_tables_and_comments_are_there_and_rows_without_a_day_are_counted(spark, tmp_path):
    write_csv(tmp_path / "in", [*orders(2), ("late", None, "1.00"), ("c1", day(500), "9.00")])
    result = go(spark, tmp_path)
    section = result.sections["profile"]
    assert (section["rows"], section["days"]) == (7, [str(day(0)), str(day(1))])  # a day that has not ended is left for later
    assert "profile of 'orders': 1 rows have no time" in result.warnings
    html = Path(section["pages"])
    assert html == tmp_path / "out" / "orders_profile_report" / "profile.html"
    assert "data:image/png;base64" in html.read_text()
    assert "![Histograms" in html.with_suffix(".md").read_text()
    out = Tables(spark, str(tmp_path / "out"))
    comments = {row["col_name"]: row["comment"] for row in spark.sql(f"DESCRIBE {out.identifier('orders_profile')}").collect()}
    assert comments["sd"] == "standard deviation, n - 1"
    assert out.properties("orders_profile_states")["sparkds.primary_key"] == "day,column"
    commit = out.last_commit("orders_profile")
    assert set(commit.metadata["sources"]) == {"orders"}
    config = conf()
    states = out.read("orders_profile_states")
    again = profile_of(states, config.stages[0].spec(config, {"customer": "string", "day": "date"}))
    assert (again.n, again.undated) == (7, 1)


def test_a_table_of_the_output_is_profiled_by_as_of_and_only_from_its_changed_days_on(spark, tmp_path):
    out = Tables(spark, str(tmp_path / "out"))
    settings = conf(stages=[{"kind": "profile", "table": "made", "location": "output", "report": False, "last_days": 2}])
    schema = "k string, as_of date, x double, flag boolean"

    def make(days, value):
        rows = [(f"k{i}", d, value + i, i == 0) for d in days for i in range(2)]
        spec = TableSpec(keys=("k", "as_of"), cluster_by=("as_of",))
        out.replace(
            "made", spark.createDataFrame(rows, schema), rows={"as_of": days}, metadata={"as_of": [str(d) for d in days]}, spec=spec
        )

    (tmp_path / "in").mkdir()
    make([day(0), day(1), day(2)], 1.0)
    first = go(spark, tmp_path, settings)
    assert first.sections["profile"]["days"] == [str(day(1)), str(day(2))]
    assert (first.sections["profile"]["rows"], first.sections["profile"]["pages"], first.processed_items) == (4, None, 0)
    assert written(first) == {"made_profile": 4, "made_profile_states": 12, "made_profile_correlations": 1}
    make([day(1), day(3)], 5.0)
    second = go(spark, tmp_path, settings)
    assert second.sections["profile"]["scanned"] == [str(day(1)), str(day(3))]
    assert second.sections["profile"]["days"] == [str(day(2)), str(day(3))]
    assert written(go(spark, tmp_path, settings, rebuild=True))["made_profile_states"] == 16


def test_only_files_of_the_asked_days_are_read(spark, tmp_path, capsys):
    spark.createDataFrame([(1,)], "x int").selectExpr("timestamp'2026-03-29 10:00:00Z' as t", "x").write.parquet(str(tmp_path / "t"))
    frame = spark.read.parquet(str(tmp_path / "t"))
    config = conf(event_time="t", time_zone="Europe/Berlin", source_columns=None)
    spec = config.stages[0].spec(config, dict(frame.dtypes))
    frame.where(inside(spec, "timestamp", date(2026, 3, 29), date(2026, 3, 29))).explain()
    plan = capsys.readouterr().out
    pushed = re.search(r"PushedFilters: (.*)", plan).group(1)
    assert "GreaterThanOrEqual(t,2026-03-28 23:00:00" in pushed
    assert "LessThan(t,2026-03-29 22:00:00" in pushed
    assert "IsNull(t)" in pushed


def test_the_command_profiles_and_tells_bad_input(spark, tmp_path, capfd):
    write_csv(tmp_path / "in", orders(2))
    (tmp_path / "conf.json").write_text(json.dumps({**CONF, "stages": [{"kind": "profile", "title": "look", "columns": ["amount"]}]}))
    command = ["feature_engineering_pipeline", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-c", str(tmp_path / "conf.json")]
    assert main(command) == 0
    status = json.loads(capfd.readouterr().out)
    assert (status["look"]["rows"], status["look"]["columns"]) == (6, 1)
    assert {t["name"] for t in status["tables"]} == {"orders_profile", "orders_profile_states"}
    assert main([*command, "--set", 'stages=[{"kind": "profile", "columns": ["amuont"]}]']) == 1
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["type"] == "ColumnError"
    assert "column 'amuont' not found in table 'orders'; did you mean 'amount'" in error["message"]
    assert main([*command, "--set", 'stages=[{"kind": "profile", "columns": ["amount"], "counters": 100}]']) == 1
    assert "holds states of another declaration" in json.loads(capfd.readouterr().out)["error"]["message"]


def test_an_empty_table_says_so_and_a_changed_type_is_refused(spark, tmp_path):
    write_csv(tmp_path / "in", [])
    result = go(spark, tmp_path)
    assert result.warnings == ["table 'orders' has no rows up to 2026-05-31; there is nothing to profile"]
    assert (result.sections["profile"]["rows"], result.sections["profile"]["days"]) == (0, [])
    write_csv(tmp_path / "in", orders(1))
    assert go(spark, tmp_path).sections["profile"]["rows"] == 3
    texts = conf(source_columns={**CONF["source_columns"], "amount": "string"})
    write_csv(tmp_path / "in", orders(2))
    with pytest.raises(ColumnError, match=r"column 'amount' of table 'orders' is of kind string, and was of kind decimal"):
        go(spark, tmp_path, texts)
    with pytest.raises(TableError, match="'order' not found"):
        go(spark, tmp_path, conf(source="order"))
