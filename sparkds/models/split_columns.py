"""Splits on Spark: part and fold of every row of a frame as columns, equal to `sparkds.models.splits` on every row.

Takes a declared split and a frame and gives lazy columns; the cuts of a stratified split are order statistics, found exactly by
counting buckets by their leading bits, so that no row is sorted and only counts and a few buckets come to the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import accumulate
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, DataError
from sparkds.hash_columns import UNIT_TYPES, bucket_column
from sparkds.hashing import BUCKETS, SEPARATOR
from sparkds.instants import local_day_column
from sparkds.models.splits import (
    GAP,
    PARTS,
    AnyFolds,
    AnySplit,
    Cuts,
    ExpandingFolds,
    HashFolds,
    Stratified,
    Temporal,
    both_classes,
    zone_for,
)
from sparkds.sql import quoted

KEY_TYPES: Final = (*UNIT_TYPES, "date")
"""Types whose text is the same in every language."""
MOST_STRATA: Final = 50
BITS: Final = 10
"""Leading bits of a bucket that one pass resolves."""
FEW: Final = 20_000
"""Buckets that come to the driver at the end of the search."""


def entity_column(frame: DataFrame, by: Sequence[str]) -> Column:
    """Text of an entity (string), as `splits.entity_text`; null when one of its columns is.

    Raises
    ------
    ColumnError
        A column is absent, or its text differs between languages.
    """
    types = dict(frame.dtypes)
    for name in by:
        if name not in types:
            raise ColumnError.missing(name, tuple(types), "the frame to split")
        if types[name] not in KEY_TYPES:
            raise ColumnError(
                f"column '{name}' is {types[name]}, whose text differs between languages; an entity is of type {', '.join(KEY_TYPES)}"
            )
    told: list[Column] = []
    for name in by:
        told += [F.lit(SEPARATOR), F.col(quoted(name)).cast("string")]
    return F.concat(*told[1:])


def day_column(split: Temporal | ExpandingFolds, frame: DataFrame) -> Column:
    """Local day (date) of the time column.

    Raises
    ------
    ColumnError
        It is absent, or neither a date nor a timestamp.
    ConfigError
        It is a timestamp, and no zone is declared.
    """
    types = dict(frame.dtypes)
    if split.time not in types:
        raise ColumnError.missing(split.time, tuple(types), "the frame to split")
    kind = types[split.time]
    if kind not in ("date", "timestamp"):
        raise ColumnError(f"column '{split.time}' is {kind}; a temporal split needs a date or a timestamp, so cast it")
    return local_day_column(split.time, kind, "" if kind == "date" else zone_for(split), None)


def _part_at(place: Column, train: Column, validation: Column) -> Column:
    return F.when(place < train, F.lit(PARTS[0])).when(place < validation, F.lit(PARTS[1])).otherwise(F.lit(PARTS[2]))


def split_frame(
    split: AnySplit, frame: DataFrame, *, keys: Sequence[str], label: str | None = None, cuts: Mapping[str, Cuts] | None = None
) -> DataFrame:
    """Frame with the column ``split``: train, validation, test or gap; null where the row is in no part.

    Parameters
    ----------
    split : Hashed, Stratified or Temporal
    frame : DataFrame
    keys : sequence of str
        Columns that name a row; the entity, if the split names none.
    label : str, optional
        The class of a stratified split that names none.
    cuts : mapping of class to Cuts, optional
        Of a stratified split; `stratified_cuts_of` the frame if absent, which reads it.

    Raises
    ------
    ColumnError, ConfigError, DataError

    Examples
    --------
    >>> split_frame(Hashed(seed=1, shares=shares), customers, keys=["customer_id"])  # doctest: +SKIP
    """
    if isinstance(split, Temporal):
        return frame.withColumn("split", _temporal_part(split, day_column(split, frame)))
    entity = entity_column(frame, split.by or keys)
    place = bucket_column(entity, split.salt)
    if not isinstance(split, Stratified):
        return frame.withColumn("split", F.when(entity.isNotNull(), _part_at(place, F.lit(split.cuts.train), F.lit(split.cuts.validation))))
    stratum = _stratum_column(split, frame, label)
    known = stratified_cuts_of(split, frame, keys=keys, label=label) if cuts is None else cuts
    part = F.lit(None).cast("string")
    for name, cut in known.items():
        inside = (stratum == F.lit(name)) & entity.isNotNull()
        part = F.when(inside, _part_at(place, F.lit(cut.train), F.lit(cut.validation))).otherwise(part)
    return frame.withColumn("split", part)


def _temporal_part(split: Temporal, day: Column) -> Column:
    gap = timedelta(days=split.gap_days)
    part = (
        F.when(day >= F.lit(split.test_from), F.lit("test"))
        .when(day >= F.lit(split.test_from - gap), F.lit(GAP))
        .when(day >= F.lit(split.validation_from), F.lit("validation"))
        .when(day >= F.lit(split.validation_from - gap), F.lit(GAP))
        .when(day.isNotNull(), F.lit("train"))
    )
    return part if split.until is None else F.when(day < F.lit(split.until), part)


def _stratum_column(split: Stratified, frame: DataFrame, label: str | None) -> Column:
    name = split.stratum or label
    if name is None or name not in frame.columns:
        raise ColumnError.missing(str(name), frame.columns, "the frame to split")
    return F.col(quoted(name)).cast("string")


def stratified_cuts_of(split: Stratified, frame: DataFrame, *, keys: Sequence[str], label: str | None = None) -> dict[str, Cuts]:
    """Cuts of every class of a frame, equal to `splits.stratified_cuts`; two or three passes over keys and class.

    Raises
    ------
    DataError
        Entities of several classes, or more than `MOST_STRATA` classes.
    """
    entity = entity_column(frame, split.by or keys)
    told = frame.select(entity.alias("entity"), _stratum_column(split, frame, label).alias("stratum")).where("entity is not null")
    told = told.where("stratum is not null")
    if split.by is not None and set(split.by) != set(keys):
        mixed = told.groupBy("entity").agg(F.min("stratum").alias("low"), F.max("stratum").alias("high")).where("low <> high")
        if n := int(collect.one_row(mixed.agg(F.count(F.lit(1)).alias("n")))["n"]):
            raise both_classes(n)
    strata = collect.small_rows(told.select("stratum").distinct().limit(MOST_STRATA + 1))
    if len(strata) > MOST_STRATA:
        raise DataError(f"stratified split: more than {MOST_STRATA} classes; stratify by a column with few values")
    placed = told.select("stratum", bucket_column(F.col("entity"), split.salt).alias("place"))
    counts = _counts(placed, BITS)
    sizes = {stratum: sum(cells.values()) for stratum, cells in counts.items()}
    wanted = {stratum: split.ranks(n) for stratum, n in sizes.items()}
    bits = BITS
    cells = {(s, i): _cell(counts[s], rank) for s, ranks in wanted.items() for i, rank in enumerate(ranks) if rank < sizes[s]}
    while sum(counts[s][cell] for s, cell in {(s, cell) for (s, _), (cell, _) in cells.items()}) > FEW and bits < 60:
        counts = _counts(_inside(placed, cells, bits), bits + BITS)
        cells = {(s, i): _cell({c: n for c, n in counts[s].items() if c >> BITS == cell}, rank) for (s, i), (cell, rank) in cells.items()}
        bits += BITS
    places: dict[tuple[str, int], list[int]] = {}
    for row in collect.small_rows(_inside(placed, cells, bits)) if cells else []:
        places.setdefault((row["stratum"], row["place"] >> (60 - bits)), []).append(row["place"])
    edges = {(s, i): sorted(places[s, cell])[rank] for (s, i), (cell, rank) in cells.items()}
    return {s: Cuts(edges.get((s, 0), BUCKETS), edges.get((s, 1), BUCKETS)) for s in sizes}


def _counts(placed: DataFrame, bits: int) -> dict[str, dict[int, int]]:
    """Rows by class and leading bits of the bucket."""
    cell = F.shiftright(F.col("place"), 60 - bits)
    found: dict[str, dict[int, int]] = {}
    for row in collect.small_rows(placed.groupBy("stratum", cell.alias("cell")).agg(F.count(F.lit(1)).alias("n"))):
        found.setdefault(row["stratum"], {})[row["cell"]] = row["n"]
    return found


def _cell(counts: Mapping[int, int], rank: int) -> tuple[int, int]:
    """Cell that holds the row of a rank, and its rank inside of it."""
    ordered = sorted(counts)
    for cell, reached in zip(ordered, accumulate(counts[cell] for cell in ordered), strict=True):
        if rank < reached:
            return cell, rank - (reached - counts[cell])
    raise AssertionError(f"rank {rank} lies beyond all {sum(counts.values())} rows")


def _inside(placed: DataFrame, cells: Mapping[tuple[str, int], tuple[int, int]], bits: int) -> DataFrame:
    inside = F.lit(False)
    for stratum, cell in {(s, cell) for (s, _), (cell, _) in cells.items()}:
        inside |= (F.col("stratum") == F.lit(stratum)) & (F.shiftright(F.col("place"), 60 - bits) == F.lit(cell))
    return placed.where(inside)


def fold_column(folds: AnyFolds, frame: DataFrame, *, keys: Sequence[str]) -> Column:
    """Fold (int) in which a row is judged, as ``fold_of``; null for a row that no fold judges.

    Raises
    ------
    ColumnError, ConfigError
    """
    if isinstance(folds, HashFolds):
        place = bucket_column(entity_column(frame, folds.by or keys), folds.salt)
        return _whole_quotient(place, folds)
    behind = F.datediff(F.lit(folds.until), day_column(folds, frame))
    fold = F.lit(folds.n_folds - 1) - F.floor((behind - F.lit(1)) / F.lit(folds.test_days)).cast("int")
    return F.when((behind > 0) & (behind <= folds.n_folds * folds.test_days), fold)


def _whole_quotient(place: Column, folds: HashFolds) -> Column:
    """Whole quotient by comparison, since a double does not hold 60 bits."""
    fold = F.lit(folds.n_folds - 1)
    for number in reversed(range(folds.n_folds - 1)):
        fold = F.when(place < F.lit((number + 1) * folds.width), F.lit(number)).otherwise(fold)
    return F.when(place.isNotNull(), fold)
