"""Balance on Spark: covariates of assigned units in, one row per covariate and treatment arm out, after one aggregation.

For covariates that were known before the experiment; with the metric in the days before, it is the A/A test of an assignment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, DataError, closest
from sparkds.sql import finite, quoted
from sparkds.stats.arguments import between
from sparkds.stats.balance import balance
from sparkds.stats.group_moments import GroupMoments

LARGEST_SMD: Final = 0.1
"""Standardised mean difference from which arms differ in practice (Austin 2009, sec. 3.1)."""
SCHEMA: Final = (
    "covariate string, arm string, n_control bigint, n_treatment bigint, n_null_control bigint, n_null_treatment bigint, "
    "mean_control double, mean_treatment double, smd double, variance_ratio double, statistic double, pvalue double, "
    "log10_pvalue double, method string, status string, reason string"
)


def balance_frame(units: DataFrame, *, arm: str, control: str, covariates: Sequence[str], alpha: float) -> DataFrame:
    """Standardised mean difference and Welch's test of every covariate.

    Parameters
    ----------
    units : DataFrame
        One row per unit; rows without an arm are left out.
    arm : str
        Column that names the arm.
    control : str
        Arm that the others are compared with.
    covariates : sequence of str
        Numeric or boolean columns, known before the experiment. Null and NaN are left out and counted.
    alpha : float
        Error of all tests together (Bonferroni) from which a difference is no chance.

    Returns
    -------
    DataFrame
        One row per covariate and treatment arm, `SCHEMA`; ``status`` is ``ok``, ``warn`` for a standardised difference beyond 0.1, ``fail``
        for a p-value below alpha over the number of tests, ``not_computable`` with a reason. Computed here, from one row per arm.

    Raises
    ------
    ColumnError
        A column is missing or not numeric.
    DataError
        No unit is in the control arm, or none in another.
    """
    between("alpha", alpha, 0, 1)
    moments, nulls = _moments_by_arm(units, arm, covariates)
    arms = list(nulls)
    if control not in arms:
        raise DataError(f"no unit is in the control arm '{control}'{closest(control, arms)} (arms: {', '.join(arms) or 'none'})")
    if len(arms) < 2:
        raise DataError(f"all units are in the arm '{control}'; there is nothing to compare")
    n_tests = len(covariates) * (len(arms) - 1)
    at = arms.index(control)
    rows: list[tuple[Any, ...]] = []
    for i, covariate in enumerate(covariates):
        for found in balance(moments[covariate], control=at):
            status = "fail" if found.pvalue < alpha / n_tests else "warn" if abs(found.smd) > LARGEST_SMD else "ok"
            rows.append(
                (
                    covariate, arms[found.arm], found.n_control, found.n_treatment, nulls[control][i], nulls[arms[found.arm]][i],
                    _known(found.mean_control), _known(found.mean_treatment), _known(found.smd), _known(found.variance_ratio),
                    _known(found.statistic), _known(found.pvalue), _known(found.log10_pvalue), found.method,
                    "not_computable" if found.reason else status, found.reason,
                )
            )  # fmt: skip
    return units.sparkSession.createDataFrame(rows, SCHEMA)


def _moments_by_arm(units: DataFrame, arm: str, covariates: Sequence[str]) -> tuple[dict[str, GroupMoments], dict[str, list[int]]]:
    """Moments of each covariate over the arms, and arm to its nulls of each covariate; arms in the order of their names."""
    types = dict(units.dtypes)
    for column in (arm, *covariates):
        if column not in types:
            raise ColumnError.missing(column, tuple(types), "the frame of units")
    for column in covariates:
        if not types[column].startswith(("decimal", "float", "double", "tinyint", "smallint", "int", "bigint", "boolean")):
            raise ColumnError(f"column '{column}' is {types[column]}; a covariate is a number")
    named = F.col(quoted(arm)).cast("string").alias("arm")
    values = [F.expr(f"cast({finite(column, types[column])} as double)").alias(f"x{i}") for i, column in enumerate(covariates)]
    wanted = [F.count(F.lit(1)).alias("n")]
    for i in range(len(covariates)):
        x = F.col(f"x{i}")
        wanted += [F.count(x).alias(f"n_{i}"), F.avg(x).alias(f"mean_{i}"), F.var_pop(x).alias(f"var_{i}")]
    frame = units.select(named, *values).where(F.col("arm").isNotNull()).groupBy("arm").agg(*wanted)
    rows = sorted(collect.small_rows(frame), key=lambda row: str(row["arm"]))
    moments = {}
    for i, covariate in enumerate(covariates):
        n = np.array([row[f"n_{i}"] for row in rows], dtype=np.int64)
        mean = np.array([row[f"mean_{i}"] or 0.0 for row in rows], dtype=np.float64)
        variance = np.array([row[f"var_{i}"] or 0.0 for row in rows], dtype=np.float64)
        moments[covariate] = GroupMoments(n, mean[:, None], (variance * n.astype(np.float64))[:, None, None])
    return moments, {row["arm"]: [row["n"] - row[f"n_{i}"] for i in range(len(covariates))] for row in rows}


def _known(number: float) -> float | None:
    """Number, or null: a NaN is not one in a table."""
    return number if math.isfinite(number) else None
