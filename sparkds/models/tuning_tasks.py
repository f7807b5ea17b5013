"""Tuning on Spark: the combinations of a grid fitted in Spark tasks, one combination a task, with the values of the driver.

Takes what `tuning.tune` takes and gives the folds' values by combination, which `tune` then goes over as known ones.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from sparkds import collect
from sparkds.models.splits import AnyFolds
from sparkds.models.training import Training, TrainingRows, fold_pairs
from sparkds.models.tuning import Grid, Known, check, judged_fold, with_settings

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

LOG = logging.getLogger("sparkds")
MOST_BYTES: Final = 64 * 1024 * 1024
"""Sample that goes along with the function to every task; a larger one is tuned on the driver."""
SCHEMA: Final = "number int, fold int, value double, seconds double"


def known_from_tasks(
    spark: SparkSession,
    tuning: Grid,
    data: TrainingRows,
    training: Training,
    folds: AnyFolds,
    known: Mapping[str, Known],
) -> dict[str, Known]:
    """Fold values of the combinations that are not known, computed in Spark tasks; nothing where the sample is too large.

    A fold without a value ends its combination, as on the driver, which then tells the reason.

    Parameters
    ----------
    spark : SparkSession
        Its workers have this package and scikit-learn.
    tuning : Grid
    data : TrainingRows
        Of the train part only.
    training : Training
    folds : HashFolds or ExpandingFolds
    known : mapping of key to Known
    """
    check(tuning, training)
    estimators = [with_settings(training.estimator, combination) for combination in tuning.combinations]
    asked = [estimator for estimator in estimators if estimator.definition_hash not in known]
    n_bytes = int(data.rows.memory_usage(deep=True).sum()) + data.label.nbytes
    if n_bytes > MOST_BYTES:
        LOG.warning("the sample of %d MB is more than %d MB: the grid is fitted on the driver", n_bytes >> 20, MOST_BYTES >> 20)
        return {}
    if not asked:
        return {}
    pairs, metric = fold_pairs(folds, data), tuning.metric
    lean = TrainingRows(data.rows, data.label, data.part, data.features, data.weight)

    def fitted(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import pandas as pd

        for batch in batches:
            for number in batch["id"]:
                rows: list[tuple[int, int, float, float]] = []
                for fold, pair in enumerate(pairs):
                    started = time.monotonic()
                    value, reason = judged_fold(asked[int(number)], lean, training, pair, metric)
                    if reason:
                        break
                    rows.append((int(number), fold, value, time.monotonic() - started))
                yield pd.DataFrame(rows, columns=["number", "fold", "value", "seconds"])

    tasks: Any = spark.range(0, len(asked), 1, len(asked))
    found: dict[int, list[Any]] = {}
    for row in collect.small_rows(tasks.mapInPandas(fitted, SCHEMA)):
        found.setdefault(row["number"], []).append(row)
    told = {}
    for number, rows in found.items():
        ordered = sorted(rows, key=lambda row: row["fold"])
        values = tuple(row["value"] for row in ordered)
        told[asked[number].definition_hash] = Known(values, sum(row["seconds"] for row in ordered))
    return told
