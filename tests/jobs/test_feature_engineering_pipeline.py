"""The job: what a run writes, what a second run leaves alone, and what bad input is told."""

import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from sparkds import config
from sparkds.cli import main
from sparkds.errors import ColumnError, ConfigError, DataError, TableError, WindowError
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.tables import Tables

CONF = {
    "source": "orders",
    "source_columns": {"customer": "string", "day": "date", "amount": "decimal(10,2)"},
    "keys": ["customer"],
    "event_time": "day",
    "time_zone": "UTC",
    "windows": [2, 5],
    "lifetime": True,
    "aggregations": [{"kind": "count"}, {"kind": "sum", "column": "amount"}, {"kind": "distinct", "column": "amount"}],
    "rfm": {"value": "amount", "frequency": "orders", "monetary": "sum"},
    "lateness_days": 2,
}
FIRST = date(2026, 2, 20)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def orders(n_days=12, seed=1):
    rng = random.Random(seed)
    rows = []
    for i in range(n_days):
        if i == 4:
            continue  # a day without events
        for _ in range(rng.randrange(1, 7)):
            rows.append((f"c{rng.randrange(6)}", FIRST + timedelta(days=i), f"{rng.randrange(0, 900) / 100:.2f}"))
    return rows


def write_csv(directory, rows, name="orders"):
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["customer,day,amount", *(f"{c or ''},{d or ''},{a}" for c, d, a in rows)]
    Path(directory, f"{name}.csv").write_text("\n".join(lines) + "\n")


def conf(**changes):
    return Config.model_validate({**CONF, **changes})


def until(rows, day):
    return [row for row in rows if row[1] <= day]


def table(spark, out, name="features"):
    frame = Tables(spark, str(out)).read(name)
    columns = [c for c in frame.columns if c not in ("rfm_edges_version", "r_score", "f_score", "m_score", "rfm_segment")]
    return sorted(map(tuple, frame.select(*columns).collect()), key=repr)


def day(i):
    return FIRST + timedelta(days=i)


def go(spark, root, out="out", *, settings=None, **asked):
    return run(config=settings or conf(), input=str(root / "in"), output=str(root / out), spark=spark, now=NOW, **asked)


def written(result):
    return {t.name: t.rows for t in result.tables if t.rows}


def versions(result):
    return {t.name: t.version for t in result.tables}


def test_daily_runs_equal_one_backfill_and_a_second_run_changes_nothing(spark, tmp_path):
    rows = orders()
    for i in (5, 6, 7, 8):
        write_csv(tmp_path / "in", until(rows, day(i)))
        daily = go(spark, tmp_path, "daily")
        assert daily.sections["windows"]["days"] == [day(i)]
    write_csv(tmp_path / "in", until(rows, day(8)))
    backfill = go(spark, tmp_path, "whole", start=day(5), end=day(8))
    assert backfill.sections["windows"]["days"] == [day(i) for i in (5, 6, 7, 8)]
    assert table(spark, tmp_path / "daily") == table(spark, tmp_path / "whole")
    assert table(spark, tmp_path / "daily", "features_tiles") == table(spark, tmp_path / "whole", "features_tiles")
    again = go(spark, tmp_path, "whole", start=day(5), end=day(8))
    assert versions(again) == versions(backfill)
    assert written(again) == {}
    assert again.sections["windows"]["days"] == []


def test_a_late_event_rewrites_the_snapshots_from_its_day_on_and_no_other(spark, tmp_path):
    rows = orders()
    write_csv(tmp_path / "in", until(rows, day(8)))
    go(spark, tmp_path, start=day(5), end=day(8))
    rows.append(("late", day(7), "5.00"))
    write_csv(tmp_path / "in", until(rows, day(9)))
    result = go(spark, tmp_path)
    assert result.sections["windows"]["days"] == [day(7), day(8), day(9)]
    go(spark, tmp_path, "fresh", start=day(5), end=day(9))
    assert table(spark, tmp_path / "out") == table(spark, tmp_path / "fresh")


def test_an_unchanged_day_that_is_read_again_rewrites_no_snapshot(spark, tmp_path):
    rows = orders()
    write_csv(tmp_path / "in", until(rows, day(8)))
    go(spark, tmp_path)
    rows.append(("future", day(30), "1.00"))
    write_csv(tmp_path / "in", [*until(rows, day(8)), rows[-1]])
    result = go(spark, tmp_path, as_of=day(8))
    assert "features_tiles" in written(result)
    assert result.sections["windows"]["days"] == []


def test_a_missing_slice_and_missed_days_are_found_and_filled(spark, tmp_path):
    rows = orders()
    write_csv(tmp_path / "in", until(rows, day(9)))
    go(spark, tmp_path, start=day(5), end=day(7))
    whole = table(spark, tmp_path / "out")
    spark.sql(f"delete from delta.`{tmp_path / 'out' / 'features'}` where as_of = date'{day(6)}'").collect()
    result = go(spark, tmp_path, as_of=day(9))
    assert result.sections["windows"]["days"] == [day(6), day(8), day(9)]
    assert [row for row in table(spark, tmp_path / "out") if row[1] <= day(7)] == whole


def test_tiles_that_someone_deleted_are_made_again(spark, tmp_path):
    write_csv(tmp_path / "in", orders())
    go(spark, tmp_path)
    tiles = table(spark, tmp_path / "out", "features_tiles")
    spark.sql(f"delete from delta.`{tmp_path / 'out' / 'features_tiles'}` where day = date'{day(3)}'").collect()
    result = go(spark, tmp_path)
    assert any("changed by another writer" in warning for warning in result.warnings)
    assert table(spark, tmp_path / "out", "features_tiles") == tiles


def test_an_old_event_in_a_source_with_a_change_feed_is_found_whatever_its_age(spark, tmp_path):
    source = tmp_path / "in" / "orders"
    spark.sql(
        f"create table delta.`{source}` (customer string, day date, amount decimal(10,2)) using delta "
        "tblproperties ('delta.enableChangeDataFeed' = 'true')"
    )
    settings = conf(source_columns=None)
    rows = [(c, d, a) for c, d, a in until(orders(), day(9))]

    def insert(rows):
        frame = spark.createDataFrame([(c, str(d), a) for c, d, a in rows], "customer string, day string, amount string")
        frame.selectExpr("customer", "cast(day as date) as day", "cast(amount as decimal(10,2)) as amount").write.format("delta").mode(
            "append"
        ).save(str(source))

    insert(rows)
    go(spark, tmp_path, settings=settings, start=day(5), end=day(9))
    insert([("c1", day(1), "3.00"), ("c1", day(10), "3.00")])
    result = go(spark, tmp_path, settings=settings)
    assert result.sections["windows"]["days"] == [day(i) for i in range(5, 11)]
    assert result.sections["windows"]["input"]["n_taken"] < 40
    go(spark, tmp_path, "fresh", settings=settings, start=day(5), end=day(10))
    assert table(spark, tmp_path / "out") == table(spark, tmp_path / "fresh")


def test_runs_from_a_checkpoint_equal_runs_from_all_tiles(spark, tmp_path):
    rows = orders(50)
    for i in (44, 45, 46):
        write_csv(tmp_path / "in", until(rows, day(i)))
        go(spark, tmp_path, "steps")
    checkpoint = Tables(spark, str(tmp_path / "steps")).read("features_checkpoints")
    assert {row["day"] for row in checkpoint.collect()} == {date(2026, 3, 31)}
    go(spark, tmp_path, "whole", start=day(44), end=day(46))
    assert not (tmp_path / "whole" / "features_checkpoints").exists()
    assert table(spark, tmp_path / "steps") == table(spark, tmp_path / "whole")


def test_scores_use_the_stored_edges_until_a_refit_is_asked_for(spark, tmp_path):
    rows = orders()
    write_csv(tmp_path / "in", until(rows, day(7)))
    go(spark, tmp_path)
    edges = table(spark, tmp_path / "out", "features_rfm_edges")
    write_csv(tmp_path / "in", until(rows, day(8)))
    go(spark, tmp_path)
    assert table(spark, tmp_path / "out", "features_rfm_edges") == edges
    write_csv(tmp_path / "in", until(rows, day(9)))
    go(spark, tmp_path, settings=conf(refit_rfm_edges=True))
    frame = Tables(spark, str(tmp_path / "out")).read("features").where("rfm_segment is not null")
    assert {(r["as_of"], r["rfm_edges_version"]) for r in frame.select("as_of", "rfm_edges_version").distinct().collect()} == {
        (day(7), 1),
        (day(8), 1),
        (day(9), 2),
    }


def test_a_day_without_complete_data_is_refused_or_marked_and_written_again_later(spark, tmp_path):
    rows = orders()
    write_csv(tmp_path / "in", until(rows, day(7)))
    with pytest.raises(WindowError, match=f"{day(9)} is later than the last complete day: the latest possible is {day(7)}"):
        go(spark, tmp_path, as_of=day(9))
    assert not (tmp_path / "out").exists()
    go(spark, tmp_path, as_of=day(8), allow_incomplete=True)
    complete = Tables(spark, str(tmp_path / "out")).read("features").select("as_of", "complete").distinct().collect()
    assert [(r["as_of"], r["complete"]) for r in complete] == [(day(8), False)]
    write_csv(tmp_path / "in", until(rows, day(8)))
    result = go(spark, tmp_path)
    assert result.sections["windows"]["days"] == [day(8)]
    go(spark, tmp_path, "fresh")
    assert table(spark, tmp_path / "out") == table(spark, tmp_path / "fresh")


def test_a_day_that_has_not_ended_in_the_zone_is_not_complete(spark, tmp_path):
    write_csv(tmp_path / "in", orders())
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    result = run(config=conf(), input=str(tmp_path / "in"), output=str(tmp_path / "out"), spark=spark, now=now)
    assert result.sections["windows"]["as_of"] == date(2026, 2, 28)
    assert result.sections["windows"]["input"]["n_future"] > 0


@pytest.mark.parametrize("deduplicate", [None, {"event_id": "id", "order_by": "day", "keep": "last"}])
def test_a_run_of_a_day_without_any_usable_event_completes_and_counts(spark, tmp_path, deduplicate):
    conf = {"lateness_days": 0}
    rows = [(c, d, a) for c, d, a in orders() if d not in (day(8), day(9))]
    rows += [("", day(9), "1.00")]  # on day 9 only an event without a key, on day 8 none
    if deduplicate:
        conf |= {"deduplicate": deduplicate, "source_columns": {**CONF["source_columns"], "id": "string"}}
        (tmp_path / "in").mkdir()
        lines = ["customer,day,amount,id", *(f"{c},{d},{a},{i}" for i, (c, d, a) in enumerate(rows))]
        (tmp_path / "in" / "orders.csv").write_text("\n".join(lines) + "\n")
    else:
        write_csv(tmp_path / "in", rows)
    go(spark, tmp_path, settings=Config.model_validate({**CONF, **conf}), as_of=day(7))
    quiet = go(spark, tmp_path, settings=Config.model_validate({**CONF, **conf}), as_of=day(8))
    assert quiet.sections["windows"]["input"]["n_taken"] == 0
    keyless = go(spark, tmp_path, settings=Config.model_validate({**CONF, **conf}), as_of=day(9))
    assert keyless.sections["windows"]["input"]["n_null_key"] == 1
    assert "1 events with a null key were dropped" in keyless.warnings
    found = {r["as_of"] for r in Tables(spark, str(tmp_path / "out")).read("features").select("as_of").distinct().collect()}
    assert {day(7), day(8), day(9)} <= found


def test_dropped_rows_are_counted_and_told(spark, tmp_path):
    rows = until(orders(), day(7))
    write_csv(tmp_path / "in", [*rows, ("", day(3), "1.00"), ("c1", "", "1.00"), ("c1", day(3), "")])
    result = go(spark, tmp_path)
    assert result.processed_items == len(rows) + 3
    assert result.sections["windows"]["input"]["n_null_key"] == result.sections["windows"]["input"]["n_null_time"] == 1
    assert "1 events with a null key were dropped" in result.warnings
    assert any("no value in column 'amount'" in warning for warning in result.warnings)


def bad_where(root):
    write_csv(root / "in", orders())
    return {"settings": conf(aggregations=[{"kind": "count", "where": "amout > 3"}])}


def bad_column(root):
    write_csv(root / "in", orders())
    return {"settings": conf(aggregations=[{"kind": "sum", "column": "amout"}])}


def absent_table(root):
    write_csv(root / "in", orders(), name="ordres")
    return {}


def empty_input(root):
    write_csv(root / "in", [])
    return {}


def not_delta(root):
    write_csv(root / "in", orders())
    write_csv(root / "out" / "features_tiles", orders())
    return {}


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (bad_where, ConfigError, "where: 'amout > 3' cannot be read"),
        (bad_column, ColumnError, "column 'amout' not found in table 'orders'; did you mean 'amount'"),
        (absent_table, TableError, "table 'orders' not found: .*; did you mean 'ordres'"),
        (empty_input, DataError, "has no event"),
        (not_delta, TableError, "exists and is not a Delta table"),
    ],
)
def test_bad_input_has_a_named_error_and_nothing_is_written(spark, tmp_path, prepare, error, message):
    asked = prepare(tmp_path)
    with pytest.raises(error, match=message):
        go(spark, tmp_path, **asked)
    assert not list((tmp_path / "out").glob("**/*.parquet"))


def test_an_unknown_stage_is_told_with_the_nearest_one_before_anything_runs(tmp_path, capsys):
    root = Path(__file__).parents[2]
    given = [
        "--input",
        str(tmp_path),
        "--output",
        str(tmp_path / "out"),
        "--config",
        str(root / "conf" / "feature_engineering_pipeline.yml"),
    ]
    assert main(["feature_engineering_pipeline", *given, "--set", "stages=[{kind: windos}]"]) == 1
    status = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (status["status"], status["error"]["type"]) == ("failed", "ConfigError")
    assert "stages[0].kind='windos'; choose one of ['profile', 'windows'," in status["error"]["message"]
    assert status["error"]["message"].endswith("did you mean 'windows'?")
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_a_later_stage_is_told_before_an_earlier_one_writes(spark, tmp_path):
    write_csv(tmp_path / "in", orders())
    profile, windows = {"kind": "profile"}, {"kind": "windows"}
    for error, wrong in (
        (ColumnError, {"stages": [profile, windows], "aggregations": [{"kind": "sum", "column": "amont"}]}),
        (ConfigError, {"stages": [profile, windows], "aggregations": [{"kind": "count", "where": "amont > 3"}]}),
        (ColumnError, {"stages": [windows, {**profile, "columns": ["amont"]}]}),
    ):
        with pytest.raises(error, match="amont"):
            go(spark, tmp_path, settings=conf(**wrong))
    assert not (tmp_path / "out").exists()


def test_tables_tell_what_they_are(spark, tmp_path):
    write_csv(tmp_path / "in", orders())
    go(spark, tmp_path)
    out = Tables(spark, str(tmp_path / "out"))
    comments = {r["col_name"]: r["comment"] for r in spark.sql(f"describe table {out.identifier('features')}").collect()}
    assert comments["amount_sum_5d"] == "sum of amount over the 5 days up to and including as_of (unit of amount)"
    assert comments["known_at"] == "instant from which the row is known: midnight after as_of"
    assert out.properties("features")["sparkds.primary_key"] == "customer,as_of"
    commit = out.last_commit("features")
    assert commit.metadata["job"] == "feature_engineering_pipeline"
    assert commit.metadata["definition_hash"] == conf().feature_set.definition_hash
    assert commit.metadata["as_of"] == [str(day(11))]


def command(root, capfd, *arguments):
    (root / "conf.json").write_text(json.dumps(CONF))
    code = main(
        ["feature_engineering_pipeline", "-i", str(root / "in"), "-o", str(root / "out"), "-c", str(root / "conf.json"), *arguments]
    )
    told = capfd.readouterr()
    return code, told.out, told.err


def test_the_command_prints_one_json_object_and_exits_0(spark, tmp_path, capfd):
    write_csv(tmp_path / "in", orders())
    code, out, _ = command(tmp_path, capfd, "--set", "windows=[3]", "--as-of", str(day(9)), "--verbose")
    assert code == 0
    status = json.loads(out)
    assert len(out.splitlines()) == 1
    assert (status["status"], status["job"], status["windows"]["days"]) == ("completed", "feature_engineering_pipeline", [str(day(9))])
    assert {t["name"] for t in status["tables"]} == {"features", "features_tiles", "features_rfm_edges", "features_checkpoints"}
    assert status["processed_items"] == len(orders())
    columns = Tables(spark, str(tmp_path / "out")).read("features").columns
    assert "event_count_3d" in columns
    assert "event_count_5d" not in columns


def test_a_failed_command_says_why_and_exits_1(spark, tmp_path, capfd):
    write_csv(tmp_path / "in", orders())
    code, out, err = command(tmp_path, capfd, "--as-of", "2026-05-01")
    status = json.loads(out)
    assert code == 1
    assert (status["status"], status["error"]["type"]) == ("failed", "WindowError")
    assert str(day(11)) in status["error"]["message"]
    assert "Traceback" not in err


def test_the_shipped_configuration_loads_and_is_that_of_the_demo():
    root = Path(__file__).parents[2]
    shipped = config.load(Config, root / "conf" / "feature_engineering_pipeline.yml", environ={})
    assert shipped.windows == (7, 30, 90)
    assert (root / "conf" / "feature_engineering_pipeline.yml").read_text() == (root / "sparkds" / "datasets" / "cdnow.yml").read_text()
