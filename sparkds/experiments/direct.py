"""The direct road: exposures and facts in, statistics and counts out, without a unit table.

Every table is scanned once and moved once; the units of a partition are reduced to statistics where they are made, so that what
leaves a worker is a row per metric, arm and segment. For experiments that are analysed once; a daily run goes on from stored units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyspark.sql import DataFrame

from sparkds import collect
from sparkds.blocks import fold_blocks, map_blocks
from sparkds.days import known_at, microseconds
from sparkds.errors import ConfigError
from sparkds.experiments.analysis import SCHEMA, absolute_caps
from sparkds.experiments.arrow import KEYS, StatisticsFold, merge_kernel, percentile_capped
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.headcounts import Headcounts, headcounts_of, most_frequent, shown_only
from sparkds.experiments.unit_rows import UnitKernel
from sparkds.experiments.units import EXCHANGE_KEYS, EXCHANGE_ORDER, exchanged_rows, unit_kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from pyspark.sql import Observation

BLOCK_ROWS = 262_144
"""Rows of a block: every metric is summarised once a block, whose rows take some 100 MB on a worker."""
MOST_ROWS = 1_000_000
"""Rows of statistics that may come to the driver."""


class Direct(NamedTuple):
    """What the direct road gives.

    Attributes
    ----------
    statistics : pyarrow.Table
        As `sparkds.experiments.analysis.statistics_frame` has them.
    counts : pyarrow.Table
        As `sparkds.experiments.analysis.counts_frame` has them.
    """

    statistics: pa.Table
    counts: pa.Table


def direct_statistics(
    spec: ExperimentSet,
    exposures: DataFrame,
    facts: Mapping[str, DataFrame],
    *,
    as_of: date,
    intake: Mapping[str, Observation] | None = None,
) -> Direct:
    """Statistics and counts of all experiments in one pass.

    Parameters
    ----------
    spec, exposures, facts, as_of, intake
        As for `sparkds.experiments.units.units_frame`.

    Raises
    ------
    ConfigError
        A cap is a percentile, which only a unit table can tell.
    DataError
        The segments have so many values that there are more than a million rows of statistics.
    ColumnError
    """
    capped = percentile_capped(spec)
    if capped:
        raise ConfigError(
            f"metric '{capped[0][1][0].name}': a percentile cap needs the unit table; store units, or declare an absolute cap"
        )
    kernel = unit_kernel(spec, facts, as_of=as_of)
    end = microseconds(known_at(as_of, ZoneInfo(spec.time_zone)))
    rows = exchanged_rows(spec, kernel, exposures, facts, intake=intake)
    partial = fold_blocks(
        rows, keys=EXCHANGE_KEYS, order=EXCHANGE_ORDER, begin=Begin(spec, kernel, end, absolute_caps(spec)), schema=SCHEMA
    )
    whole = map_blocks(partial, keys=KEYS, order=("n",), kernel=merge_kernel, schema=SCHEMA)
    told = collect.small_table(whole, most=MOST_ROWS)
    counts, statistics = headcounts_of(told)
    shown = most_frequent(spec, counts)
    return Direct(shown_only(statistics, shown), shown_only(counts, shown))


@dataclass(frozen=True)
class Begin:
    """Gives the empty fold of a partition."""

    spec: ExperimentSet
    kernel: UnitKernel
    as_of: int
    caps: dict[tuple[str, str], float]

    def __call__(self) -> UnitFold:
        """Nothing seen yet."""
        return UnitFold(self)


class UnitFold:
    """Blocks of exposures and facts in, statistics and counts of their units out."""

    def __init__(self, begin: Begin) -> None:
        self.kernel = begin.kernel
        self.statistics = StatisticsFold(begin.spec, begin.as_of, begin.caps, {})
        self.headcounts = Headcounts(begin.spec)

    def add(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> None:
        """Make the units of a block and summarise them."""
        for units in self.kernel(table, starts):
            self.statistics.add(units)
            self.headcounts.add(units)

    def tables(self) -> Iterable[pa.Table]:
        """Rows in the columns of the statistics."""
        yield from self.statistics.tables()
        yield from self.headcounts.tables()
