"""Evaluated rows: a table of labels and features in, the same rows with the score of every model out, ready for the evaluation passes.

Takes a frame and pinned models and gives lazy frames; models score one after another in the same tasks, without an exchange.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, ConfigError
from sparkds.models.model_cache import Pinned, loaded
from sparkds.models.predictions import CODE, MESSAGE, features_of, outputs_of_rows
from sparkds.models.score_pass import NUMERIC
from sparkds.models.scoring import scored_frame
from sparkds.models.signature import Input, Output, check_columns
from sparkds.sql import quoted

LABEL: Final = "evaluated_label"
PERIOD: Final = "period"
Length = Literal["day", "week", "month"]


@dataclass(frozen=True)
class Scorer:
    """A model that scores the rows.

    Attributes
    ----------
    name : str
        In the evaluation.
    pinned : Pinned
    inputs, outputs
        Of its signature.
    score : str
        The output that is evaluated.
    """

    name: str
    pinned: Pinned
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    score: str


def score_column(model: str) -> str:
    """Column that holds the score of a model."""
    return f"score_{model}"


def evaluated_frame(frame: DataFrame, scorers: Sequence[Scorer], *, carry: Sequence[str], table: str) -> DataFrame:
    """Score every row by every model.

    Parameters
    ----------
    frame : DataFrame
        Holds `carry` and the inputs of all models.
    scorers : sequence of Scorer
    carry : sequence of str
        Columns that come out as they are.
    table : str
        For messages.

    Returns
    -------
    DataFrame
        `carry`, and for each model ``score_<model>`` (double, null where it fails) and ``score_error_<model>`` (null where it does not).

    Raises
    ------
    ColumnError
        An input is missing or of a type that the model cannot take.
    ConfigError
        Two columns would have the same name.
    """
    types = dict(frame.dtypes)
    kept = list(carry)
    for number, scorer in enumerate(scorers):
        check_columns(scorer.inputs, types, uri=scorer.pinned.uri, table=table)
        later = {one.name for other in scorers[number + 1 :] for one in other.inputs}
        through = list(dict.fromkeys([*kept, *(name for name in frame.columns if name in later)]))
        clash = {CODE, MESSAGE, *(one.name for one in scorer.outputs)} & set(through)
        if clash:
            raise ConfigError(f"column '{min(clash)}' is in table '{table}' and is an output of model {scorer.pinned.uri}; rename it there")
        scored = scored_frame(frame, scorer.pinned, scorer.inputs, scorer.outputs, carry=through, table=table)
        frame = scored.select(
            *(F.col(quoted(name)) for name in through),
            F.col(quoted(scorer.score)).cast("double").alias(score_column(scorer.name)),
            F.col(CODE).alias(f"{CODE}_{scorer.name}"),
        )
        kept += [score_column(scorer.name), f"{CODE}_{scorer.name}"]
    return frame.select(*(F.col(quoted(name)) for name in kept))


def period_column(frame: DataFrame, time: str, length: Length) -> Column:
    """First day of the period in which a date lies, as text (ISO 8601; weeks begin on Monday).

    Raises
    ------
    ColumnError
        The column is absent, or no date.
    """
    types = dict(frame.dtypes)
    if time not in types:
        raise ColumnError.missing(time, tuple(types), "the table to evaluate")
    if types[time] != "date":
        raise ColumnError(f"period '{time}' is {types[time]}; give a date column (a day in a named time zone)")
    day = F.col(quoted(time))
    return (day if length == "day" else F.to_date(F.date_trunc(length, day))).cast("string")


def sliced_frame(frame: DataFrame, columns: Sequence[str], *, bins: int = 5) -> DataFrame:
    """Frame with its numeric slice columns cut at their approximate quantiles, as text; others stay.

    One aggregation finds the edges (`bins` groups of about the same size; equal edges fall together).

    Raises
    ------
    ColumnError
        A column is absent.
    """
    types = dict(frame.dtypes)
    for name in columns:
        if name not in types:
            raise ColumnError.missing(name, tuple(types), "the table to evaluate")
    numeric = [name for name in columns if types[name].partition("(")[0] in NUMERIC[1:]]
    if not numeric:
        return frame
    shares = F.array(*(F.lit((i + 1) / bins) for i in range(bins - 1)))
    wanted = [F.percentile_approx(_number_column(name), shares).alias(f"e{i}") for i, name in enumerate(numeric)]
    found = collect.one_row(frame.agg(*wanted))
    cut = {name: _binned(name, sorted({float(edge) for edge in found[f"e{i}"] or ()})) for i, name in enumerate(numeric)}
    return frame.select(*(cut[name].alias(name) if name in cut else F.col(quoted(name)) for name in frame.columns))


def _number_column(name: str) -> Column:
    column = F.col(quoted(name)).cast("double")
    return F.when(~F.isnan(column), column)


def _binned(name: str, edges: Sequence[float]) -> Column:
    """Text of the bin: right-closed, so that an edge lies in the lower one; NaN is missing."""
    column = _number_column(name)
    if not edges:
        return F.lit(None).cast("string")
    lowest, highest = edges[0], edges[-1]
    told = F.when(column.isNull(), F.lit(None).cast("string")).when(column <= lowest, F.lit(f"<= {lowest:.6g}"))
    for low, high in itertools.pairwise(edges):
        told = told.when(column <= high, F.lit(f"{low:.6g} to {high:.6g}"))
    return told.otherwise(F.lit(f"> {highest:.6g}"))


def batch_seconds(frame: DataFrame, scorer: Scorer, *, rows: int, batches: int) -> list[float]:
    """Wall-clock seconds that the model takes for a batch of rows, `batches` times on the driver's machine.

    The model is loaded and has predicted once before the clock starts; the time is of the prediction with its conversion from Arrow
    (one thread of linear algebra), not of Spark. Fewer rows than asked for are repeated to fill the batch; none give an empty list.

    Parameters
    ----------
    frame : DataFrame
        Holds the inputs; some rows of it are taken, whichever Spark finds first.
    scorer : Scorer
    rows, batches : int
    """
    import time

    columns = [F.col(quoted(one.name)).cast("double") if one.kind == "number" else F.col(quoted(one.name)) for one in scorer.inputs]
    named = [column.alias(f"x{i}") for i, column in enumerate(columns)]
    table = collect.small_table(frame.select(*named).limit(rows), most=rows)
    if not table.num_rows:
        return []
    table = table.take(np.arange(rows) % table.num_rows)
    arrays = [table.column(i).combine_chunks() for i in range(table.num_columns)]
    model = loaded(scorer.pinned)
    told = []
    for _ in range(batches + 1):
        begun = time.perf_counter()
        inputs, codes = features_of(arrays, scorer.inputs)
        outputs_of_rows(model.predict, inputs, codes, scorer.outputs)
        told.append(time.perf_counter() - begun)
    return told[1:]


def score_output(outputs: Sequence[Output], tags: Mapping[str, Any], task: str, wanted: str | None, uri: str) -> str:
    """Output of a model that is evaluated: the one asked for, the probability of the positive class, or the only number.

    Raises
    ------
    ConfigError
        It cannot be told.
    ColumnError
        There is no such output.
    """
    import json

    names = [one.name for one in outputs if one.type == "double"]
    if wanted is not None:
        if wanted not in names:
            raise ColumnError.missing(wanted, names, f"the outputs of model {uri}")
        return wanted
    classes = json.loads(tags.get("sparkds.classes", "[]"))
    if task == "binary" and len(classes) == 2 and f"probability_{classes[1]}" in names:
        return f"probability_{classes[1]}"
    if len(names) == 1:
        return names[0]
    if task == "binary" and len(names) == 2 and all(name.startswith(("probability", "prediction")) for name in names):
        return names[1]
    raise ConfigError(f"model {uri} has outputs {', '.join(names) or 'of no number'}; say which is evaluated: score: NAME")
