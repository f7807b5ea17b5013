"""The statement of a check: what fits together, what is refused by name, and which columns follow from it."""

from datetime import date

import pytest
from pydantic import ValidationError

from sparkds.errors import ColumnError, ConfigError
from sparkds.features.leakage import Accepted, FeatureWindow, Finding, Instant, Lag, LeakageCheck, Split, counts, found, stopping
from sparkds.features.leakage.columns import columns_of, zone_of
from sparkds.features.leakage.finding import SEVERITY, TITLES

TYPES = {
    "k": "string",
    "at": "date",
    "y": "int",
    "x": "double",
    "a.b c": "decimal(9,2)",
    "ü`x": "string",
    "seen": "timestamp",
    "tags": "array<int>",
}


def check(**changes):
    return LeakageCheck(**{"keys": ("k",), "label": "y", "task": "binary", "time": "at", "time_zone": "UTC", **changes})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"split": {"column": "s", "until": date(2026, 1, 1)}}, "give one of them"),
        ({"split": {"train": "train"}}, "give one of them"),
        ({"split": {"column": "s", "train": "a", "test": "a"}}, "repeat a name"),
        ({"split": {"until": date(2026, 1, 1), "table": "t"}}, "needs the `column`"),
        ({"time": None, "lag": {}}, "lag needs `time`"),
        ({"time": None, "split": {"until": date(2026, 1, 1)}}, "split.until needs `time`"),
        ({"time": None, "known_at": ("seen",)}, "give `time` or `label_from`"),
        ({"windows": ({"features": ("x",)},)}, "give one of them"),
        ({"keys": ("k", "k")}, "repeat a column"),
        ({"label": "k"}, "is a key"),
        ({"features": ("y",)}, "no feature"),
        ({"task": "regression", "positive": 1}, "no positive class"),
        ({"time_zone": "Mars"}, "IANA name"),
        ({"thresholds": {"auc": 0.4}}, "greater than 0.5"),
        ({"severity": {"psi": "loud"}}, "warning"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_check_that_does_not_fit_together_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        check(**changes)


def test_columns_without_another_role_are_features_by_kind_and_nested_ones_are_skipped():
    columns = columns_of(TYPES, check(), "the table")
    assert (columns.numbers, columns.texts, columns.times) == (("x", "a.b c"), ("ü`x",), ("seen",))
    assert columns.names == ("x", "a.b c", "ü`x", "seen")
    assert columns.skipped == {"tags": "array<int>"}
    assert columns_of(TYPES, check(known_at=("seen",), ignore=("x", "not there")), "the table").names == ("a.b c", "ü`x")
    assert columns_of(TYPES, check(features=("x",)), "the table").names == ("x",)


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"label": "yy"}, ColumnError, "did you mean 'y'"),
        ({"time": "when"}, ColumnError, "named as time"),
        ({"time": "x"}, ColumnError, "a time is a date or a timestamp"),
        ({"features": ("x", "z")}, ColumnError, "named as feature"),
        ({"features": ("tags",)}, ColumnError, "leave it out"),
        ({"windows": (FeatureWindow(features=("*_7d",), last_day=-1),)}, ConfigError, "no feature of the table is called"),
        ({"windows": (FeatureWindow(features=("x",), as_of="seen"),)}, ColumnError, "last day of a window is a date"),
        ({"ignore": ("x", "a.b c", "ü`x", "seen", "tags")}, ColumnError, "no feature in the table"),
        ({"split": Split(column="split")}, ColumnError, "named as split"),
    ],
)
def test_a_table_that_lacks_what_the_check_names_is_refused_by_name(changes, error, told):
    with pytest.raises(error, match=told):
        columns_of(TYPES, check(**changes), "the table")


def test_a_zone_is_needed_where_dates_meet_timestamps():
    mixed = check(time_zone=None)
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        zone_of(mixed, TYPES, ("seen",))
    assert zone_of(mixed, TYPES, ()) == "UTC"
    assert zone_of(check(time_zone="Asia/Tokyo"), TYPES, ("seen",)) == "Asia/Tokyo"


def test_every_kind_has_a_severity_a_title_and_can_be_overridden():
    assert set(SEVERITY) == set(TITLES)
    assert check(severity={"psi": "error"}).level("psi") == "error"
    assert check(severity={"psi": "off"}).level("psi") is None
    by = {how: check(split=Split(column="s", by=how)).level("entity_overlap") for how in ("entity", "row", "time")}
    assert by == {"entity": "error", "row": "warning", "time": "info"}
    assert check(split=Split(until=date(2026, 1, 1))).level("entity_overlap") == "info"


def test_the_gate_takes_findings_at_its_level_and_above_the_worst_first():
    told = [
        Finding("psi", "warning"),
        Finding("id_like", "info"),
        Finding("feature_time", "error"),
        Finding("ks", "ok"),
        Finding("presence", "skipped"),
    ]
    assert [one.kind for one in found(told)] == ["feature_time", "psi", "id_like"]
    assert [len(stopping(told, gate)) for gate in ("none", "error", "warning", "info")] == [0, 1, 2, 3]
    assert counts(told) == {"error": 1, "warning": 1, "info": 1, "ok": 1, "skipped": 1}


def test_a_check_is_written_and_read_back_and_has_a_hash_of_what_it_says():
    one = check(
        label_from=Instant(column="at", plus_days=1),
        windows=(FeatureWindow(features=("x",), last_day=-1),),
        lag=Lag(),
        accepted=(Accepted(kind="psi", column="x", reason="season"),),
        severity={"ks": "info"},
    )
    again = LeakageCheck.model_validate_json(one.model_dump_json())
    assert again == one
    assert again.definition_hash == one.definition_hash != check().definition_hash
