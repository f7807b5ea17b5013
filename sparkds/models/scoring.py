"""Scoring: a table of keys and features in, the same keys with a model's outputs out; lazy, without an exchange.

Two roads give the same bits: Arrow batches straight to the model, and MLflow's own UDF for environments that must be rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds.errors import ConfigError
from sparkds.models.explanations import COLUMN, TYPE, Explained, contributions, strongest
from sparkds.models.model_cache import Pinned, loaded
from sparkds.models.predictions import CODE, LOSSY, MESSAGE, NOT_FINITE, NULL_WHOLE, as_arrow, features_of, outputs_of_rows
from sparkds.models.signature import LARGEST_WHOLE, WHOLE, Input, Output, check_columns
from sparkds.sql import quoted

Road = Literal["arrow", "spark_udf"]
ROWS: Final = 16_384
"""Rows that a model predicts together; small Arrow batches are put together."""


def scored_frame(
    frame: DataFrame,
    model: Pinned,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    *,
    carry: Sequence[str],
    road: Road = "arrow",
    env_manager: str = "local",
    table: str = "features",
    explained: Explained | None = None,
) -> DataFrame:
    """Outputs of a model for every row.

    Parameters
    ----------
    frame : DataFrame
        Holds `carry` and all inputs.
    model : Pinned
    inputs, outputs
        Of the model's signature.
    carry : sequence of str
        Columns that come out as they are, e.g. the keys.
    road : {"arrow", "spark_udf"}
        ``arrow``: the model is loaded once per worker process, and a row on which it fails costs only itself. ``spark_udf``: MLflow's
        UDF, loaded once per task; a failing row fails the job.
    env_manager : str
        Of ``spark_udf``.
    table : str
        For messages.
    explained : Explained, optional
        The strongest contributions of features, for each row; on road ``arrow`` only.

    Returns
    -------
    DataFrame
        `carry`, the outputs (null where a row has an error), ``score_error`` and ``score_error_message`` (null where it has none), and
        ``explanation`` if it is asked for.

    Raises
    ------
    ColumnError
        A column is missing, or its type cannot become the model's without loss.
    ConfigError
        Explanations on road ``spark_udf``.
    """
    types = dict(frame.dtypes)
    check_columns(inputs, types, uri=model.uri, table=table)
    if road == "spark_udf":
        if explained is not None:
            raise ConfigError("explanations need road: arrow, as MLflow's UDF gives outputs only")
        return _by_udf(frame, model, inputs, outputs, carry, env_manager)
    features = [_prepared(one, types[one.name]).alias(f"x{i}") for i, one in enumerate(inputs)]
    kept = [F.col(quoted(name)).alias(f"c{i}") for i, name in enumerate(carry)]
    told = [f"c{i} {types[name]}" for i, name in enumerate(carry)]
    told += [f"{quoted(one.name)} {one.type}" for one in outputs] + [f"{CODE} string", f"{MESSAGE} string"]
    told += [] if explained is None else [f"{COLUMN} {TYPE}"]
    kernel = ScoreKernel(model, tuple(inputs), tuple(outputs), len(carry), explained)
    scored = frame.select(*kept, *features).mapInArrow(kernel, ", ".join(told))
    return scored.toDF(*carry, *scored.columns[len(carry) :])


@dataclass(frozen=True)
class ScoreKernel:
    """Arrow batches of carried columns and features in, carried columns and outputs out."""

    model: Pinned
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    n_carried: int
    explained: Explained | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score a partition; a model is not loaded for one without rows."""
        for table in _together(batches):
            model = loaded(self.model)
            columns = [table.column(i).combine_chunks() for i in range(table.num_columns)]
            frame, codes = features_of(columns[self.n_carried :], self.inputs)
            made, codes, messages = outputs_of_rows(model.predict, frame, codes, self.outputs)
            carried = {f"c{i}": columns[i] for i in range(self.n_carried)}
            told = carried | as_arrow(made, codes, messages, self.outputs)
            if self.explained is not None:
                scores = made[[one.name for one in self.outputs].index(self.explained.score)].astype(np.float64)
                found = contributions(model.predict, frame, codes, self.outputs, scores, self.explained)
                told[COLUMN] = strongest(found, [name for name, _ in self.explained.reference], self.explained.most)
            yield pa.RecordBatch.from_pydict(told)


def _together(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            held.append(batch)
        if sum(b.num_rows for b in held) >= ROWS:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _prepared(one: Input, dtype: str) -> Column:
    """Column as it goes to the worker: decimals and floats as double, so that the cast is Spark's."""
    column = F.col(quoted(one.name))
    if one.kind == "number" and (dtype.startswith("decimal") or dtype == "float"):
        return column.cast("double")
    return column


def _by_udf(
    frame: DataFrame, model: Pinned, inputs: Sequence[Input], outputs: Sequence[Output], carry: Sequence[str], env_manager: str
) -> DataFrame:
    """The same rules in Spark's expressions around MLflow's UDF."""
    import mlflow

    types = dict(frame.dtypes)
    several = len(outputs) > 1
    result = "array<double>" if several else outputs[0].type
    if several and any(output.type != "double" for output in outputs):
        result = "array<string>"
    udf: Any = mlflow.pyfunc.spark_udf(frame.sparkSession, model_uri=model.uri, result_type=result, env_manager=env_manager)
    code = F.lit(None).cast("string")
    for one in inputs:
        column = F.col(quoted(one.name))
        if one.kind in ("integer", "boolean"):
            code = F.when(column.isNull(), F.lit(NULL_WHOLE)).otherwise(code)
        elif types[one.name] in WHOLE:
            code = F.when(F.abs(column.cast("decimal(38,0)")) > F.lit(LARGEST_WHOLE), F.lit(LOSSY)).otherwise(code)
    given: Mapping[str, Column] = {one.name: _typed(one, types[one.name]) for one in inputs}
    told = frame.select(
        *(F.col(quoted(name)) for name in carry), code.alias(CODE), *(c.alias(f"x{i}") for i, c in enumerate(given.values()))
    )
    named = F.struct(*(F.col(f"x{i}").alias(one.name) for i, one in enumerate(inputs)))
    told = told.withColumn("__score", udf(named))
    values = [F.get("__score", F.lit(i)).cast(output.type) if several else F.col("__score") for i, output in enumerate(outputs)]
    finite = F.lit(True)
    for output, value in zip(outputs, values, strict=True):
        if output.type == "double":
            finite &= value.isNotNull() & ~F.isnan(value) & (F.abs(value) < F.lit(float("inf")))
    final = F.coalesce(F.col(CODE), F.when(~finite, F.lit(NOT_FINITE)))
    shown = [F.when(final.isNull(), value).alias(output.name) for output, value in zip(outputs, values, strict=True)]
    return told.select(*(F.col(quoted(name)) for name in carry), *shown, final.alias(CODE), F.lit(None).cast("string").alias(MESSAGE))


def _typed(one: Input, dtype: str) -> Column:
    """Column of exactly the signature's type; a null number is NaN, a null whole number 0 (its row has an error)."""
    column = F.col(quoted(one.name))
    if one.kind == "number":
        return F.coalesce(column.cast("double"), F.lit(float("nan"))).cast({"double": "double", "float": "float"}[one.type])
    if one.kind in ("integer", "boolean"):
        to = {"long": "bigint", "integer": "int", "boolean": "boolean"}[one.type]
        return F.coalesce(column.cast(to), F.lit(0).cast(to))
    return column
