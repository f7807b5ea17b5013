"""Declarations of training sets: which columns follow from them, and what does not fit."""

import pytest
from pydantic import ValidationError

from sparkds.errors import ColumnError, ConfigError
from sparkds.features import FeatureTable, Spine, TrainingSet

SPINE = {"k": "int", "t": "timestamp", "y": "boolean"}
TABLE = {"k": "bigint", "known_at": "timestamp", "as_of": "date", "complete": "boolean", "v": "double", "day": "date"}


def resolved(spine=None, types=None, spine_types=None, **declared):
    spec = TrainingSet(
        spine=Spine(**{"keys": ("k",), "time": "t", "time_zone": "UTC", **(spine or {})}),
        features=(FeatureTable(**{"table": "f", **declared}),),
    )
    return spec.resolved(spine_types or SPINE, {"f": types or TABLE})


def test_features_are_all_columns_but_keys_times_validity_and_stored_days():
    (table,) = resolved(days_since={"age_days": "day"}, prefix="f_")
    assert [(f.name, f.column, f.dtype, f.is_days_since) for f in table.features] == [
        ("f_v", "v", "double", False),
        ("f_age_days", "day", "int", True),
    ]
    assert table.only_complete
    assert table.keys == (("k", "k", "bigint"),)
    (table,) = resolved(columns=("as_of", "v"), leave_out=("v",), take_incomplete=True)
    assert [f.name for f in table.features] == ["as_of"]
    assert not table.only_complete


def test_a_history_tells_days_from_the_dates_it_stores_without_being_asked():
    history = {"k": "int", "known_at": "timestamp", "valid_from": "date", "valid_to": "date", "n_7d": "bigint", "since_7d_from": "date"}
    (table,) = resolved(types=history)
    assert [(f.name, f.column, f.is_days_since) for f in table.features] == [("n_7d", "n_7d", False), ("since_7d", "since_7d_from", True)]
    (table,) = resolved(types=history, days_since={})
    assert [(f.name, f.is_days_since) for f in table.features] == [("n_7d", False), ("since_7d_from", False)]


@pytest.mark.parametrize(
    ("declared", "error", "told"),
    [
        ({"columns": ("w",)}, ColumnError, "column 'w' not found in feature table 'f'"),
        ({"known_at": "knwon_at"}, ColumnError, "did you mean 'known_at'"),
        ({"known_at": "v"}, ColumnError, "column 'v' in feature table 'f' is double; a time is a timestamp or a date"),
        ({"table_keys": {"k": "key"}}, ColumnError, "column 'key' not found in feature table 'f'"),
        ({"table_keys": {"q": "k"}}, ConfigError, "table_keys names 'q', which is not one of its keys"),
        ({"keys": ("q",)}, ColumnError, "column 'q' not found in the spine"),
        ({"table_keys": {"k": "v"}}, ColumnError, "key 'v' in feature table 'f' is double; floats do not name an entity"),
        ({"table_keys": {"k": "as_of"}}, ColumnError, "key 'k' is int in the spine and 'as_of' is date in feature table 'f'"),
        ({"days_since": {"d": "v"}}, ColumnError, "'v' in feature table 'f' is double; days_since"),
        ({"leave_out": ("v", "day")}, ConfigError, "has no column that is a feature"),
        ({"tie": "z"}, ColumnError, "column 'z' not found"),
        ({"types": TABLE | {"T": "int"}}, ConfigError, "column 'T' of feature table 'f' has the name of the spine's 't'; give the table a prefix"),
        ({"types": TABLE | {"F_known_at": "int"}}, ConfigError, "has the name of 'F_known_at' of feature table 'f'"),
        ({"types": TABLE | {"valid_from": "date", "valid_to": "date"}, "columns": ("valid_to",)}, ConfigError, "it tells the future"),
        ({"types": TABLE | {"m": "map<int,int>"}, "tie": "m"}, ColumnError, "has no order"),
        ({"spine": {"label": "z"}}, ColumnError, "column 'z' not found in the spine"),
        ({"spine": {"time": "y"}}, ColumnError, "column 'y' in the spine is boolean; a time is"),
        ({"spine_types": SPINE | {"k": "double"}}, ColumnError, "key 'k' in the spine is double; floats do not name an entity"),
        ({"spine_types": SPINE | {"k": "array<int>"}}, ColumnError, "cannot be compared"),
        ({"spine_types": SPINE | {"y": "map<int,int>"}, "spine": {"label": "y"}}, ColumnError, "a label is a number"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(declared, error, told):
    with pytest.raises(error) as raised:
        resolved(**declared)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Spine(keys=("k",), time="t", time_zone="Europe/Berln"), "did you mean 'Europe/Berlin'"),
        (lambda: Spine(keys=("k", "k"), time="t", time_zone="UTC"), "'k' is given two parts"),
        (lambda: Spine(keys=("k",), time="t", time_zone="UTC", label="t"), "'t' is given two parts"),
        (lambda: FeatureTable(table="f", time_zone="Mars"), "time zone 'Mars' is unknown"),
        (lambda: FeatureTable(table="f", lookback_days=0), "greater than or equal to 1"),
        (
            lambda: TrainingSet(
                spine=Spine(keys=("k",), time="t", time_zone="UTC"), features=(FeatureTable(table="f"), FeatureTable(table="f"))
            ),
            "two feature tables have the name 'f'",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(make, told):
    with pytest.raises(ValidationError, match=told):
        make()


def test_a_table_that_is_declared_and_not_given_is_named():
    spec = TrainingSet(spine=Spine(keys=("k",), time="t", time_zone="UTC"), features=(FeatureTable(table="visits"),))
    with pytest.raises(ConfigError, match="feature table 'visits' is declared and not given; did you mean 'visit'"):
        spec.resolved(SPINE, {"visit": TABLE})
