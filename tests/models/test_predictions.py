"""Predictions: what rows become, which rows are to blame, and what is a model's own fault."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.models.predictions import as_arrow, features_of, outputs_of_rows
from sparkds.models.signature import Input, Output, check_columns, inputs_of, outputs_of

from .fitted import Fussy, signature

DOUBLES = (Input("x0", "double", "number"), Input("x1", "double", "number"))
ONE = (Output("prediction", "double"),)


def rows_of(*columns):
    return features_of([pa.array(column) for column in columns], DOUBLES[: len(columns)])


def test_only_the_rows_on_which_a_model_fails_are_left_out_wherever_they_stand():
    rng = np.random.default_rng(1)
    for n_bad in (0, 1, 3, 40):
        x = rng.uniform(20, 30, 100)
        bad = rng.choice(100, n_bad, replace=False)
        x[bad] = 13
        frame, codes = rows_of(x, np.ones(100))
        calls = []

        def predict(part, calls=calls):
            calls.append(len(part))
            return Fussy().predict(part)

        made, found, messages = outputs_of_rows(predict, frame, codes, ONE)
        assert set(np.flatnonzero(found == "ValueError")) == set(bad)
        assert all("thirteen" in messages[i] for i in bad)
        good = np.setdiff1d(np.arange(100), bad)
        np.testing.assert_array_equal(made[0][good], x[good] + 1)
        assert len(calls) <= 1 + n_bad * 2 * 8
        if n_bad == 0:
            assert calls == [100]


def test_nulls_are_missing_numbers_and_what_is_not_finite_has_no_score():
    frame, codes = rows_of([1.0, None, 99.0, float("nan")], [1.0, 1.0, 1.0, 1.0])
    made, found, messages = outputs_of_rows(Fussy().predict, frame, codes, ONE)
    assert found.tolist() == ["", "not_finite", "not_finite", "not_finite"]
    told = as_arrow(made, found, messages, ONE)
    assert told["prediction"].to_pylist() == [2.0, None, None, None]
    assert told["score_error"].to_pylist() == [None, "not_finite", "not_finite", "not_finite"]


def test_a_whole_number_that_no_double_holds_is_an_error_of_its_row():
    frame, codes = features_of([pa.array([1, 2**53, 2**53 + 1, None])], (Input("x0", "double", "number"),))
    assert codes.tolist() == ["", "", "too_large_for_double", ""]
    assert np.isnan(frame["x0"][3])


def test_a_null_in_a_whole_number_is_an_error_of_its_row_and_texts_may_be_null():
    inputs = (Input("n", "long", "integer"), Input("t", "string", "text"), Input("b", "boolean", "boolean"), Input("f", "float", "number"))
    columns = [pa.array([1, None]), pa.array([None, "b"]), pa.array([True, False]), pa.array([1.5, None])]
    frame, codes = features_of(columns, inputs)
    assert codes.tolist() == ["", "null_in_integer"]
    assert [str(t) for t in frame.dtypes] == ["int64", "object", "bool", "float32"]
    assert frame["t"].tolist() == [None, "b"]


def test_a_model_that_fails_on_everything_is_told_before_all_rows_are_tried():
    frame, codes = rows_of(np.full(5000, 13.0), np.ones(5000))
    with pytest.raises(DataError, match="fails on every row: ValueError: thirteen"):
        outputs_of_rows(Fussy().predict, frame, codes, ONE)


def test_a_model_that_gives_another_shape_than_it_says_is_told():
    frame, codes = rows_of([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(DataError, match="gave 2 rows x 2 columns for 2 rows; its signature says 1"):
        outputs_of_rows(lambda f: np.ones((2, 2)), frame, codes, ONE)
    with pytest.raises(DataError, match="gave 1 rows"):
        outputs_of_rows(lambda f: np.ones(1), frame, codes, ONE)


def test_outputs_by_name_come_in_the_order_of_the_signature():
    outputs = (Output("a", "double"), Output("label", "string"))
    frame, codes = rows_of([1.0, 2.0], [1.0, 2.0])
    made, _, _ = outputs_of_rows(lambda f: pd.DataFrame({"label": ["x", "y"], "a": f["x0"]}), frame, codes, outputs)
    assert made[0].tolist() == [1.0, 2.0]
    assert as_arrow(made, np.array(["", ""], dtype=object), np.array(["", ""], dtype=object), outputs)["label"].to_pylist() == ["x", "y"]


def test_signatures_by_columns_are_read_and_others_are_refused():
    from mlflow.models import ModelSignature, infer_signature

    told = signature({"a": "double", "b": "long"}, {"p": "double"})
    assert inputs_of(told, "m") == (Input("a", "double", "number"), Input("b", "long", "integer"))
    assert outputs_of(told, "m") == (Output("p", "double"),)
    with pytest.raises(ConfigError, match="no signature"):
        inputs_of(None, "m")
    with pytest.raises(ConfigError, match="tensor"):
        inputs_of(infer_signature(np.ones((3, 2)), np.ones(3)), "m")
    unnamed = ModelSignature.from_dict({"inputs": '[{"type": "double"}]', "outputs": None, "params": None})
    with pytest.raises(ConfigError, match="by position"):
        inputs_of(unnamed, "m")
    assert outputs_of(unnamed, "m") == (Output("prediction", "double"),)
    both = infer_signature(pd.DataFrame({"a": [1.0]}), np.ones((3, 2)))
    assert [o.name for o in outputs_of(both, "m")] == ["prediction_0", "prediction_1"]


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"x0": "double"}, "'x1' not found"),
        ({"x0": "string", "x1": "double"}, "'x0' of table 't' is string"),
        ({"x0": "date", "x1": "int"}, "is date"),
    ],
)
def test_columns_that_do_not_fit_are_named_before_anything_runs(types, message):
    with pytest.raises(ColumnError, match=message):
        check_columns(DOUBLES, types, uri="m", table="t")


def test_what_becomes_a_double_without_loss_fits():
    for dtype in ("tinyint", "int", "bigint", "float", "double", "decimal(12,2)", "boolean"):
        check_columns(DOUBLES[:1], {"x0": dtype}, uri="m", table="t")
