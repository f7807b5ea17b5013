"""Explanations: which features moved a row's score most, for any model.

Takes a model, rows of features and reference values, and gives contributions by occlusion: the score of the row minus the score of the
same row with one feature put to its reference value (Zeiler and Fergus 2014; Robnik-Šikonja and Kononenko 2008). It costs one more
prediction of every row per feature. Contributions do not add up to the score where features act together; for a score that is linear in
the features they are the exact terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkds.errors import ColumnError, ConfigError
from sparkds.models.predictions import Predict, Texts, outputs_of_rows
from sparkds.models.signature import Input, Output

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame

COLUMN: Final = "explanation"
TYPE: Final = "array<struct<feature: string, contribution: double>>"
REFERENCE: Final = "sparkds.reference"
"""Key of a model's metadata with its reference values: medians and most frequent texts of the training rows."""
ARROW: Final = pa.struct([("feature", pa.string()), ("contribution", pa.float64())])


@dataclass(frozen=True)
class Explained:
    """What is explained.

    Attributes
    ----------
    score : str
        Output of the model.
    most : int
        Features that are told of each row.
    reference : tuple of (str, value)
        Feature to reference value; None for a missing text, NaN for a missing number.
    """

    score: str
    most: int
    reference: tuple[tuple[str, Any], ...]


def explained(
    score: str, most: int, reference: Mapping[str, Any] | None, inputs: Sequence[Input], outputs: Sequence[Output], uri: str
) -> Explained:
    """Hold a wish for explanations against a model.

    Raises
    ------
    ColumnError
        The score is no numeric output, or a reference is of no input.
    ConfigError
        An input has no reference value, or one that is no number where it must be one.
    """
    names = [one.name for one in outputs if one.type == "double"]
    if score not in names:
        raise ColumnError.missing(score, names, f"the outputs of model {uri}")
    if reference is None:
        raise ConfigError(f"model {uri} carries no reference values; give explanations.reference: {{column: value}} for every input")
    for name in reference:
        if name not in {one.name for one in inputs}:
            raise ColumnError.missing(name, [one.name for one in inputs], f"the inputs of model {uri}")
    told = []
    for one in inputs:
        if one.name not in reference:
            raise ConfigError(f"explanations.reference has no value for input '{one.name}' of model {uri}")
        value = reference[one.name]
        is_number = isinstance(value, int | float)
        if one.kind != "text" and not (is_number or (value is None and one.kind == "number")):
            raise ConfigError(f"explanations.reference of '{one.name}' is {value!r}; model {uri} takes {one.type}")
        told.append((one.name, float("nan") if value is None and one.kind == "number" else value))
    return Explained(score, most, tuple(told))


def contributions(
    predict: Predict, frame: PandasFrame, codes: Texts, outputs: Sequence[Output], scores: npt.NDArray[np.float64], wish: Explained
) -> npt.NDArray[np.float64]:
    """Contribution of every feature to every row.

    Parameters
    ----------
    predict : callable
        The model.
    frame : (n, k) pandas.DataFrame
    codes : (n,) of str
        Rows with a code have no contributions.
    outputs : sequence of Output
    scores : (n,)
        The score of every row as it is.
    wish : Explained

    Returns
    -------
    (n, k) array
        In the order of ``wish.reference``; NaN where the row has a code, or the model fails on the row with the reference value.
    """
    place = [one.name for one in outputs].index(wish.score)
    found = np.full((len(frame), len(wish.reference)), np.nan)
    for i, (name, value) in enumerate(wish.reference):
        kind: Any = frame[name].dtype
        other = frame.assign(**{name: np.full(len(frame), value, dtype=kind)})
        made, failed, _ = outputs_of_rows(predict, other, codes, outputs)
        good = failed == ""
        found[good, i] = scores[good] - made[place][good].astype(np.float64)
    return found


def strongest(found: npt.NDArray[np.float64], names: Sequence[str], most: int) -> pa.Array:
    """The strongest contributions of every row, the largest magnitude first; null for a row without any.

    Examples
    --------
    >>> strongest(np.array([[0.1, -0.4, 0.0]]), ["age", "visits", "city"], 2).to_pylist()
    [[{'feature': 'visits', 'contribution': -0.4}, {'feature': 'age', 'contribution': 0.1}]]
    """
    size = np.where(np.isnan(found), -1.0, np.abs(found))
    order = np.argsort(-size, axis=1, kind="stable")[:, :most]
    chosen = np.take_along_axis(found, order, axis=1)
    known = ~np.isnan(chosen)
    length = known.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    texts = pa.array(np.asarray(names, dtype=object)[order][known], pa.string())
    told = pa.StructArray.from_arrays([texts, pa.array(chosen[known])], fields=list(ARROW))
    return pa.ListArray.from_arrays(pa.array(offsets), told, mask=pa.array(length == 0))
