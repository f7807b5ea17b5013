"""Explanations: contributions against a naive loop and against the terms of a line, and wishes that do not fit."""

import numpy as np
import pandas as pd
import pytest

from sparkds.errors import ColumnError, ConfigError
from sparkds.models.explanations import contributions, explained, strongest
from sparkds.models.signature import Input, Output

INPUTS = (Input("a", "double", "number"), Input("b", "double", "number"), Input("c", "string", "text"), Input("d", "long", "integer"))
OUTPUTS = (Output("low", "double"), Output("score", "double"))
REFERENCE = {"a": 1.0, "b": None, "c": "x", "d": 3}


def frame(n=40):
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {"a": rng.normal(size=n), "b": rng.normal(size=n), "c": rng.choice(["x", "y", None], n).astype(object), "d": rng.integers(0, 9, n)}
    )


def model(rows):
    if ((rows["a"] == 1.0) & (rows["d"] == 8)).any():
        raise ValueError("eight at the reference")
    score = 2 * rows["a"].to_numpy() + np.where(np.isnan(rows["b"]), 5, rows["b"] ** 2) * (rows["c"] == "y") - 0.5 * rows["d"]
    return np.column_stack([-score, score])


def wish(most=2, **changes):
    return explained("score", most, {**REFERENCE, **changes}, INPUTS, OUTPUTS, "models:/m/1")


def test_contributions_are_those_of_a_loop_that_changes_one_value_at_a_time():
    rows = frame()
    codes = np.where(np.arange(len(rows)) == 5, "null_in_integer", "").astype(object)
    scores = model(rows)[:, 1]
    found = contributions(model, rows, codes, OUTPUTS, scores, wish())
    for i in range(len(rows)):
        for j, name in enumerate("abcd"):
            changed = rows.iloc[[i]].copy()
            changed[name] = np.nan if name == "b" else REFERENCE[name]
            try:
                wanted = scores[i] - model(changed)[0, 1]
            except ValueError:
                wanted = np.nan
            assert found[i, j] == pytest.approx(np.nan if i == 5 else wanted, abs=1e-12, nan_ok=True)


def test_contributions_of_a_line_are_its_terms_and_add_up():
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(rng.normal(size=(50, 3)), columns=["p", "q", "r"])
    slope, middle = np.array([1.5, -2.0, 0.0]), np.array([0.3, 0.2, 0.1])
    inputs = tuple(Input(name, "double", "number") for name in rows)
    asked = explained("score", 3, dict(zip(rows, middle, strict=True)), inputs, (Output("score", "double"),), "m")

    def line(x):
        return x.to_numpy() @ slope + 7

    found = contributions(line, rows, np.full(50, "", dtype=object), (Output("score", "double"),), line(rows), asked)
    np.testing.assert_allclose(found, (rows.to_numpy() - middle) * slope, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), line(rows) - (middle @ slope + 7), atol=1e-12)


def test_the_strongest_come_first_and_what_is_not_known_is_left_out():
    found = np.array([[0.1, -3.0, 2.0], [np.nan, np.nan, 0.5], [np.nan, np.nan, np.nan]])
    told = strongest(found, ["a", "b", "c"], 2).to_pylist()
    assert told == [
        [{"feature": "b", "contribution": -3.0}, {"feature": "c", "contribution": 2.0}],
        [{"feature": "c", "contribution": 0.5}],
        None,
    ]


@pytest.mark.parametrize(
    ("score", "reference", "error", "message"),
    [
        ("scor", REFERENCE, ColumnError, "column 'scor' not found in the outputs"),
        ("score", None, ConfigError, "carries no reference values; give explanations.reference"),
        ("score", {"a": 1.0}, ConfigError, "no value for input 'b'"),
        ("score", {**REFERENCE, "e": 1}, ColumnError, "column 'e' not found in the inputs"),
        ("score", {**REFERENCE, "a": "x"}, ConfigError, "of 'a' is 'x'; model models:/m/1 takes double"),
        ("score", {**REFERENCE, "d": None}, ConfigError, "of 'd' is None"),
    ],
)
def test_a_wish_that_does_not_fit_the_model_is_named(score, reference, error, message):
    with pytest.raises(error, match=message):
        explained(score, 2, reference, INPUTS, OUTPUTS, "models:/m/1")
