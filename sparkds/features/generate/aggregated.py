"""Aggregated: what derivations ask for over all rows of the training slice, in one pass however many columns there are.

Takes a frame and aggregates and gives their values. Spark compiles an aggregation of hundreds of functions to code that it cannot run
fast, so that many columns are folded first: a row becomes up to `PLACES` short ones, which the same few functions aggregate by place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.features.generate.derivation import Aggregate

MANY: Final = 40
"""So many aggregates are computed as they are; more are folded."""
PLACES: Final = 100
"""Rows that one row becomes at most; Spark aggregates quantiles by up to 128 keys without a sort."""
AT: Final = "__sparkds_at"


class Aggregated(NamedTuple):
    """What a pass has found.

    Attributes
    ----------
    n : int
        Rows.
    overlap : int
        Rows of which the predicate holds.
    values : dict of Aggregate to value
    """

    n: int
    overlap: int
    values: dict[Aggregate, Any]


class Lane(NamedTuple):
    """Column of the short rows.

    Attributes
    ----------
    dtype : str
    calls : tuple of str
        Aggregate functions over it.
    xs : tuple of str
        SQL of its value, by place.
    """

    dtype: str
    calls: tuple[str, ...]
    xs: tuple[str, ...]


def aggregated(rows: DataFrame, aggregates: Sequence[Aggregate], overlap: str | None = None) -> Aggregated:
    """Values of aggregates, by one action.

    Parameters
    ----------
    rows : DataFrame
    aggregates : sequence of Aggregate
    overlap : str, optional
        SQL predicate; false if absent.

    Returns
    -------
    Aggregated
        Without values when there are no rows and the aggregates are folded.
    """
    asked = list(dict.fromkeys(aggregates))
    overlaps = F.expr(overlap or "false")
    if len(asked) <= MANY:
        told = collect.one_row(
            rows.agg(
                F.count(F.lit(1)).alias("n"),
                F.count_if(overlaps).alias("overlap"),
                *(F.expr(aggregate.sql).alias(f"v{i}") for i, aggregate in enumerate(asked)),
            )
        )
        return Aggregated(told["n"], told["overlap"], {aggregate: told[f"v{i}"] for i, aggregate in enumerate(asked)})
    lanes = lanes_of(asked)
    places = max(len(lane.xs) for lane in lanes)
    short = ", ".join(f"named_struct('place', {i}, {', '.join(_fields(lanes, i))})" for i in range(places))
    folded = rows.select(overlaps.alias("overlap"), F.explode(F.expr(f"array({short})")).alias(AT))
    calls = [(j, call) for j, lane in enumerate(lanes) for call in lane.calls]
    found = collect.small_rows(
        folded.groupBy(F.col(f"{AT}.place").alias("place")).agg(
            F.count(F.lit(1)).alias("n"),
            F.count_if("overlap").alias("overlap"),
            *(F.expr(call.replace("{x}", f"{AT}.x{j}")).alias(f"v{k}") for k, (j, call) in enumerate(calls)),
        )
    )
    if not found:
        return Aggregated(0, 0, {})
    values = {
        Aggregate(call, lanes[j].xs[row["place"]], lanes[j].dtype): row[f"v{k}"]
        for row in found
        for k, (j, call) in enumerate(calls)
        if row["place"] < len(lanes[j].xs)
    }
    return Aggregated(found[0]["n"], found[0]["overlap"], {aggregate: values[aggregate] for aggregate in asked})


def lanes_of(aggregates: Sequence[Aggregate]) -> list[Lane]:
    """Columns of one type that the same functions aggregate stand below each other, in as many lanes as there are places for.

    Examples
    --------
    >>> lanes_of([Aggregate("avg({x})", "a", "double"), Aggregate("avg({x})", "b", "double"), Aggregate("max({x})", "c", "int")])
    [Lane(dtype='double', calls=('avg({x})',), xs=('a', 'b')), Lane(dtype='int', calls=('max({x})',), xs=('c',))]
    """
    calls: dict[tuple[str, str], list[str]] = {}
    for aggregate in aggregates:
        calls.setdefault((aggregate.dtype, aggregate.x), []).append(aggregate.call)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (dtype, x), own in calls.items():
        alike.setdefault((dtype, tuple(sorted(own))), []).append(x)
    return [
        Lane(dtype, own, tuple(xs[first : first + PLACES])) for (dtype, own), xs in alike.items() for first in range(0, len(xs), PLACES)
    ]


def _fields(lanes: Sequence[Lane], place: int) -> list[str]:
    """Fields of the short row at a place, null where a lane has none."""
    return [f"'x{j}', cast({lane.xs[place] if place < len(lane.xs) else 'null'} as {lane.dtype})" for j, lane in enumerate(lanes)]
