"""The stage generate: what it writes and keeps, what a second run leaves alone, and what stops it before anything is written."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from sparkds import cli
from sparkds.errors import ColumnError, ConfigError, DataError, GateError, TableError
from sparkds.tables import Tables, TableSpec
from tests.jobs.test_feature_engineering_pipeline import CONF, conf, day, go, orders, until, write_csv

DERIVATIONS = [
    {"kind": "impute", "columns": ["amount_mean_2d"], "strategy": "median", "indicator": True},
    {"kind": "standardise", "columns": ["amount_mean_2d_imputed", "event_count_5d"], "ddof": 0, "suffix": "z"},
    {"kind": "one_hot", "column": "customer"},
    {"kind": "ratio", "numerator": "event_count_2d", "denominator": "event_count_5d", "zero": "zero"},
]
STAGE = {
    "kind": "generate",
    "fit": {"until": day(6).isoformat(), "test_from": day(7).isoformat()},
    "derivations": DERIVATIONS,
    "gate": {"columns": ["amount_mean_2d_imputed"]},
}


def plain(*, windows=True, **changes):
    stages = [*([{"kind": "windows"}] if windows else []), {**STAGE, **changes}]
    return {"aggregations": [{"kind": "count"}, {"kind": "mean", "column": "amount"}], "rfm": None, "stages": stages}


def settings(**changes):
    return conf(**plain(**changes))


def rows(spark, root, out="out", name="features_generated"):
    frame = Tables(spark, str(root / out)).read(name)
    return frame.columns, sorted(map(tuple, frame.collect()), key=repr)


def write_features(spark, root, days):
    """Feature table of some days, as the stage windows leaves it."""
    rng = random.Random(4)
    told = [
        (
            f"c{k}",
            d,
            datetime(d.year, d.month, d.day, tzinfo=UTC) + timedelta(days=1),
            True,
            k % 3,
            k % 3 + rng.randrange(3),
            rng.choice([None, k + 0.5]),
        )
        for d in map(day, (5, 6, 7, 8))
        for k in range(9)
    ]
    frame = spark.createDataFrame(
        [row for row in told if row[1] in days],
        "customer string, as_of date, known_at timestamp, complete boolean, event_count_2d bigint, event_count_5d bigint, amount_mean_2d double",
    )
    Tables(spark, str(root / "out")).replace(
        "features",
        frame,
        rows={"as_of": days},
        metadata={"as_of": [d.isoformat() for d in days]},
        spec=TableSpec(columns={"known_at": "instant from which the row is known: midnight after as_of"}, keys=("customer", "as_of")),
    )


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory):
    """Four days in one run."""
    root = tmp_path_factory.mktemp("made")
    (root / "in").mkdir()
    write_features(spark, root, [day(i) for i in (5, 6, 7, 8)])
    return root, go(spark, root, settings=settings(windows=False))


def test_a_run_writes_features_and_states_and_tells_them(spark, made):
    root, done = made
    told = done.sections["generate"]
    assert (told["table"], told["days"]) == ("features", "all")
    assert {title: (state["version"], state["fitted"]) for title, state in told["states"].items()} == {
        "impute(amount_mean_2d)": (1, True),
        "one_hot(customer)": (1, True),
        "standardise(amount_mean_2d_imputed, event_count_5d) z": (1, True),
    }
    assert told["null_shares"] == {"amount_mean_2d_imputed": 0.0}
    assert told["columns"][:3] == ["amount_mean_2d_imputed", "amount_mean_2d_was_null", "amount_mean_2d_imputed_z"]
    out = Tables(spark, str(root / "out"))
    columns, got = rows(spark, root)
    assert len(got) == out.read("features").count()
    assert columns == [*out.read("features").columns, *told["columns"]]
    comments = {f.name: f.metadata.get("comment") for f in out.read("features_generated").schema.fields}
    assert comments["event_count_2d_per_event_count_5d"].startswith("event_count_2d / event_count_5d, zero where")
    assert comments["known_at"] == "instant from which the row is known: midnight after as_of"
    commit = out.last_commit("features_generated")
    assert commit.metadata["sources"] == {"features": str(out.version("features"))}
    assert commit.metadata["definition_hash"] == out.definition("features_generated")
    kept = out.read("features_generated_states").collect()
    assert {row["slice"] for row in kept} == {f"coalesce(`as_of` <= DATE'{day(6)}', false)"}
    z = next(json.loads(row["state"]) for row in kept if row["kind"] == "standardise")
    counts = [row[columns.index("event_count_5d")] for row in got if row[columns.index("as_of")] <= day(6)]
    assert z["event_count_5d"]["mean"] == pytest.approx(sum(counts) / len(counts))


def test_a_second_run_writes_nothing_and_new_days_only_theirs(spark, tmp_path):
    (tmp_path / "in").mkdir()
    write_features(spark, tmp_path, [day(5), day(6)])
    first = go(spark, tmp_path, settings=settings(windows=False))
    again = go(spark, tmp_path, settings=settings(windows=False))
    assert again.sections["generate"]["days"] == []
    assert again.sections["generate"]["null_shares"] == first.sections["generate"]["null_shares"]
    assert {t.name: (t.version, t.rows) for t in again.tables} == {t.name: (t.version, 0) for t in first.tables}
    write_features(spark, tmp_path, [day(7)])
    write_features(spark, tmp_path, [day(8), day(6)])
    daily = go(spark, tmp_path, settings=settings(windows=False))
    assert daily.sections["generate"]["days"] == [day(6), day(7), day(8)]
    assert not any(state["fitted"] for state in daily.sections["generate"]["states"].values())
    go(spark, tmp_path, settings=settings(windows=False, name="whole"))
    assert rows(spark, tmp_path) == rows(spark, tmp_path, name="whole")


def test_it_follows_the_windows_of_the_same_run_day_by_day(spark, tmp_path):
    for i in (6, 7):
        write_csv(tmp_path / "in", until(orders(), day(i)))
        done = go(spark, tmp_path, settings=settings(derivations=DERIVATIONS[2:], gate=None))
        assert done.sections["generate"]["days"] == ("all" if i == 6 else [day(7)])
    out = Tables(spark, str(tmp_path / "out"))
    assert out.read("features_generated").count() == out.read("features").count()


def test_a_changed_definition_asks_for_a_refit_and_then_all_rows_are_written_again(spark, made):
    root, _ = made
    changed = {"fit": {"until": day(7).isoformat()}}
    before = rows(spark, root)
    with pytest.raises(TableError, match="is of another definition.*refit it as a new version"):
        go(spark, root, settings=settings(windows=False, **changed))
    assert rows(spark, root) == before
    done = go(spark, root, settings=settings(windows=False, refit=True, **changed))
    told = done.sections["generate"]
    assert {(state["version"], state["fitted"]) for state in told["states"].values()} == {(2, True)}
    assert told["days"] == "all"
    assert len(rows(spark, root)[1]) == len(before[1])
    done = go(
        spark, root, settings=settings(windows=False, derivations=[DERIVATIONS[3], {**DERIVATIONS[2], "keep": 2, "name": "top"}], gate=None)
    )
    (gone,) = [warning for warning in done.warnings if "are null from now on" in warning]
    assert "amount_mean_2d_imputed_z" in gone
    columns, got = rows(spark, root)
    assert {row[columns.index("amount_mean_2d_imputed_z")] for row in got} == {None}
    assert Tables(spark, str(root / "out")).definition("features_generated") is not None


def test_the_gate_and_bad_input_stop_a_run_before_anything_is_written(spark, made):
    root, _ = made

    def refused(error, message, **changes):
        with pytest.raises(error, match=message):
            go(spark, root, settings=settings(windows=False, name="refused", **changes))

    refused(GateError, r"'amount_mean_2d' \d+\.\d\d%; the gate wants below 2.00%", gate={"columns": ["amount_mean_2d", "event_count_5d"]})
    refused(
        ColumnError,
        "column 'amount_mean_3d' not found in table 'features'; did you mean",
        derivations=[{**DERIVATIONS[0], "columns": ["amount_mean_3d"]}],
    )
    refused(DataError, "the vocabulary of 'customer' has", derivations=[{**DERIVATIONS[2], "most": 2}], gate=None)
    refused(ColumnError, "derived column 'complete' clashes", derivations=[{**DERIVATIONS[3], "column": "complete"}], gate=None)
    refused(
        DataError,
        "the denominator 'event_count_5d' is 0",
        derivations=[{**DERIVATIONS[3], "zero": "refuse", "column": "r"}],
        gate={"columns": ["r"]},
    )
    refused(ConfigError, "no training slice is declared", fit=None)
    refused(ColumnError, "'custmer' not found", keys=["custmer"])
    refused(TableError, "'fetures' not found", table="fetures")
    there = Tables(spark, str(root / "out"))
    assert not there.exists("refused")
    assert not there.exists("refused_states")


def test_one_stage_runs_from_the_command_line(spark, made, tmp_path, capsys, monkeypatch):
    root, _ = made
    monkeypatch.setattr(cli.sessions, "session", lambda *_, **__: spark)
    monkeypatch.setattr(type(spark), "stop", lambda _: None)
    told = {**CONF, **plain(windows=False, name="by_hand", carry=["event_count_2d"])}
    (tmp_path / "conf.json").write_text(json.dumps(told))
    arguments = ["feature_engineering_pipeline", "-i", str(root / "in"), "-o", str(root / "out"), "-c", str(tmp_path / "conf.json")]
    for rows_written in (True, False):
        assert cli.main(arguments) == 0
        status = json.loads(capsys.readouterr().out)
        assert [table["name"] for table in status["tables"]] == ["by_hand", "by_hand_states"]
        assert (status["tables"][0]["rows"] > 0) is rows_written
    columns = Tables(spark, str(root / "out")).read("by_hand").columns
    assert columns[:5] == ["customer", "as_of", "known_at", "complete", "event_count_2d"]
