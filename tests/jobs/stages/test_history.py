"""The stage history: day by day it ends where a computation of all days ends, and it tells before it writes what it cannot do."""

import json
import shutil

import pytest

from sparkds.cli import main
from sparkds.errors import DataError, TableError, WindowError
from sparkds.features.history import snapshots_of_history_frame
from sparkds.features.rfm import MEASURES, Edges
from sparkds.tables import Tables, TableSpec
from tests.jobs.test_feature_engineering_pipeline import CONF, conf, day, go, orders, until, write_csv

SINCE = {"kind": "days_since_last"}
HISTORY = {"kind": "history", "sample": {"share": 1.0, "seed": 7}}
CHANGES = {"aggregations": [*CONF["aggregations"], SINCE], "stages": [{"kind": "windows"}, HISTORY]}
BOTH = conf(**CHANGES)
ALONE = conf(**{**CHANGES, "stages": [HISTORY]})
ROWS = orders()
LATE = [("late", day(7), "5.00"), ("c1", day(8), "2.50")]


def content(spark, out, name="features_history"):
    return sorted(map(tuple, Tables(spark, str(out)).read(name).collect()), key=repr)


@pytest.fixture(scope="module")
def begun(spark, tmp_path_factory):
    """Outputs after a first run through day 8."""
    root = tmp_path_factory.mktemp("begun")
    write_csv(root / "in", until(ROWS, day(8)))
    result = go(spark, root, settings=BOTH, start=day(7), end=day(8))
    assert result.sections["history"]["road"] == "all days"
    return root


@pytest.fixture
def root(begun, tmp_path):
    """A copy of the first run's outputs, with the events of one more day and late ones."""
    shutil.copytree(begun / "out", tmp_path / "out")
    write_csv(tmp_path / "in", [*until(ROWS, day(9)), *LATE])
    return tmp_path


def test_one_more_day_with_late_events_ends_in_the_history_of_all_days_even_after_it_was_killed(spark, root, capfd, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tables, "merge", killed)
        with pytest.raises(KeyboardInterrupt):
            go(spark, root, settings=BOTH)

    (root / "conf.json").write_text(json.dumps(BOTH.model_dump(mode="json", exclude_unset=True)))
    code = main(["feature_engineering_pipeline", "-i", str(root / "in"), "-o", str(root / "out"), "-c", str(root / "conf.json")])
    status = json.loads(capfd.readouterr().out)
    assert (code, status["status"]) == (0, "completed"), status
    section = status["history"]
    assert (section["as_of"], section["road"], section["days"]) == (str(day(9)), "step", [str(day(9))] * 2)
    assert section["late"] == {"tiles": 2, "entities": 2, "from": str(day(7))}
    assert section["changed_entities"] >= 3
    assert (section["tile_days"], section["by_signed_deltas"], section["tiles_since"]) == (3, 0, None)
    assert section["rows"] == section["rows_by_change"]["new"] + section["rows_by_change"]["ended"] > 0
    assert section["sample"] == {"share": 1.0, "seed": 7, "entities": 7, "different": 0}
    stepped = content(spark, root / "out")
    snapshots_are_read_from_the_history(spark, root / "out")

    again = go(spark, root, settings=ALONE)
    assert (again.sections["history"]["road"], again.sections["history"]["rows"]) == ("unchanged", 0)
    assert content(spark, root / "out") == stepped
    rebuilt = go(spark, root, settings=ALONE, rebuild=True, as_of=day(8)).sections["history"]
    assert (rebuilt["road"], rebuilt["as_of"]) == ("all days", day(9))
    assert content(spark, root / "out") == stepped


def snapshots_are_read_from_the_history(spark, place):
    """The snapshots that the job wrote are those of the history, with the scores of the stored edges."""
    out = Tables(spark, str(place))
    fitted = {row["measure"]: tuple(row["edges"]) for row in out.read("features_rfm_edges").collect()}
    edges = Edges(1, *(fitted[measure] for measure in MEASURES))
    got = snapshots_of_history_frame(BOTH.feature_set, out.read("features_history"), [day(7), day(8), day(9)], edges=edges)
    snapshots = out.read("features")
    expected = snapshots.where("complete").drop("complete")
    assert got.dtypes == expected.dtypes
    assert len(got.collect()) == snapshots.count()
    assert sorted(map(tuple, got.collect()), key=repr) == sorted(map(tuple, expected.collect()), key=repr)
    assert json.loads(out.properties("features_history")["sparkds.days_since"])["days_since_last_2d"] == "days_since_last_2d_from"


def test_a_history_that_differs_from_the_tiles_raises_the_alarm_and_one_that_another_changed_is_computed_again(spark, root):
    out = Tables(spark, str(root / "out"))
    right = content(spark, root / "out")
    history, commit = out.read("features_history"), out.last_commit("features_history")
    wrong = history.selectExpr(
        *(f"event_count_5d + int(customer = 'c1') as {c}" if c == "event_count_5d" else f"`{c}`" for c in history.columns)
    )
    out.replace("features_history", wrong, rows=None, metadata=commit.metadata, spec=spec_of(out))
    before = out.version("features_history")
    with pytest.raises(DataError, match=r"1 of 6 sampled entities .* in event_count_5d; nothing was written"):
        go(spark, root, settings=ALONE)
    assert out.version("features_history") == before

    spark.sql(f"delete from delta.`{root / 'out' / 'features_history'}` where customer = 'c1'").collect()
    result = go(spark, root, settings=ALONE)
    assert "'features_history' was changed by another writer; the history is computed again" in result.warnings
    assert content(spark, root / "out") == right


def spec_of(out):
    from sparkds.jobs.history_tables import history_spec

    return history_spec(BOTH.feature_set, "orders")


def test_a_declaration_that_adds_columns_computes_the_history_again_with_them(spark, root):
    wider = conf(**{**CHANGES, "windows": [2, 5, 9], "stages": [HISTORY]})
    before = content(spark, root / "out")
    result = go(spark, root, settings=wider)
    assert result.warnings == ["the declaration adds to 'features_history'; the history is computed again"]
    assert go(spark, root, settings=wider).sections["history"]["road"] == "unchanged"
    out = Tables(spark, str(root / "out"))
    history = out.read("features_history")
    assert "amount_sum_9d" in history.columns
    assert out.definition("features_history") == wider.feature_set.definition_hash
    assert history.count() >= len(before)


def no_tiles(root):
    shutil.rmtree(root["root"] / "out")
    return {"settings": ALONE}


def of_another(root):
    spec = TableSpec(definition_hash="abc")
    Tables(root["spark"], str(root["root"] / "out")).replace("taken", root["spark"].range(1), rows=None, metadata={}, spec=spec)
    return {"settings": conf(**{**CHANGES, "stages": [{**HISTORY, "table": "taken"}]})}


def other_tiles(root):
    return {"settings": conf(**{**CHANGES, "refunds": {"column": "amount", "rule": "gross"}, "stages": [HISTORY]})}


def begins_later(root):
    return {"settings": conf(**{**CHANGES, "stages": [{**HISTORY, "first": str(day(20)), "table": "later"}]})}


def before_the_first_tile(root):
    return {"settings": conf(**{**CHANGES, "stages": [{**HISTORY, "table": "early"}]}), "as_of": day(-3)}


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (no_tiles, TableError, "made from the tiles 'features_tiles', which are not in .*; put the stage {kind: windows} before"),
        (of_another, TableError, "table 'taken' in .* exists with another definition \\(abc, now"),
        (other_tiles, TableError, "made from the tiles 'features_v2_tiles', which are not in .*; put the stage {kind: windows} before"),
        (begins_later, WindowError, f"would begin on {day(20)}, after its last day {day(8)}"),
        (before_the_first_tile, WindowError, f"would end on {day(-3)}, before the first tile of 'features_tiles' \\({day(0)}\\)"),
    ],
)
def test_bad_input_has_a_named_error_and_nothing_is_written(spark, root, prepare, error, message):
    asked = prepare({"spark": spark, "root": root})
    with pytest.raises(error, match=message):
        go(spark, root, **asked)
    assert not (root / "out" / "later").exists()
    assert not (root / "out" / "early").exists()


def test_names_of_tables_follow_the_declaration():
    stage = BOTH.stages[1]
    assert stage.tables_written(BOTH) == ("features_history", "features_history_step")
    assert BOTH.tables_needed == ()
    assert ALONE.tables_needed == ("features_tiles",)
