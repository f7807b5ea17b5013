"""The contract of derivations: levels, names, one pass of fits, states that are reused or refused, columns that follow."""

import math
from datetime import date

import pytest
from pydantic import ValidationError

from sparkds.errors import ColumnError, ConfigError, DataError, TableError
from sparkds.features.generate import Generation, Log1p, Slice, Standardise

FIT = Slice(until=date(2026, 1, 2))
SCHEMA = "k int, as_of date, x double, `ü.b c` int"
ROWS = [
    (1, date(2026, 1, 1), 1.0, 4),
    (2, date(2026, 1, 2), 3.0, 4),
    (3, date(2026, 1, 2), math.nan, 4),
    (4, date(2026, 1, 3), 1e6, None),
    (5, date(2026, 1, 3), -5.0, 9),
]
MADE = Generation(
    derivations=(
        Standardise(columns=("x_log1p",), ddof=0),
        Log1p(columns=("x", "ü.b c")),
        Standardise(columns=("x", "ü.b c"), suffix="z", ddof=1),
    ),
    fit=FIT,
)


def refused(**fields):
    with pytest.raises(ValidationError) as caught:
        Generation(**fields)
    return str(caught.value)


def test_derivations_are_resolved_into_levels_whatever_their_order():
    assert [[d.title for d in level] for level in MADE.levels] == [
        ["log1p(x, ü.b c)", "standardise(x, ü.b c) z"],
        ["standardise(x_log1p)"],
    ]


def test_two_derivations_of_one_name_or_one_column_are_refused():
    assert "letters' case does not count" in refused(derivations=(Log1p(columns=("a",)), Log1p(columns=("A",), suffix="LOG1P")))
    assert "are named 'log1p(a)'" in refused(derivations=(Log1p(columns=("a",)), Log1p(columns=("a",), signed=True)))


def test_the_training_slice_must_end_before_the_test_part():
    with pytest.raises(ValidationError, match="overlaps the test part"):
        Slice(until=date(2026, 3, 1), test_from=date(2026, 3, 1))
    with pytest.raises(ValidationError, match="has no end"):
        Slice(since=date(2026, 3, 1))


@pytest.fixture(scope="module")
def frame(spark):
    return spark.createDataFrame(ROWS, SCHEMA)


@pytest.fixture(scope="module")
def states(frame):
    return MADE.fitted(frame, fitted_on="features@3")


def test_what_is_fitted_comes_from_the_training_slice_only_and_rows_outside_follow_it(frame, states):
    z = states["standardise(x, ü.b c) z"]
    assert (z.version, z.n_rows, z.fitted_on, z.slice) == (1, 3, "features@3", "coalesce(`as_of` <= DATE'2026-01-02', false)")
    assert z.state == {"x": {"mean": 2.0, "sd": math.sqrt(2)}, "ü.b c": {"mean": 4.0, "sd": 0.0}}
    rows = {row["k"]: row for row in MADE.applied(frame, states).collect()}
    assert rows[4]["x_z"] == pytest.approx((1e6 - 2) / math.sqrt(2))
    assert rows[3]["x_z"] is None
    assert rows[5]["x_log1p"] is None
    assert rows[5]["ü.b c_log1p"] == pytest.approx(math.log(10))
    assert [rows[k]["ü.b c_z"] for k in (1, 4, 5)] == [0.0, None, 0.0]
    logs = [math.log(2), math.log(4)]
    mean = sum(logs) / 2
    assert rows[1]["x_log1p_standardised"] == pytest.approx((logs[0] - mean) / (logs[1] - mean))
    assert list(rows[1].asDict()) == ["k", "as_of", "x", "ü.b c", *(n for d in MADE.derivations for n in d.names)]


def test_a_kept_state_is_used_again_and_one_of_another_definition_refused(frame, states):
    assert MADE.fitted(frame, kept=states.values()) == states
    again = MADE.fitted(frame, kept=states.values(), refit=True)
    assert {state.version for state in again.values()} == {2}
    other = MADE.model_copy(update={"fit": Slice(until=date(2026, 1, 1))})
    with pytest.raises(TableError, match="is of another definition.*refit it as a new version"):
        other.fitted(frame, kept=states.values())
    with pytest.raises(TableError, match=r"column 'x' of type double, now float"):
        MADE.fitted(frame.selectExpr("k", "as_of", "cast(x as float) x", "`ü.b c`"), kept=states.values())


def test_bad_input_is_named_before_anything_is_fitted(frame):
    def made(*derivations, fit=FIT):
        return Generation(derivations=derivations, fit=fit)

    with pytest.raises(ColumnError, match="column 'y' not found in the frame"):
        made(Log1p(columns=("y",))).fitted(frame)
    with pytest.raises(ColumnError, match="has type date; a number is needed"):
        made(Log1p(columns=("as_of",))).fitted(frame)
    with pytest.raises(ConfigError, match="no training slice is declared"):
        made(Standardise(columns=("x",), ddof=0), fit=None).fitted(frame)
    with pytest.raises(DataError, match="has no rows"):
        made(Standardise(columns=("x",), ddof=0), fit=Slice(until=date(2025, 1, 1))).fitted(frame)
    with pytest.raises(DataError, match="'ü.b c' is null in all 1 training rows"):
        made(Standardise(columns=("ü.b c",), ddof=0), fit=Slice(where="k = 4")).fitted(frame)
    with pytest.raises(ConfigError, match="2 of the 5 rows of the training slice belong to the test part"):
        made(Standardise(columns=("x",), ddof=0), fit=Slice(where="true", test_from=date(2026, 1, 3))).fitted(frame)
    for predicate, message in (
        ("k <", "cannot be read"),
        ("nothing > 1", "cannot be read"),
        ("k + 1", "gives int; a predicate gives true or false"),
    ):
        with pytest.raises(ConfigError, match=message):
            made(Standardise(columns=("x",), ddof=0), fit=Slice(where=predicate)).fitted(frame)
    with pytest.raises(ColumnError, match="derived column 'X_z' clashes"):
        made(Log1p(columns=("X",), suffix="z")).applied(frame.selectExpr("x as X", "x as x_z"), {})
    with pytest.raises(TableError, match="has no fitted state"):
        MADE.applied(frame, {})
