"""Aggregates over many columns: folded into short rows they have the values that Spark gives one after the other."""

import pytest

from sparkds.features.generate import aggregated as module
from sparkds.features.generate.aggregated import aggregated, lanes_of
from sparkds.features.generate.derivation import Aggregate

ROWS = [
    (i, None if i % 5 == 0 else i * 0.37 - 3, i % 7, f"{i % 3}.25", None if i % 4 == 0 else "abc"[i % 3], i % 2 == 0) for i in range(60)
]
WANTED = [
    *(Aggregate(call, f"d * {k}D", "double") for k in range(1, 8) for call in ("avg({x})", "stddev_samp({x})")),
    *(Aggregate("cast(approx_percentile({x}, array(0.25D, 0.5D), 10000) as array<string>)", f"n + {k}", "int") for k in range(5)),
    Aggregate("avg({x})", "money", "decimal(12,2)"),
    Aggregate("mode({x}, true)", "money", "decimal(12,2)"),
    Aggregate("mode({x}, true)", "`a text`", "string"),
    Aggregate("mode({x}, true)", "flag", "boolean"),
    Aggregate("count({x})", "case when n = 1 then d end", "double"),
    Aggregate("avg({x})", "case when n < 0 then d end", "double"),
]


def rows_of(spark):
    return spark.createDataFrame(ROWS, "i int, d double, n int, told string, `a text` string, flag boolean").selectExpr(
        "*", "cast(told as decimal(12,2)) as money"
    )


def test_columns_of_one_type_and_one_purpose_share_lanes():
    lanes = lanes_of(WANTED)
    assert [(lane.dtype, len(lane.calls), len(lane.xs)) for lane in lanes] == [
        ("double", 2, 7),
        ("int", 1, 5),
        ("decimal(12,2)", 2, 1),
        ("string", 1, 1),
        ("boolean", 1, 1),
        ("double", 1, 1),
        ("double", 1, 1),
    ]
    assert [len(lane.xs) for lane in lanes_of([Aggregate("avg({x})", f"x{i}", "double") for i in range(250)])] == [100, 100, 50]


@pytest.mark.parametrize("places", [1, 3, 100])
def test_folded_aggregates_equal_those_of_spark(spark, monkeypatch, places):
    rows = rows_of(spark)
    plain = aggregated(rows, WANTED, "i >= 57")
    monkeypatch.setattr(module, "MANY", 0)
    monkeypatch.setattr(module, "PLACES", places)
    folded = aggregated(rows, WANTED, "i >= 57")
    assert (folded.n, folded.overlap) == (plain.n, plain.overlap) == (60, 3)
    assert list(folded.values) == list(plain.values) == WANTED
    for aggregate, value in plain.values.items():
        found = folded.values[aggregate]
        assert type(found) is type(value), aggregate
        assert found == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), aggregate
    assert sum(value is None for value in folded.values.values()) == 1


def test_no_rows_have_no_values(spark, monkeypatch):
    monkeypatch.setattr(module, "MANY", 0)
    assert aggregated(rows_of(spark).where("i < 0"), WANTED) == (0, 0, {})


def test_a_thousand_columns_are_read_once_and_aggregated_by_a_few_functions(spark, monkeypatch):
    wide = spark.range(3).selectExpr("id", *(f"id * {i} as `c.{i}`" for i in range(1000)))
    asked = [Aggregate(call, f"cast(`c.{i}` as double)", "double") for i in range(1000) for call in ("avg({x})", "stddev_pop({x})")]
    plans = []
    rows_of_small = module.collect.small_rows

    def told(frame, **more):
        plans.append(frame)
        return rows_of_small(frame, **more)

    monkeypatch.setattr(module.collect, "small_rows", told)
    found = aggregated(wide, asked)
    assert found.n == 3
    assert [found.values[asked[2 * i]] for i in range(1000)] == [float(i) for i in range(1000)]
    (frame,) = plans
    assert len(frame.columns) == 1 + 2 + 10 * 2
