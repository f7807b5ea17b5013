"""Arrow columns of tiles as arrays for the kernels, and the kernels' arrays as Arrow columns of features.

Decimals travel as whole numbers in units of their last digit: int64 where they fit, Python ints where they do not.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkds.features.merged import CountColumn, NumberColumn, PickColumn, SetColumn, StateColumn, check_fits
from sparkds.features.reduced import Mask, Reduced
from sparkds.features.states import Categories, Earliest, Items, Latest, State, decimal_type
from sparkds.features.windows import Array

LOW_WORD = (1 << 64) - 1


def state_column(state: State, chunked: pa.ChunkedArray) -> StateColumn:
    """One state of the rows of a block, in the form its merge takes."""
    column = _joined(chunked)
    if state.merge == "set":
        row, flat = _flattened(column)
        if not isinstance(state, Items):
            return SetColumn(row, number_array(flat)[0])
        encoded = flat.dictionary_encode()
        return SetColumn(row, number_array(encoded.indices)[0], encoded.dictionary)
    if state.merge == "counts":
        row, flat = _flattened(column)
        n = number_array(flat.field("n"))[0]
        item = flat.field("item")
        if not isinstance(state, Categories):
            return CountColumn(row, number_array(item)[0], n)
        encoded = item.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary)
        place = np.empty(len(order), dtype=np.int64)
        place[order.to_numpy()] = np.arange(len(order))
        return CountColumn(row, place[number_array(encoded.indices)[0]], n, encoded.dictionary.take(order))
    if isinstance(state, Earliest | Latest):
        return PickColumn(_valid(column), column)
    values, valid = number_array(column)
    return NumberColumn(values, valid, column.type.scale if pa.types.is_decimal(column.type) else None)


def number_array(column: Any) -> tuple[Array, Mask]:
    """Values and validity of a numeric, date or timestamp column; zero where it is null.

    Returns
    -------
    values : (n_rows,)
        float64, int64 (days for dates, microseconds for timestamps, last digits for decimals), or Python ints.
    valid : (n_rows,) bool
    """
    column = _joined(column)
    valid = _valid(column)
    kind = column.type
    if pa.types.is_decimal(kind):
        return _whole_numbers(column, valid), valid
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64), valid


def output_array(reduced: Reduced, dtype: str, name: str) -> pa.Array:
    """Values of one feature as an Arrow column of Spark type `dtype`; null where not valid.

    Raises
    ------
    DataError
        A whole number does not fit in `dtype`; the message names the column.
    """
    values, valid, dictionary = reduced
    if dictionary is not None:
        return dictionary.take(pa.array(values, mask=~valid)) if len(dictionary) else pa.nulls(len(values), dictionary.type)
    digits = decimal_type(dtype)
    if digits:
        return _decimals(check_fits(values, valid, digits[0], name), valid, *digits)
    if values.dtype == object:
        values = check_fits(np.where(valid, values, 0), valid, 0, name).astype(np.int64)
    mask = None if valid.all() else ~valid
    if dtype == "date":
        return pa.array(values.astype(np.int32), mask=mask).cast(pa.date32())
    if dtype == "timestamp":
        return pa.array(values.astype(np.int64), mask=mask).cast(pa.timestamp("us", tz="UTC"))
    if dtype == "timestamp_ntz":
        return pa.array(values.astype(np.int64), mask=mask).cast(pa.timestamp("us"))
    return pa.array(values.astype(NUMPY_TYPES[dtype]), mask=mask)


def differs_from_previous(column: Any) -> Mask:
    """Whether each value of a feature column has other bits than the one before it: (n_rows,), the first one true.

    Null equals null; numbers are compared by their bits, so that 0.0 and -0.0 differ and NaN equals itself.
    """
    column = _joined(column)
    differs = np.ones(len(column), dtype=bool)
    if len(column) < 2:
        return differs
    valid = _valid(column)
    if pa.types.is_floating(column.type):
        bits = np.ascontiguousarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False)).view(f"i{column.type.bit_width // 8}")
        unequal = bits[1:] != bits[:-1]
    elif pa.types.is_nested(column.type):
        values = column.to_pylist()
        unequal = np.array([a != b for a, b in pairwise(values)], dtype=bool)
    else:
        unequal = pc.fill_null(pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)), False).to_numpy(zero_copy_only=False)
    differs[1:] = np.where(valid[1:] & valid[:-1], unequal, valid[1:] != valid[:-1])
    return differs


NUMPY_TYPES: dict[str, Any] = {
    "tinyint": np.int8,
    "smallint": np.int16,
    "int": np.int32,
    "bigint": np.int64,
    "float": np.float32,
    "double": np.float64,
}


def _joined(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _valid(column: Any) -> Mask:
    valid: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _flattened(column: Any) -> tuple[npt.NDArray[np.int64], Any]:
    """Row number of every list element, and the elements; null lists hold none."""
    return pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64), column.flatten()


def _whole_numbers(column: Any, valid: Mask) -> Array:
    """Decimals in units of their last digit, from the 128-bit words that Arrow keeps."""
    words = np.frombuffer(column.buffers()[1], dtype=np.int64).reshape(-1, 2)
    words = words[column.offset : column.offset + len(column)]
    low, high = np.where(valid, words[:, 0], 0), np.where(valid, words[:, 1], 0)
    if np.array_equal(high, low >> 63):
        return low
    whole: Array = high.astype(object) * (1 << 64) + low.view(np.uint64).astype(object)
    return whole


def _decimals(values: Array, valid: Mask, precision: int, scale: int) -> pa.Array:
    """Arrow decimals from whole numbers in units of the last digit."""
    words = np.empty((len(values), 2), dtype=np.int64)
    if values.dtype == object:
        kept = np.where(valid, values, 0)
        words[:, 0] = np.array([v & LOW_WORD for v in kept], dtype=np.uint64).view(np.int64)
        words[:, 1] = np.array([v >> 64 for v in kept], dtype=np.int64)
    else:
        words[:, 0] = values
        words[:, 1] = words[:, 0] >> 63
    bits = pa.array(valid).buffers()[1]
    return pa.Array.from_buffers(pa.decimal128(precision, scale), len(values), [bits, pa.py_buffer(words.tobytes())])
