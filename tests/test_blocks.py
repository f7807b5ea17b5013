"""Blocks of whole keys: against a loop over the rows, however Spark cuts them into batches."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from sparkds.blocks import BlockMapper, key_starts, map_blocks


def sums(table, starts):
    """One row per key: its first key value, its rows, the sum of v."""
    v = table.column("v").to_numpy()
    yield pa.table(
        {
            "key": table.column("key").take(pa.array(starts[:-1])),
            "n": np.diff(starts),
            "total": np.add.reduceat(v, starts[:-1]),
        }
    )


def expected(rows):
    by_key = {}
    for key, v in rows:
        n, total = by_key.get(key, (0, 0))
        by_key[key] = (n + 1, total + v)
    return by_key


def batches_of(rows, size):
    table = pa.table({"c0": [k for k, _ in rows], "c1": pa.array([v for _, v in rows], pa.int64())})
    return iter(table.to_batches(max_chunksize=size))


def run(rows, *, batch, block_rows, block_keys=4096):
    mapper = BlockMapper(("key", "v"), ("key",), sums, block_rows, block_keys)
    made = list(mapper(batches_of(rows, batch)))
    found = [row for made_batch in made for row in made_batch.to_pylist()]
    assert len({row["key"] for row in found}) == len(found), "a key was handed over in two pieces"
    return {row["key"]: (row["n"], row["total"]) for row in found}


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("block_rows", [1, 5, 100])
def test_keys_that_straddle_batches_stay_whole(batch, block_rows):
    rng = np.random.default_rng(batch * 100 + block_rows)
    rows = sorted((int(k), int(v)) for k, v in zip(rng.integers(0, 9, 60), rng.integers(0, 99, 60), strict=True))
    assert run(rows, batch=batch, block_rows=block_rows) == expected(rows)


def test_a_giant_key_between_small_ones_is_one_block():
    rows = [(1, 1), *((2, 1) for _ in range(5000)), (3, 1)]
    assert run(rows, batch=64, block_rows=100) == {1: (1, 1), 2: (5000, 5000), 3: (1, 1)}


def test_a_block_never_has_more_keys_than_allowed():
    sizes = []

    def noting(table, starts):
        sizes.append(len(starts) - 1)
        return sums(table, starts)

    mapper = BlockMapper(("key", "v"), ("key",), noting, 1000, 4)
    list(mapper(batches_of([(k, 1) for k in range(10)], 1000)))
    assert sizes == [4, 4, 2]


def test_an_empty_partition_gives_nothing():
    mapper = BlockMapper(("key", "v"), ("key",), sums, 10, 10)
    assert list(mapper(iter([]))) == []
    assert list(mapper(batches_of([], 10))) == []


def test_output_is_cut_into_batches_of_bounded_size():
    def many(table, starts):
        yield pa.table({"v": np.zeros(200_000)})

    mapper = BlockMapper(("key", "v"), ("key",), many, 10, 10)
    assert [b.num_rows for b in mapper(batches_of([(1, 1)], 10))] == [65_536, 65_536, 65_536, 3_392]


def test_null_and_nan_keys_are_keys_of_their_own():
    table = pa.table({"a": [1.0, 1.0, float("nan"), float("nan"), None, None], "b": ["x", None, None, None, None, "x"]})
    assert key_starts(table, ["a"]).tolist() == [0, 2, 4, 6]
    assert key_starts(table, ["a", "b"]).tolist() == [0, 1, 2, 4, 5, 6]


def test_the_seed_of_two_columns_is_not_their_concatenation():
    table = pa.table({"a": ["ab", "a"], "b": ["c", "bc"]})
    assert key_starts(table, ["a", "b"]).tolist() == [0, 1, 2]


def test_spark_brings_every_row_of_a_key_to_one_block(spark):
    frame = spark.range(3000).selectExpr("cast(id % 17 as string) as `the.key`", "id % 5 as other", "id as v")

    def kernel(table, starts):
        v = table.column("v").to_numpy()
        assert all((np.diff(v[a:b]) > 0).all() for a, b in pairwise(starts)), "rows of a key are not sorted"
        first = pa.array(starts[:-1])
        yield pa.table(
            {
                "key": table.column("the.key").take(first),
                "other": table.column("other").take(first),
                "total": np.add.reduceat(v, starts[:-1]),
            }
        )

    made = map_blocks(
        frame, keys=["the.key", "other"], order=["v"], kernel=kernel, schema="key string, other long, total long", block_rows=100
    ).collect()
    want = {}
    for i in range(3000):
        want[(str(i % 17), i % 5)] = want.get((str(i % 17), i % 5), 0) + i
    assert {(r["key"], r["other"]): r["total"] for r in made} == want
    assert len(made) == len(want)
