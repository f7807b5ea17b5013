"""History check: whether a history still says what a computation from all tiles says, for a seeded sample of its entities.

Takes the history as it is to be and the tiles, and gives how many of the sampled entities differ, and in which columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.features.history import history_frame
from sparkds.hash_columns import bucket_column
from sparkds.hashing import threshold
from sparkds.sql import quoted

if TYPE_CHECKING:
    from sparkds.features.feature_set import FeatureSet


@dataclass(frozen=True)
class HistoryDifference:
    """What a sample of entities showed.

    Attributes
    ----------
    n_entities : int
        Sampled entities.
    n_different : int
        Those among them of which a row differs, is missing or is too much.
    columns : tuple of str
        Columns that differ; ``valid_from`` for rows that only one side has.
    """

    n_entities: int
    n_different: int
    columns: tuple[str, ...]


def sampled_column(spec: FeatureSet, dtypes: dict[str, str], share: float, salt: str) -> Column:
    """Whether an entity is in the sample: the bucket of its keys under a salt (see `sparkds.hashing`) is below the share.

    Parameters
    ----------
    spec : FeatureSet
    dtypes : mapping of column to Spark type
    share : float
        In [0, 1].
    salt : str
    """
    told = [F.unix_micros(quoted(k)) if dtypes[k] == "timestamp" else F.col(quoted(k)) for k in spec.keys]
    return bucket_column(F.concat_ws("\x1e", *(key.cast("string") for key in told)), salt) < F.lit(threshold(share))


def history_difference(
    spec: FeatureSet, history: DataFrame, tiles: DataFrame, *, first: date | None, last: date, share: float, salt: str
) -> HistoryDifference:
    """Compare the sampled entities' rows with those computed from all their tiles.

    Parameters
    ----------
    spec : FeatureSet
    history : DataFrame
        As it is to be held against the tiles.
    tiles : DataFrame
        All of them; each is read once.
    first, last : date
        As for `sparkds.features.history.history_frame`.
    share : float
        Of the entities, in (0, 1].
    salt : str
        Seed of the sample.
    """
    dtypes = dict(tiles.dtypes)
    chosen = sampled_column(spec, dtypes, share, salt)
    fresh = history_frame(spec, tiles.where(chosen), last=last, first=first)
    stored = history.where(chosen)
    by = [*spec.keys, "valid_from"]
    values = [name for name in fresh.columns if name not in by]
    sides = [
        frame.select(*(quoted(name) for name in by), F.struct(*(F.col(quoted(n)).alias(f"v{i}") for i, n in enumerate(values))).alias(side))
        for frame, side in ((fresh, "fresh"), (stored, "stored"))
    ]
    joined = sides[0].join(sides[1], on=by, how="full")
    lonely = F.col("fresh").isNull() | F.col("stored").isNull()
    differs = [~lonely & ~F.col(f"fresh.v{i}").eqNullSafe(F.col(f"stored.v{i}")) for i in range(len(values))]
    entity = F.struct(*(F.col(quoted(key)) for key in spec.keys))
    found = collect.one_row(
        joined.agg(
            F.count_distinct(entity).alias("n"),
            F.count_distinct(F.when(reduce(Column.__or__, differs, lonely), entity)).alias("n_different"),
            F.count_if(lonely).alias("lonely"),
            *(F.count_if(different).alias(f"d{i}") for i, different in enumerate(differs)),
        )
    )
    columns = ["valid_from"] if found["lonely"] else []
    columns += [name for i, name in enumerate(values) if found[f"d{i}"]]
    return HistoryDifference(int(found["n"]), int(found["n_different"]), tuple(columns))
