"""Predictions: rows of features to rows of outputs, on arrays, with bad rows told apart from bad models.

Takes Arrow columns and a model and gives one array per output with an error code per row. Rules, the same on every road: a null number
is NaN to the model; a null in a whole number, and a whole number beyond 2^53 that must be a double, are errors of the row; a
prediction that is NaN or infinite is null with the code ``not_finite``; a row on which the model fails is found by halving the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkds.errors import DataError
from sparkds.models.signature import LARGEST_WHOLE, Input, Output

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame

CODE, MESSAGE = "score_error", "score_error_message"
NULL_WHOLE: Final = "null_in_integer"
LOSSY: Final = "too_large_for_double"
NOT_FINITE: Final = "not_finite"
HOPELESS: Final = 1000
"""Rows that fail one after another, without one that does not, from which the model and not the rows is at fault."""
LONGEST: Final = 300

Predict = Callable[["PandasFrame"], Any]
Texts = npt.NDArray[np.object_]


def features_of(columns: Sequence[pa.Array], inputs: Sequence[Input]) -> tuple[PandasFrame, Texts]:
    """Frame that the model takes, and the error code of each row, empty for none.

    Parameters
    ----------
    columns : sequence of pyarrow.Array
        One per input: whole numbers as they are, other numbers as double.
    inputs : sequence of Input
    """
    import pandas as pd

    n = len(columns[0]) if columns else 0
    codes = np.full(n, "", dtype=object)
    if all(one.type == "double" for one in inputs):
        block = np.empty((n, len(inputs)))
        for i, column in enumerate(columns):
            block[:, i] = _doubles(column, codes)
        return pd.DataFrame(block, columns=[one.name for one in inputs]), codes
    made: dict[str, Any] = {}
    for one, column in zip(inputs, columns, strict=True):
        if one.kind == "number":
            made[one.name] = _doubles(column, codes).astype(np.float32 if one.type == "float" else np.float64)
        elif one.kind in ("integer", "boolean"):
            codes[column.is_null().to_numpy(zero_copy_only=False)] = NULL_WHOLE
            whole = {"long": np.int64, "integer": np.int32, "boolean": np.bool_}[one.type]
            made[one.name] = (
                pc.fill_null(column, False if pa.types.is_boolean(column.type) else 0).to_numpy(zero_copy_only=False).astype(whole)
            )
        else:
            made[one.name] = column.to_numpy(zero_copy_only=False)
    return pd.DataFrame(made), codes


def _doubles(column: pa.Array, codes: Texts) -> npt.NDArray[np.float64]:
    if pa.types.is_integer(column.type):
        if pa.types.is_int64(column.type):
            whole = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
            codes[(whole > LARGEST_WHOLE) | (whole < -LARGEST_WHOLE)] = LOSSY
        column = pc.cast(column, pa.float64(), safe=False)
    elif pa.types.is_boolean(column.type):
        column = pc.cast(pc.cast(column, pa.int8()), pa.float64())
    elif not pa.types.is_float64(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
    found: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return found


def outputs_of_rows(
    predict: Predict, frame: PandasFrame, codes: Texts, outputs: Sequence[Output]
) -> tuple[list[npt.NDArray[Any]], Texts, Texts]:
    """Outputs of every row, its error code and its message.

    Parameters
    ----------
    predict : callable
        The model.
    frame : (n, k) pandas.DataFrame
    codes : (n,) of str
        Rows that have a code already are not given to the model.
    outputs : sequence of Output

    Raises
    ------
    DataError
        The model gives another shape than its signature says, or a thousand rows fail and none succeeds.
    """
    n = len(frame)
    made: list[npt.NDArray[Any]] = [np.full(n, np.nan) if one.type == "double" else np.full(n, None, dtype=object) for one in outputs]
    codes, messages = codes.copy(), np.full(n, "", dtype=object)
    waiting = [np.flatnonzero(codes == "")]
    failed, succeeded = 0, False
    while waiting:
        rows = waiting.pop()
        if len(rows) == 0:
            continue
        try:
            told = predict(frame if len(rows) == n else frame.iloc[rows])
        except Exception as error:  # of the model, of whatever kind
            if len(rows) > 1:
                half = len(rows) // 2
                waiting += [rows[half:], rows[:half]]
                continue
            failed += 1
            codes[rows], messages[rows] = type(error).__name__, str(error)[:LONGEST]
            if failed >= HOPELESS and not succeeded:
                raise DataError(f"the model fails on every row: {type(error).__name__}: {str(error)[:LONGEST]}") from error
            continue
        succeeded = True
        for place, values in zip(made, _columns(told, len(rows), outputs), strict=True):
            place[rows] = values
    for one, values in zip(outputs, made, strict=True):
        if one.type == "double":
            codes[~np.isfinite(values.astype(np.float64)) & (codes == "")] = NOT_FINITE
    return made, codes, messages


def _columns(told: Any, n: int, outputs: Sequence[Output]) -> list[npt.NDArray[Any]]:
    """What a model gave, as one array per output."""
    if hasattr(told, "columns"):
        names = [str(name) for name in told.columns]
        wanted = [one.name for one in outputs]
        chosen = wanted if set(wanted) <= set(names) else names
        found = [np.asarray(told[told.columns[names.index(name)]]) for name in chosen]
    else:
        values = np.asarray(told)
        found = [values] if values.ndim == 1 else [values[:, i] for i in range(values.shape[1])] if values.ndim == 2 else []
    if len(found) != len(outputs) or any(len(column) != n for column in found):
        shape = (len(found[0]) if found else 0, len(found))
        raise DataError(f"the model gave {shape[0]} rows x {shape[1]} columns for {n} rows; its signature says {len(outputs)} columns")
    return found


def as_arrow(made: Sequence[npt.NDArray[Any]], codes: Texts, messages: Texts, outputs: Sequence[Output]) -> dict[str, pa.Array]:
    """Columns that are written: outputs, null where a row has an error, then code and message, null where it has none."""
    bad = codes != ""
    types = {"double": pa.float64(), "bigint": pa.int64(), "string": pa.string(), "boolean": pa.bool_()}
    found = {}
    for one, values in zip(outputs, made, strict=True):
        if one.type == "double":
            found[one.name] = pa.array(values.astype(np.float64), mask=bad)
        else:
            found[one.name] = pa.array([None if b else v for v, b in zip(values.tolist(), bad, strict=True)], types[one.type])
    found[CODE] = pa.array(codes, pa.string(), mask=~bad)
    found[MESSAGE] = pa.array(messages, pa.string(), mask=messages == "")
    return found
