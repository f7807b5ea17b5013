"""Blocks: whole keys at a time from Spark to a kernel of arrays, after one exchange.

`map_blocks` brings the rows of a key together (one exchange), sorts them, and hands Arrow tables that end at key
boundaries to a function on the workers; a key that straddles Arrow batches is carried over, empty partitions give nothing,
and what comes back is cut into batches of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

OUTPUT_ROWS: Final = 65_536

Kernel = Callable[[pa.Table, npt.NDArray[np.int64]], Iterable[pa.Table]]


def map_blocks(
    frame: DataFrame,
    *,
    keys: Sequence[str],
    order: Sequence[str],
    kernel: Kernel,
    schema: str,
    block_rows: int = 65_536,
    block_keys: int = 4_096,
) -> DataFrame:
    """Apply `kernel` to blocks of whole keys.

    Parameters
    ----------
    frame : DataFrame
        Keys are plain values (no maps, arrays or structs).
    keys : sequence of str
        Columns that name the key, compared column by column.
    order : sequence of str
        Columns that sort the rows of one key, ascending.
    kernel : callable
        ``kernel(table, starts)``: `table` holds the rows of some whole keys, `starts` their ``n_keys + 1`` row offsets;
        gives tables in the columns of `schema`. Runs on the workers.
    schema : str
        Columns that come out, as DDL.
    block_rows : int
        A block is handed over once it has this many rows …
    block_keys : int
        … and never has more keys than this.

    Returns
    -------
    DataFrame
        Lazy; one exchange by `keys` and one sort more than `frame`.
    """
    gathered = _gathered(frame, keys, order)
    return gathered.mapInArrow(BlockMapper(tuple(frame.columns), tuple(keys), kernel, block_rows, block_keys), schema)


class Fold(Protocol):
    """What is made of all blocks of a partition together."""

    def add(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> None:
        """Take in a block of whole keys."""

    def tables(self) -> Iterable[pa.Table]:
        """Give what all blocks came to."""


def fold_blocks(
    frame: DataFrame,
    *,
    keys: Sequence[str],
    order: Sequence[str],
    begin: Callable[[], Fold],
    schema: str,
    block_rows: int = 65_536,
    block_keys: int = 4_096,
) -> DataFrame:
    """Reduce the blocks of whole keys of each partition to little, before anything leaves the worker.

    Parameters
    ----------
    frame, keys, order, schema, block_rows, block_keys
        As for `map_blocks`.
    begin : callable
        Gives an empty fold, once a partition.

    Returns
    -------
    DataFrame
        Lazy; one exchange by `keys` and one sort more than `frame`. A partition without rows gives none.
    """
    gathered = _gathered(frame, keys, order)
    return gathered.mapInArrow(BlockFolder(tuple(frame.columns), tuple(keys), begin, block_rows, block_keys), schema)


def _gathered(frame: DataFrame, keys: Sequence[str], order: Sequence[str]) -> DataFrame:
    """Rows of a key together and in order, under plain names."""
    names = tuple(frame.columns)
    plain = [f"c{i}" for i in range(len(names))]  # mapInArrow cannot take a name with a dot
    by_key = [plain[names.index(key)] for key in keys]
    in_order = [plain[names.index(name)] for name in order]
    return frame.toDF(*plain).repartition(*by_key).sortWithinPartitions(*by_key, *in_order)


@dataclass(frozen=True)
class BlockMapper:
    """What runs on a worker: Arrow batches of one sorted partition in, Arrow batches of the kernel out."""

    names: tuple[str, ...]
    keys: tuple[str, ...]
    kernel: Kernel
    block_rows: int
    block_keys: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Cut the partition into blocks of whole keys and yield what the kernel makes of them."""
        for block, starts in Blocks(self.names, self.keys, self.block_rows, self.block_keys).of(batches):
            for result in self.kernel(block, starts):
                yield from result.combine_chunks().to_batches(max_chunksize=OUTPUT_ROWS)


@dataclass(frozen=True)
class BlockFolder:
    """What runs on a worker: Arrow batches of one sorted partition in, what they fold to out."""

    names: tuple[str, ...]
    keys: tuple[str, ...]
    begin: Callable[[], Fold]
    block_rows: int
    block_keys: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Fold all blocks of whole keys of the partition."""
        fold: Fold | None = None
        for block, starts in Blocks(self.names, self.keys, self.block_rows, self.block_keys).of(batches):
            fold = fold or self.begin()
            fold.add(block, starts)
        for table in () if fold is None else fold.tables():
            yield from table.combine_chunks().to_batches(max_chunksize=OUTPUT_ROWS)


@dataclass(frozen=True)
class Blocks:
    """Cuts a sorted partition into blocks of whole keys."""

    names: tuple[str, ...]
    keys: tuple[str, ...]
    block_rows: int
    block_keys: int

    def of(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        """Blocks and the row offsets of their keys."""
        waiting: list[pa.RecordBatch] = []
        n_waiting, limit = 0, self.block_rows
        for batch in batches:
            if batch.num_rows == 0:
                continue
            waiting.append(batch.rename_columns(self.names))
            n_waiting += batch.num_rows
            if n_waiting < limit:
                continue
            table = pa.Table.from_batches(waiting)
            starts = key_starts(table, self.keys)
            yield from self._cut(table, starts[:-1])
            rest = table.slice(int(starts[-2]))
            waiting, n_waiting = rest.combine_chunks().to_batches(), rest.num_rows
            limit = self.block_rows + n_waiting
        if waiting:
            table = pa.Table.from_batches(waiting)
            yield from self._cut(table, key_starts(table, self.keys))

    def _cut(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        for first in range(0, len(starts) - 1, self.block_keys):
            bounds = starts[first : first + self.block_keys + 1]
            yield table.slice(int(bounds[0]), int(bounds[-1] - bounds[0])).combine_chunks(), bounds - bounds[0]


def key_starts(table: pa.Table, keys: Sequence[str]) -> npt.NDArray[np.int64]:
    """Row offsets at which the key changes, with 0 first and the number of rows last: (n_keys + 1,).

    Null equals null and NaN equals NaN, as in Spark's grouping.
    """
    n = table.num_rows
    changed = np.zeros(max(n - 1, 0), dtype=bool)
    for key in keys:
        column = table.column(key).combine_chunks()
        changed |= _differs(column.slice(0, max(n - 1, 0)), column.slice(1))
    return np.concatenate(([0], np.flatnonzero(changed) + 1, [n])).astype(np.int64)


def _differs(left: Any, right: Any) -> npt.NDArray[np.bool_]:
    unequal = pc.not_equal(left, right)
    if pa.types.is_floating(left.type):
        unequal = pc.and_not(unequal, pc.and_(pc.is_nan(left), pc.is_nan(right)))
    one_null = pc.xor(pc.is_null(left), pc.is_null(right))
    different: npt.NDArray[np.bool_] = pc.or_(pc.fill_null(unequal, False), one_null).to_numpy(zero_copy_only=False)
    return different
