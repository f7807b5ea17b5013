"""Correlation on Spark: pairs of numeric columns whose Pearson correlation is above a limit, from one pass of co-moments.

Takes a frame and its numeric columns and gives the pairs above the limit; sums of blocks of columns are made on the workers, and only
the pairs reach the driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.blocks import map_blocks
from sparkds.features.relevance import value_column

Array = npt.NDArray[np.float64]
BLOCK: Final = 256
"""Columns of a block: the sums of two blocks are one message."""
AT_ONCE: Final = 1_024
"""Columns whose sums one pass holds in memory, 5 · 8 bytes a pair; of more columns, chunks of half as many are paired."""
SLICE_ROWS: Final = 8_192
MOST_PAIRS: Final = 3_000_000
LEAST_ROWS: Final = 3
SUMS: Final = "block int, sums binary"
PAIRS: Final = "left int, right int, n bigint, correlation double"


class Centre(NamedTuple):
    """Constants near a column's mean and standard deviation, so that sums of squares do not cancel; any will do, good ones keep digits."""

    shift: float
    scale: float


class Pair(NamedTuple):
    """Correlation of two columns over the rows that have values of both."""

    left: str
    right: str
    n: int
    correlation: float


def correlated_pairs(frame: DataFrame, columns: Sequence[str], centres: Sequence[Centre], *, limit: float) -> list[Pair]:
    """Pairs of columns with an absolute Pearson correlation above `limit`.

    Each pair over the rows in which both have a (finite) value: pairwise complete; so no row is lost for the holes of a third column,
    and the correlations of several pairs need not come from one covariance matrix. Pairs with fewer than three such rows, or in which a
    column does not vary, have none. One scan for up to 1 024 columns, then one for each pair of chunks of 512.

    Parameters
    ----------
    frame : DataFrame
    columns : sequence of str
        Numbers, truth values, days and instants.
    centres : sequence of Centre
        One a column.
    limit : float
        In [0, 1]; a correlation of exactly this is not given.

    Returns
    -------
    list of Pair
        By the order of `columns`.

    Examples
    --------
    >>> correlated_pairs(frame, ["net", "gross"], [Centre(10, 5), Centre(12, 6)], limit=0.95)  # doctest: +SKIP
    [Pair(left='net', right='gross', n=20000, correlation=0.998)]
    """
    if len(columns) < 2:
        return []
    whole = len(columns) <= AT_ONCE
    size = len(columns) if whole else AT_ONCE // 2
    chunks = [range(i, min(i + size, len(columns))) for i in range(0, len(columns), size)]
    found: dict[tuple[int, int], Pair] = {}
    for a in range(len(chunks)):
        for b in range(a if whole else a + 1, len(chunks)):
            at = [*chunks[a], *(() if a == b else chunks[b])]
            pairs = pairs_frame(frame, [columns[i] for i in at], [centres[i] for i in at], limit=limit)
            table = collect.small_table(pairs, most=MOST_PAIRS)
            for i, j, n, r in zip(*(table.column(name).to_pylist() for name in ("left", "right", "n", "correlation")), strict=True):
                found[at[i], at[j]] = Pair(columns[at[i]], columns[at[j]], n, r)
    return [found[key] for key in sorted(found)]


def pairs_frame(frame: DataFrame, columns: Sequence[str], centres: Sequence[Centre], *, limit: float) -> DataFrame:
    """Pairs above the limit: ``left``, ``right`` (numbers of columns), ``n``, ``correlation``; lazy, one scan and one exchange of sums."""
    types = dict(frame.dtypes)
    plain = frame.select(
        *(
            ((value_column(name, types[name]) - F.lit(centre.shift)) / F.lit(centre.scale)).alias(f"c{i}")
            for i, (name, centre) in enumerate(zip(columns, centres, strict=True))
        )
    )
    sums = plain.mapInArrow(CoMomentKernel(len(columns)), SUMS)
    return map_blocks(
        sums, keys=("block",), order=("sums",), kernel=PairsKernel(len(columns), limit), schema=PAIRS, block_rows=32, block_keys=4
    )


def blocks_of(n_columns: int) -> list[tuple[slice, slice]]:
    """Pairs of blocks of the upper triangle, in the order of their numbers."""
    edges = [slice(i, min(i + BLOCK, n_columns)) for i in range(0, n_columns, BLOCK)]
    return [(a, b) for i, a in enumerate(edges) for b in edges[i:]]


@dataclass(frozen=True)
class CoMomentKernel:
    """Batches of rows in, sums of a partition by pair of blocks out.

    The sums of a pair over the rows that have both: n, x, y, xx, yy, xy; of a pair of blocks an array (5, p, q) of n, x, y, xx, yy
    and, as the sixth, xy, in this order, as bytes.
    """

    n_columns: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Add up a partition."""
        d = self.n_columns
        cross, n_both, sum_x, square_x = np.zeros((d, d)), np.zeros((d, d)), np.zeros((d, d)), np.zeros((d, d))
        n_rows = 0
        for batch in (part for whole in batches for part in slices(whole)):
            n_rows += batch.num_rows
            x = np.stack([column.to_numpy(zero_copy_only=False).astype(np.float64) for column in batch.columns], axis=1)
            hole = np.isnan(x)
            z = np.where(hole, 0.0, x)
            cross += z.T @ z
            # sums over the rows that have the other column too; where that has no holes they are those of the column alone
            holes = hole.any(axis=0)
            full, some = np.flatnonzero(~holes), np.flatnonzero(holes)
            here = (~hole).astype(np.float64)
            n_both[:, full] += here.sum(axis=0)[:, None]
            sum_x[:, full] += z.sum(axis=0)[:, None]
            square_x[:, full] += (z * z).sum(axis=0)[:, None]
            if len(some):
                other = here[:, some]
                n_both[:, some] += here.T @ other
                sum_x[:, some] += z.T @ other
                square_x[:, some] += (z * z).T @ other
        if n_rows == 0:
            return
        for number, (a, b) in enumerate(blocks_of(d)):
            parts = (n_both[a, b], sum_x[a, b], sum_x[b, a].T, square_x[a, b], square_x[b, a].T, cross[a, b])
            told = np.ascontiguousarray(np.stack(parts)).tobytes()
            yield pa.RecordBatch.from_arrays([pa.array([number], pa.int32()), pa.array([told], pa.binary())], names=["block", "sums"])


@dataclass(frozen=True)
class PairsKernel:
    """Sums of one pair of blocks from all partitions in, the pairs above the limit out."""

    n_columns: int
    limit: float

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """Merge and judge each pair of blocks of the table."""
        blocks = blocks_of(self.n_columns)
        for begin, end in pairwise(starts.tolist()):
            a, b = blocks[table.column("block")[begin].as_py()]
            shape = (6, a.stop - a.start, b.stop - b.start)
            total: Array = np.zeros(shape)
            for part in range(begin, end):
                total += np.frombuffer(table.column("sums")[part].as_buffer(), dtype=np.float64).reshape(shape)
            r = correlations(total)
            above = np.abs(np.nan_to_num(r)) > self.limit
            if a == b:
                above &= np.triu(np.ones(above.shape, dtype=bool), 1)
            i, j = np.nonzero(above)
            yield pa.table(
                {
                    "left": pa.array(i + a.start, pa.int32()),
                    "right": pa.array(j + b.start, pa.int32()),
                    "n": pa.array(total[0][i, j].astype(np.int64)),
                    "correlation": pa.array(r[i, j]),
                }
            )


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Parts of a batch with a bounded number of rows, so that the copies of a wide one stay small."""
    for first in range(0, batch.num_rows, SLICE_ROWS):
        yield batch.slice(first, SLICE_ROWS)


def correlations(sums: Array) -> Array:
    """Pearson correlations from the sums n, x, y, xx, yy, xy of pairs: (6, p, q) to (p, q); NaN where a column does not vary.

    Examples
    --------
    >>> import numpy as np
    >>> correlations(np.array([3.0, 3.0, 6.0, 5.0, 20.0, 10.0]).reshape(6, 1, 1)).item()  # x = 0 1 2, y = 0 2 4
    1.0
    """
    n, x, y, xx, yy, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        of_x, of_y, of_both = xx - x * x / n, yy - y * y / n, xy - x * y / n
        r: Array = of_both / np.sqrt(of_x * of_y)
    still = (of_x <= 1e-12 * xx) | (of_y <= 1e-12 * yy) | (n < LEAST_ROWS)
    return np.where(still, np.nan, np.clip(r, -1.0, 1.0))
