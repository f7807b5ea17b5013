"""Versions of a feature table: columns that are added, definitions that change, and what stays as it was."""

import pytest

from sparkds.errors import TableError
from sparkds.tables import Tables
from tests.jobs.test_feature_engineering_pipeline import conf, day, go, orders, table, until, versions, write_csv

ADDED = {
    "windows": [2, 5, 9],
    "aggregations": [
        *conf().model_dump(mode="json")["aggregations"],
        {"kind": "max", "column": "amount"},
        {"kind": "std", "column": "amount"},
    ],
}


def rows(spark, root, out, name="features", columns=None):
    frame = Tables(spark, str(root / out)).read(name)
    columns = columns or sorted(c for c in frame.columns if c not in ("rfm_edges_version", "r_score", "f_score", "m_score", "rfm_segment"))
    return sorted(map(tuple, frame.select(*columns).collect()), key=repr)


def test_added_columns_are_computed_for_all_days_and_the_others_stay_as_they_are(spark, tmp_path):
    events = orders()
    write_csv(tmp_path / "in", until(events, day(7)))
    go(spark, tmp_path, start=day(5), end=day(7))
    out = Tables(spark, str(tmp_path / "out"))
    before, old = out.read("features").columns, rows(spark, tmp_path, "out")
    done = go(spark, tmp_path, settings=conf(**ADDED))
    told = done.sections["windows"]
    assert (told["version"], told["table"], told["days"]) == (1, "features", [])
    assert any("added to 'features', for 3 days: event_count_9d" in warning for warning in done.warnings)
    kept = sorted(c for c in before if c not in ("rfm_edges_version", "r_score", "f_score", "m_score", "rfm_segment"))
    assert rows(spark, tmp_path, "out", columns=kept) == old
    write_csv(tmp_path / "in", until(events, day(8)))
    assert go(spark, tmp_path, settings=conf(**ADDED)).sections["windows"]["days"] == [day(8)]
    go(spark, tmp_path, "fresh", settings=conf(**ADDED), start=day(5), end=day(8))
    assert rows(spark, tmp_path, "out") == rows(spark, tmp_path, "fresh")
    assert rows(spark, tmp_path, "out", "features_tiles") == rows(spark, tmp_path, "fresh", "features_tiles")
    again = go(spark, tmp_path, settings=conf(**ADDED))
    assert (again.sections["windows"]["days"], again.warnings) == ([], [])
    comments = {f.name: f.metadata.get("comment", "") for f in out.read("features").schema.fields}
    assert comments["amount_max_9d"].startswith("max of amount over the 9 days")


@pytest.mark.slow
def test_an_extension_that_was_killed_between_its_commits_ends_in_the_same_tables(spark, tmp_path, monkeypatch):
    write_csv(tmp_path / "in", orders())
    go(spark, tmp_path, start=day(9), end=day(11))
    calls = []
    real = Tables.redefine

    def killed(self, name, spec):
        calls.append(name)
        if len(calls) in killed.at:
            raise KeyboardInterrupt
        real(self, name, spec)

    monkeypatch.setattr(Tables, "redefine", killed)
    for at in (1, 3):  # after the tiles' rows, after the snapshots' rows
        killed.at = {at}
        with pytest.raises(KeyboardInterrupt):
            go(spark, tmp_path, settings=conf(**ADDED))
    killed.at = set()
    go(spark, tmp_path, settings=conf(**ADDED))
    monkeypatch.undo()
    go(spark, tmp_path, "fresh", settings=conf(**ADDED), start=day(9), end=day(11))
    assert rows(spark, tmp_path, "out") == rows(spark, tmp_path, "fresh")
    assert Tables(spark, str(tmp_path / "out")).definition("features") == conf(**ADDED).feature_set.definition_hash


def test_a_changed_definition_is_a_version_of_its_own_beside_the_earlier_one(spark, tmp_path):
    write_csv(tmp_path / "in", orders())
    before = go(spark, tmp_path)
    old = table(spark, tmp_path / "out")
    changed = conf(windows=[2, 7])  # 5 is dropped; the states are the same
    done = go(spark, tmp_path, settings=changed)
    assert (done.sections["windows"]["version"], done.sections["windows"]["table"]) == (2, "features_v2")
    assert any("version 2 is made beside it, in 'features_v2'" in warning for warning in done.warnings)
    assert {t.name for t in done.tables} >= {"features_v2", "features_tiles"}  # the tiles serve both
    assert table(spark, tmp_path / "out") == old
    assert versions(go(spark, tmp_path))["features"] == versions(before)["features"]
    other = go(spark, tmp_path, settings=conf(windows=[2, 7], refunds={"column": "amount", "rule": "gross"}))
    assert (other.sections["windows"]["version"], {t.name for t in other.tables} >= {"features_v3", "features_v3_tiles"}) == (3, True)
    assert go(spark, tmp_path, settings=changed).sections["windows"]["version"] == 2


def test_tiles_of_another_definition_under_the_name_are_refused(spark, tmp_path):
    write_csv(tmp_path / "in", orders())
    go(spark, tmp_path, settings=conf(name="other"))
    out = Tables(spark, str(tmp_path / "out"))
    (tmp_path / "out" / "other_tiles").rename(tmp_path / "out" / "features_tiles")
    with pytest.raises(TableError, match="table 'features_tiles' in .* exists with another definition"):
        go(spark, tmp_path, settings=conf(refunds={"column": "amount", "rule": "gross"}))
    assert not out.exists("features")
