"""Known labels: for every training row the labels of its category that were known before its time, without those of its fold.

Takes a frame and a time-aware target encoding and gives the frame with one struct column (`n`, `total`) per encoded column and one
over all rows: labels and rows are first reduced to their different (category, fold, time), then summed up along time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from sparkds.features.generate.expressions import Inputs
from sparkds.features.generate.target_encoding import TargetEncoding
from sparkds.sql import quoted


def with_known_labels(frame: DataFrame, derivation: TargetEncoding, of: Inputs, state: Mapping[str, Any]) -> DataFrame:
    """Frame with the columns that a time-aware `TargetEncoding` reads.

    Returns
    -------
    DataFrame
        Lazy. The frame is read once more for each encoded column and once more for all labels; what is joined has a row for each
        different (category, fold, time) of the training slice.
    """
    assert derivation.time is not None
    assert derivation.known_at is not None
    y, fold = derivation.label_sql(of), derivation.fold_sql(of)
    step = derivation.step
    fold_name, time_name = f"{step}_fold", f"{step}_time"
    time, known = quoted(derivation.time), quoted(derivation.known_at)
    marked = frame.select(
        "*",
        F.expr(f"case when {of.trains} then {fold} end").alias(fold_name),
        F.expr(f"case when {of.trains} then {time} end").alias(time_name),
    )
    training = frame.where(F.expr(of.trains))
    for i, category in [*((str(i), of.category(column)) for i, column in enumerate(derivation.columns)), ("all", "'all'")]:
        told = (
            f"inline(array(named_struct('at', {time}, 'is_label', false, 'y', cast(null as double)), "
            f"named_struct('at', {known}, 'is_label', true, 'y', {y})))"
        )
        moments = (
            training.select(F.expr(category).alias("category"), F.expr(fold).alias("fold"), F.expr(told))
            .where("category is not null and at is not null and (not is_label or y is not null)")
            .groupBy("category", "fold", "at", "is_label")
            .agg(F.count("y").alias("n"), F.coalesce(F.sum("y"), F.lit(0.0)).alias("total"))
        )
        before = _of_other_folds(moments, derivation.n_folds)
        found = before.select(
            F.col("category").alias(f"{step}_category"),
            F.col("fold").alias(f"{step}_fold_of"),
            F.col("at").alias(f"{step}_at"),
            F.struct("n", "total").alias(f"{step}_{i}"),
        )
        same = F.expr(category) == F.col(f"{step}_category")
        same &= (F.col(fold_name) == F.col(f"{step}_fold_of")) & (F.col(time_name) == F.col(f"{step}_at"))
        marked = marked.join(found, same, "left").drop(f"{step}_category", f"{step}_fold_of", f"{step}_at")
    return marked


def _of_other_folds(moments: DataFrame, n_folds: int) -> DataFrame:
    """Rows' moments with the labels of the other folds that were known strictly before; a label of the same moment comes after."""
    along = Window.partitionBy("category").orderBy("at", "is_label").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    own = {k: F.col("is_label") & (F.col("fold") == k) for k in range(n_folds)}
    running = moments.select(
        "category",
        "fold",
        "at",
        "is_label",
        *(F.sum(F.when(own[k], F.col("n"))).over(along).alias(f"n_{k}") for k in own),
        *(F.sum(F.when(own[k], F.col("total"))).over(along).alias(f"total_{k}") for k in own),
    )
    others = {
        name: reduce(lambda a, b: a + b, (F.when(F.col("fold") != k, F.coalesce(f"{name}_{k}", F.lit(0))).otherwise(F.lit(0)) for k in own))
        for name in ("n", "total")
    }
    return running.where(~F.col("is_label")).select("category", "fold", "at", others["n"].alias("n"), others["total"].alias("total"))
