"""History step: what new days and late events change in a history, without a look at the entities that they leave alone.

Takes tiles, the history and what changed in the tiles, and gives the rows of the history that are new, end otherwise or are gone, ready
for one merge. An entity is affected on day d when it has a tile on d or, for a window of w days, on d - w: windows + 1 days of tiles tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sparkds.days import ONE_DAY, days_between, ranges
from sparkds.features.change_points import has_lifetime, window_days
from sparkds.features.history import FROM_DAY, UNTIL_DAY, change_points_frame
from sparkds.features.snapshots import states_until
from sparkds.sql import quoted

if TYPE_CHECKING:
    from sparkds.features.feature_set import FeatureSet

LATE_TILES: Final = "__late_tiles"
CHANGE: Final = "change"
"""Column of a step: what happens to the row."""
NEW, ENDED, GONE = "new", "ended", "gone"


def tile_days(spec: FeatureSet, first: date, last: date) -> list[tuple[date, date]]:
    """Days of the tiles that enter or leave a window on one of the days ``first … last``, as (first, last) ranges.

    Examples
    --------
    One day and the windows 7 and 30: that day, 7 and 30 days before.
    """
    days: set[date] = set()
    for window in (0, *window_days(spec)):
        days.update(days_between(first - timedelta(days=window), last - timedelta(days=window)))
    return ranges(days)


def tile_days_column(spec: FeatureSet, first: date, last: date) -> Column:
    """Whether a tile's day is one of `tile_days`, so that the other days' files can be skipped."""
    inside = F.lit(False)
    for low, high in tile_days(spec, first, last):
        inside |= F.col("day").between(F.lit(low), F.lit(high)) if low < high else F.col("day") == F.lit(low)
    return inside


def moved_frame(spec: FeatureSet, tiles: DataFrame, first: date, last: date) -> DataFrame:
    """Entities with a tile that enters or leaves a window on one of the days ``first … last``, once a tile.

    Reads only the days of `tile_days` and no state.

    Returns
    -------
    DataFrame
        The keys, ``__from_day``, ``__until_day`` (dates; the interval to compute again) and ``__late_tiles`` (0).
    """
    return tiles.where(tile_days_column(spec, first, last)).select(
        *_keys(spec), F.lit(first).alias(FROM_DAY), F.lit(last).alias(UNTIL_DAY), F.lit(0).cast("bigint").alias(LATE_TILES)
    )


def late_frame(spec: FeatureSet, changes: DataFrame, *, first: date | None, through: date) -> DataFrame:
    """Tiles of covered days that are other than before, in the form of `moved_frame`.

    Parameters
    ----------
    spec : FeatureSet
    changes : DataFrame
        Change feed of the tiles since the history was written: their columns and ``_change_type``. A tile that was written again as it
        was is no change.
    first : date, optional
        First covered day.
    through : date
        Last covered day.
    """
    states = [F.col(quoted(state.name)) for state in spec.states]
    digest = F.xxhash64(*states, *(state.isNull() for state in states))  # the hash alone passes over nulls
    sign = F.when(F.col("_change_type").isin("insert", "update_postimage"), 1).otherwise(-1)
    by_tile = (
        changes.where(F.col("day") <= F.lit(through))
        .select(*_keys(spec), "day", digest.alias("__digest"), sign.alias("__sign"))
        .groupBy(*_keys(spec), "day")
        .agg(F.bit_xor("__digest").alias("__digest"), F.sum("__sign").alias("__net"))
        .where((F.col("__digest") != 0) | (F.col("__net") != 0))
    )
    from_day = F.col("day") if first is None else F.greatest(F.col("day"), F.lit(first))
    until = F.lit(through) if has_lifetime(spec) else F.least(F.date_add("day", spec.longest_window), F.lit(through))
    return by_tile.select(
        *_keys(spec),
        from_day.alias(FROM_DAY),
        F.greatest(from_day, until).alias(UNTIL_DAY),
        F.lit(1).cast("bigint").alias(LATE_TILES),
    )


def affected_frame(spec: FeatureSet, parts: Iterable[DataFrame]) -> DataFrame:
    """One row per entity: the interval that covers all its own, and its number of late tiles."""
    first, *others = parts
    for other in others:
        first = first.unionByName(other)
    return first.groupBy(*_keys(spec)).agg(
        F.min(FROM_DAY).alias(FROM_DAY), F.max(UNTIL_DAY).alias(UNTIL_DAY), F.sum(LATE_TILES).alias(LATE_TILES)
    )


def step_frame(
    spec: FeatureSet, base: DataFrame, history: DataFrame, affected: DataFrame, *, begin: date, last: date, first: date | None = None
) -> DataFrame:
    """Rows of the history that change.

    Parameters
    ----------
    spec : FeatureSet
    base : DataFrame
        Tiles up to `last`; or, for lifetime windows, a checkpoint at least the longest window before the day before `begin` and the tiles
        after it.
    history : DataFrame
        The history as it stands.
    affected : DataFrame
        As `affected_frame` gives it.
    begin : date
        First day of all intervals. Without lifetime windows only the tiles of the longest window before it are read, and the row that held
        before stands for the rest.
    last : date
        Last covered day of the result.
    first : date, optional
        First covered day, as for `sparkds.features.history.history_frame`; for intervals that begin on it all tiles are read.

    Returns
    -------
    DataFrame
        Columns of the history, and ``change``: ``new`` (insert, or update of a row that began on the same day), ``ended`` (same row, other
        ``valid_to``) or ``gone`` (to be deleted). One row per keys and ``valid_from``.

    Notes
    -----
    An entity without a row on the day before its interval has never been seen before, so its interval goes on through `last`.
    """
    keys = [quoted(key) for key in spec.keys]
    states = states_until(spec, base, last)
    names = states.columns
    reaches = not has_lifetime(spec) and (first is None or begin > first)
    until = F.col(UNTIL_DAY) if reaches else F.lit(last)
    by_entity = affected.select(*_keys(spec), FROM_DAY, until.alias(UNTIL_DAY))
    standing = history.join(by_entity, on=list(spec.keys)).where(
        F.col("valid_to").isNull() | (F.col("valid_to") >= F.date_sub(FROM_DAY, 1))
    )
    outside = begin - ONE_DAY - timedelta(days=spec.longest_window)
    if reaches:
        states = states.where(F.col("day") > F.lit(outside))
    wanted = states.join(by_entity.drop(UNTIL_DAY), on=list(spec.keys)).select(
        *(quoted(name) for name in names), FROM_DAY, F.lit(last).alias(UNTIL_DAY)
    )
    if reaches:
        # a tile without events where no window sees it: the entity was there, and its interval may end
        types = dict(states.dtypes)
        empty = [F.lit(None).cast(types[state.name]).alias(state.name) for state in spec.states]
        before = standing.where(F.col("valid_from") < F.col(FROM_DAY))
        wanted = wanted.unionByName(before.select(*keys, F.lit(outside).alias("day"), *empty, FROM_DAY, UNTIL_DAY))
    new = change_points_frame(spec, wanted, last=last, first=first)
    return laid_over_frame(spec, new, standing, last)


def laid_over_frame(spec: FeatureSet, new: DataFrame, standing: DataFrame, last: date) -> DataFrame:
    """New rows laid over those that stand, by one window pass over the affected entities.

    Parameters
    ----------
    spec : FeatureSet
    new : DataFrame
        Rows of the entities' intervals, in the columns of the history.
    standing : DataFrame
        Rows of the history from the day before the interval on, with ``__from_day`` and ``__until_day``.
    last : date
        Where the interval of an entity ends that has no row before it.

    Returns
    -------
    DataFrame
        As `step_frame` gives it.
    """
    columns = [quoted(name) for name in new.columns]
    nothing = F.lit(None).cast("date")
    rows = new.select(*columns, nothing.alias(FROM_DAY), nothing.alias(UNTIL_DAY), F.lit(False).alias("__old")).unionByName(
        standing.select(*columns, FROM_DAY, UNTIL_DAY, F.lit(True).alias("__old"))
    )
    entity = Window.partitionBy(*_keys(spec))
    newest_first = entity.orderBy(F.desc("valid_from"), F.asc("__old"))
    before = F.col("__old") & (F.col("valid_from") < F.col(FROM_DAY))
    seen = F.max(before).over(entity)
    after = F.col("valid_from") > F.when(seen, F.col(UNTIL_DAY)).otherwise(F.lit(last))
    told = rows.select("*", (~F.col("__old") | before | F.coalesce(after, F.lit(False))).alias("__stays"))
    following = F.last(F.when(F.col("__stays"), F.col("valid_from")), ignorenulls=True).over(
        newest_first.rowsBetween(Window.unboundedPreceding, -1)
    )
    told = told.select(
        "*",
        F.date_sub(following, 1).alias("__end"),
        F.coalesce(F.lag("valid_from").over(newest_first) == F.col("valid_from"), F.lit(False)).alias("__replaced"),
    )
    change = (
        F.when(~F.col("__old"), F.lit(NEW))
        .when(F.col("__stays") & ~F.col("valid_to").eqNullSafe(F.col("__end")), F.lit(ENDED))
        .when(~F.col("__stays") & ~F.col("__replaced"), F.lit(GONE))
    )
    end = F.col("__end").alias("valid_to")
    out = [end if name == "valid_to" else F.col(quoted(name)) for name in new.columns]
    return told.select(*out, change.alias(CHANGE)).where(F.col(CHANGE).isNotNull())


def stepped_frame(spec: FeatureSet, history: DataFrame, step: DataFrame) -> DataFrame:
    """The history as it is once a step is merged."""
    by = [*spec.keys, "valid_from"]
    kept = history.join(step.select(*(quoted(name) for name in by)), on=by, how="left_anti")
    columns = [quoted(name) for name in history.columns]
    return kept.select(*columns).unionByName(step.where(F.col(CHANGE) != F.lit(GONE)).select(*columns))


def _keys(spec: FeatureSet) -> list[Column]:
    return [F.col(quoted(key)) for key in spec.keys]
