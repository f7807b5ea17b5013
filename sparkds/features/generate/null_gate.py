"""Null gate: the share of nulls of features in one pass, and the error that names those above their threshold.

Takes a frame and columns and gives shares; NaN and infinities count as null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, GateError
from sparkds.features.generate.slices import NullGate
from sparkds.sql import finite


def null_shares(frame: DataFrame, columns: Sequence[str]) -> tuple[int, dict[str, float]]:
    """Number of rows and share of nulls of each column, in one pass; 0 without rows.

    Raises
    ------
    ColumnError
        A column is absent.
    """
    types = dict(frame.dtypes)
    for column in columns:
        if column not in types:
            raise ColumnError.missing(column, tuple(types), "the derived features")
    counts = (F.count_if(F.expr(f"{finite(column, types[column])} is null")).alias(f"c{i}") for i, column in enumerate(columns))
    told = collect.one_row(frame.agg(F.count(F.lit(1)).alias("n"), *counts))
    n = told["n"]
    return n, {column: told[f"c{i}"] / n if n else 0.0 for i, column in enumerate(columns)}


def hold(gate: NullGate, shares: Mapping[str, float], n_rows: int) -> None:
    """Fail where a critical feature is null too often.

    Raises
    ------
    GateError
        Naming every such feature with its share.
    """
    above = {column: shares[column] for column in gate.columns if shares[column] >= gate.most}
    if above:
        told = ", ".join(f"'{column}' {share:.2%}" for column, share in above.items())
        raise GateError(
            f"critical features are null in too many of {n_rows} rows: {told}; the gate wants below {gate.most:.2%}; nothing was written: "
            "impute them, mend their source, or change the gate"
        )
