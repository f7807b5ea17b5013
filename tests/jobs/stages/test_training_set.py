"""The stage: the rows of the older road, twice the same, tomorrow's spine, and what bad input is told."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from sparkds.cli import main
from sparkds.datasets import cdnow, is_sampled, write_cdnow
from sparkds.errors import ColumnError, ConfigError, DataError, TableError, WindowError
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.tables import Tables

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CDNOW = {
    "source": "transactions",
    "source_columns": {"customer_id": "string", "date": "date", "cds": "int", "amount": "decimal(10,2)"},
    "keys": ["customer_id"],
    "event_time": "date",
    "time_zone": "America/New_York",
    "windows": [30],
    "aggregations": [{"kind": "count"}, {"kind": "sum", "column": "amount"}, {"kind": "max", "column": "amount"}],
    "schedule": {"every": "month"},
}
LABEL = {"kind": "event_within", "horizon_days": 90, "name": "buys_in_90_days"}
TRAINING = {
    "kind": "training_set",
    "name": "training",
    "spine": {"kind": "cutoffs", "every": "month", "first": "1997-12-31"},
    "features": [{"table": "features"}],
    "label": LABEL,
}


def go(root, spark, settings, out="out", **asked):
    config = Config.model_validate(settings)
    return run(config=config, input=str(root / "in"), output=str(root / out), spark=spark, now=NOW, **asked)


def naive_rows(customers, cutoffs):
    """Customer and cut-off, number, sum and maximum of the purchases of 30 days, whether one follows within 90, by looking at each."""
    bought = {}
    for one in cdnow():
        if is_sampled(one.customer_id, customers):
            bought.setdefault(one.customer_id, []).append(one)
    rows = []
    for customer, events in bought.items():
        for day in cutoffs:
            if all(one.date > day for one in events):
                continue
            inside = [one.amount for one in events if 0 <= (day - one.date).days < 30]
            buys = any(0 < (one.date - day).days <= 90 for one in events)
            rows.append(
                (customer, day, len(inside), sum(inside, Decimal("0.00")), max(inside, default=None), buys, day + timedelta(days=90))
            )
    return sorted(rows, key=repr)


def test_the_stage_gives_the_rows_of_a_naive_loop_and_a_second_run_writes_nothing(spark, tmp_path):
    write_cdnow(tmp_path / "in", customers=0.005)
    settings = {**CDNOW, "stages": [{"kind": "windows"}, TRAINING]}
    asked = {"start": date(1997, 12, 31), "end": date(1998, 6, 30)}
    first = go(tmp_path, spark, settings, **asked)
    out = Tables(spark, str(tmp_path / "out"))
    cutoffs = [date(1997, 12, 31), date(1998, 1, 31), date(1998, 2, 28), date(1998, 3, 31)]
    naive = naive_rows(0.005, cutoffs)
    n, n_days = len(naive), len(cutoffs)
    names = ["customer_id", "as_of", "event_count_30d", "amount_sum_30d", "amount_max_30d", "buys_in_90_days", "label_until"]
    made = out.read("training")
    assert sorted(map(tuple, made.select(*names).collect()), key=repr) == naive
    assert made.columns == [*names[:2], "known_at", *names[5:], *names[2:5], "features_known_at"]
    assert made.where("features_known_at is null or features_known_at > known_at").count() == 0
    section = first.sections["training_set"]
    assert (section["rows"], len(section["cutoffs"]), section["match_rate"]) == (n, n_days, {"features": 1.0})
    assert any("3 cut-offs from 1998-04-30 on were left out: their horizon is not over" in told for told in first.warnings)
    metadata = out.last_commit("training").metadata
    assert metadata["spine_hash"] == section["spine_hash"]
    assert metadata["features"]["features"]["version"] == str(out.version("features"))
    assert metadata["features"]["features"]["definition_hash"] == out.definition("features")
    assert set(metadata["sources"]) == {"features", "input:transactions"}
    statistics = {row["feature"]: row for row in out.read("training_statistics").collect()}
    assert statistics["event_count_30d"]["match_rate"] == 1.0
    assert statistics["amount_max_30d"]["n_values"] < statistics["amount_max_30d"]["n_matched"] == n
    assert [bin["n"] for bin in statistics["event_count_30d"]["staleness"]] == [n, *[0] * 8]
    again = go(tmp_path, spark, {**CDNOW, "stages": [TRAINING]}, **asked)
    assert [table.rows for table in again.tables] == [0, 0]
    assert [table.version for table in again.tables] == [table.version for table in first.tables if table.name.startswith("training")]
    assert again.sections["training_set"] == section
    assert [told for told in first.warnings if "cut-offs" in told] == again.warnings


EVENTS = {"source": "visits", "keys": ["who"], "event_time": "at", "time_zone": "Europe/Berlin"}


def visits(root, spark):
    """Two visitors on three days of May 2026, and a spine with a label."""
    rows = [("a", 1, 3), ("a", 2, 4), ("b", 2, 5), ("a", 4, 6)]
    frame = spark.createDataFrame([(w, datetime(2026, 5, d, 12, tzinfo=UTC), v) for w, d, v in rows], "who string, at timestamp, pages int")
    frame.coalesce(1).write.parquet(str(root / "in" / "visits"))
    spine = [(1, "a", 3, True), (2, "b", 2, False), (3, "b", 1, False), (3, "b", 1, False), (4, None, 3, True)]
    frame = spark.createDataFrame([(i, w, date(2026, 5, d), y) for i, w, d, y in spine], "i int, who string, day date, y boolean")
    frame.coalesce(1).write.parquet(str(root / "in" / "spine"))


DIRECT = {"kind": "training_set", "features": [{"table": "visits", "known_at": "at"}], "keep_order": True}


def of_table(**changes):
    return {**DIRECT, "spine": {"kind": "table", "table": "spine", "location": "input", "time": "day", **changes}}


def test_a_spine_of_a_table_takes_events_directly_and_is_logged(spark, tmp_path):
    visits(tmp_path, spark)
    stage = {**of_table(label="y"), "tracking": {"experiment": "sets"}}
    settings = {**EVENTS, "stages": [stage]}
    config = Config.model_validate(settings)
    assert (config.tables_read, config.tables_needed) == (("spine", "visits"), ())
    done = go(tmp_path, spark, settings)
    out = Tables(spark, str(tmp_path / "out"))
    got = out.read("training_set").collect()
    want = [(1, "a", True, 4), (2, "b", False, None), (3, "b", False, None), (3, "b", False, None), (4, None, True, None)]
    assert [(row["i"], row["who"], row["y"], row["pages"]) for row in got] == want
    assert "1 rows of the spine have a null key; they are kept, without features of that key" in done.warnings
    import mlflow

    (run_found,) = mlflow.search_runs(experiment_names=["sets"], output_format="list")
    section = done.sections["training_set"]
    assert run_found.info.run_id == section["run_id"]
    assert run_found.data.tags["sparkds.spine_hash"] == section["spine_hash"]
    assert run_found.data.tags["table.input:visits"].startswith("files-")
    assert run_found.data.metrics["match_rate.visits"] == section["match_rate"]["visits"] == 0.2


def test_a_spine_of_tomorrow_has_no_label_and_the_newest_rows(spark, tmp_path, capfd):
    visits(tmp_path, spark)
    stage = {**DIRECT, "name": "tomorrow", "spine": {"kind": "cutoffs", "every": "latest"}}
    (tmp_path / "conf.json").write_text(json.dumps({**EVENTS, "stages": [stage]}))
    arguments = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-c", str(tmp_path / "conf.json")]
    assert main(["feature_engineering_pipeline", *arguments]) == 0
    status = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert status["training_set"]["cutoffs"] == ["2026-05-04"]
    got = Tables(spark, str(tmp_path / "out")).read("tomorrow").selectExpr("who", "as_of", "unix_micros(known_at) as at", "pages").collect()
    midnight = int(datetime(2026, 5, 4, 22, tzinfo=UTC).timestamp()) * 1_000_000
    assert sorted(map(tuple, got)) == [("a", date(2026, 5, 4), midnight, 6), ("b", date(2026, 5, 4), midnight, 5)]


def test_a_table_that_ends_before_the_spine_is_warned_of_and_one_of_another_make_is_refused(spark, tmp_path):
    from sparkds.tables import TableSpec

    visits(tmp_path, spark)
    out = Tables(spark, str(tmp_path / "out"))
    day = "timestamp'2026-05-02 00:00:00 Europe/Berlin' as known_at, date'2026-05-01' as valid_from, cast(null as date) as valid_to"
    history = spark.sql(f"select 'a' as who, {day}, 7L as n, date'2026-04-30' as since_from")
    out.replace("history", history, rows=None, metadata={"through": "2026-05-02", "sources": {"visits": "3"}}, spec=TableSpec())
    stage = {**DIRECT, "name": "set", "spine": {"kind": "cutoffs", "days": ["2026-05-03"]}, "features": [{"table": "history"}]}
    done = go(tmp_path, spark, {**EVENTS, "stages": [stage]})
    assert done.sections["training_set"]["features"]["history"]["sources"] == {"visits": "3"}
    assert any("feature table 'history' is known through 2026-05-02" in told for told in done.warnings)
    got = {row["who"]: (row["n"], row["since"]) for row in out.read("set").collect()}
    assert got == {"a": (7, 3), "b": (None, None)}
    with pytest.raises(TableError, match="table 'history' in .* was not made by this stage"):
        go(tmp_path, spark, {**EVENTS, "stages": [{**of_table(), "name": "history"}]})
    with pytest.raises(TableError, match="table 'set' in .* was made by another definition"):
        go(tmp_path, spark, {**EVENTS, "stages": [{**stage, "features": [{"table": "history", "lookback_days": 9}]}]})


MADE = {**DIRECT, "spine": {"kind": "cutoffs", "days": ["2026-05-01"]}}


@pytest.mark.parametrize(
    ("stage", "error", "told"),
    [
        (of_table(label="why"), ColumnError, "column 'why' not found in spine 'spine'"),
        (of_table(time="when"), ColumnError, "column 'when' not found in spine 'spine'"),
        (of_table(table="spne"), TableError, "table 'spne' not found"),
        ({**of_table(label="y"), "features": [{"table": "visits"}]}, ColumnError, "column 'known_at' not found in feature table 'visits'"),
        ({**MADE, "features": [{"table": "visits", "known_at": "at", "keys": ["pages"]}]}, ColumnError, "column 'pages' not found in the spine"),
        ({**MADE, "label": {**LABEL, "horizon_days": 1}}, DataError, "label 'buys_in_90_days' is true in all 1 rows"),
        ({**MADE, "label": {**LABEL, "horizon_days": 4}}, WindowError, "the 4 days after 2026-05-01 are not over"),
        ({**MADE, "label": {**LABEL, "table": "spine"}}, ConfigError, "label: say with `event_time` which column of table 'spine'"),
        ({**DIRECT, "spine": {"kind": "cutoffs", "every": "month"}}, ConfigError, "no cut-off of every: month lies in 2026-05-01 … 2026-05-04"),
    ],
)  # fmt: skip
def test_bad_input_has_a_named_error_and_nothing_is_written(spark, tmp_path, stage, error, told):
    visits(tmp_path, spark)
    with pytest.raises(error) as raised:
        go(tmp_path, spark, {**EVENTS, "stages": [stage]})
    assert told in str(raised.value)
    assert not Path(tmp_path, "out").exists()


def test_a_feature_table_that_repeats_a_key_is_refused(spark, tmp_path):
    visits(tmp_path, spark)
    spark.read.parquet(str(tmp_path / "in" / "visits")).write.mode("append").parquet(str(tmp_path / "in" / "visits"))
    with pytest.raises(DataError, match=r"feature table 'visits' has two rows of one key and one at \(who="):
        go(tmp_path, spark, {**EVENTS, "stages": [of_table()]})
    assert not list((tmp_path / "out").glob("**/*.parquet"))


def test_two_labels_and_two_tables_of_one_name_are_refused():
    with pytest.raises(ValueError, match="the spine has a label column and a label is declared"):
        Config.model_validate({**EVENTS, "stages": [{**of_table(label="y"), "label": LABEL}]})
    with pytest.raises(ValueError, match="two feature tables have the name 'visits'"):
        Config.model_validate({**EVENTS, "stages": [{**of_table(), "features": DIRECT["features"] * 2}]})
