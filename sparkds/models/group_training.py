"""Group training: the models of a `PerGroup` estimator fitted on Spark, each from all rows of its group.

Takes the labelled rows of the train part and gives a model per group; a group's rows come to one task, and only models come to the driver.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyspark.sql import DataFrame

from sparkds import collect
from sparkds.errors import DataError
from sparkds.models.estimators import FeatureColumns, PerGroup
from sparkds.models.training import Training, TrainingRows, balance_weights
from sparkds.models.training_sample import in_memory

if TYPE_CHECKING:
    import pyarrow as pa

LOG = logging.getLogger("sparkds")
MOST_GROUPS: Final = 10_000
SCHEMA: Final = "value string, n bigint, model binary"


def fitted_groups(
    frame: DataFrame,
    estimator: PerGroup,
    features: FeatureColumns,
    training: Training,
    *,
    classes: tuple[int, int] | None,
    weight: str | None,
) -> dict[str, Any]:
    """Model of every group that is large enough.

    Parameters
    ----------
    frame : DataFrame
        Of `sparkds.models.training_sample.labelled_frame`.
    estimator : PerGroup
    features : FeatureColumns
    training : Training
    classes : (int, int), optional
        Negative and positive rows of the whole train part, for balanced weights.
    weight : str, optional
        Column of weights, for messages.

    Returns
    -------
    dict of str to model
        In the order of the values; the same, to the bit, as in memory from the same rows.

    Raises
    ------
    ConfigError
        The column is no text feature.
    DataError
        There are more than ten thousand groups.
    """
    estimator.check(features)
    column = f"t{features.texts.index(estimator.column)}"

    def fitted(table: pa.Table) -> pa.Table:
        import pickle

        import pyarrow as pa

        rows: TrainingRows = in_memory(table, features, None, weight)
        weights = rows.weight
        if training.task == "binary" and training.imbalance == "balanced" and classes is not None:
            weights = balance_weights(rows.label, weights, *classes)
        made = estimator.fitted_group(rows.rows, rows.label, weights, features, training.task, training.seed)
        value = table.column(column)[0].as_py()
        told = {"value": [value], "n": [len(rows)], "model": [None if made is None else pickle.dumps(made)]}
        return pa.table(told, schema=pa.schema([("value", pa.string()), ("n", pa.int64()), ("model", pa.binary())]))

    of_train = frame.where("split = 'train'").where(f"{column} is not null")
    found = collect.small_rows(of_train.groupBy(column).applyInArrow(fitted, SCHEMA).limit(MOST_GROUPS + 1), most=MOST_GROUPS + 1)
    if len(found) > MOST_GROUPS:
        raise DataError(f"'{estimator.column}' has more than {MOST_GROUPS} values; one model each is too many, group them before")
    LOG.info("%d of %d groups of '%s' have a model of their own", _n_models(found), len(found), estimator.column)
    return _loaded(found)


def _n_models(found: Iterable[Any]) -> int:
    return int(np.sum([row["model"] is not None for row in found]))


def _loaded(found: Iterable[Any]) -> dict[str, Any]:
    import pickle

    rows = sorted((row for row in found if row["model"] is not None), key=lambda row: row["value"])
    return {row["value"]: pickle.loads(bytes(row["model"])) for row in rows}
