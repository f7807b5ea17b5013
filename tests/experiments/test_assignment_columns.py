"""Arms by native functions of Spark against the pure function, unit by unit."""

from fractions import Fraction

import pytest
from pyspark.sql import functions as F

from sparkds.errors import ColumnError
from sparkds.experiments.assignment import Assignment, Holdout, Layer, bucket
from sparkds.experiments.assignment_columns import arm_column, assigned_frame, bucket_column

THIRDS = {"control": 0.2, "green": 0.5, "blue button": 0.3}
PLAIN = Assignment(experiment="button", arms={"control": 0.5, "green": 0.5}, coverage=1.0)
WHOLE = Assignment(
    experiment="prüfung €",
    arms=THIRDS,
    coverage=0.7,
    layer=Layer(name="search", low=0.1, high=0.9),
    holdout=Holdout(name="2026", share=0.05),
)


def random_units(spark, n):
    """Identifiers of many forms: digits, hexadecimal, mixed, not ASCII, empty."""
    random = F.sha2(F.concat(F.lit("seed 1/"), F.col("id").cast("string")), 256)
    forms = F.array(
        F.col("id").cast("string"),
        F.substring(random, 1, 12),
        F.concat(F.lit("user-"), F.substring(random, 1, 9)),
        F.concat(F.lit("müller-€-😀/"), F.substring(random, 3, 7)),
        F.upper(random),
    )
    return spark.range(n).select(F.element_at(forms, (F.col("id") % 5 + 1).cast("int")).alias("unit"))


def disagreements(spark, n):
    for assignment in (PLAIN, WHOLE):
        rows = random_units(spark, n).select("unit", arm_column(assignment, F.col("unit")).alias("arm")).collect()
        assert len(rows) == n
        arms = {row["arm"] for row in rows}
        assert arms == {*assignment.arms} | ({None} if assignment is WHOLE else set())
        yield from ((row["unit"], row["arm"]) for row in rows if assignment.arm_of(row["unit"]) != row["arm"])


def test_arms_equal_the_pure_function_on_a_hundred_thousand_units(spark):
    assert list(disagreements(spark, 100_000)) == []


@pytest.mark.slow
def test_arms_equal_the_pure_function_on_a_million_units(spark):
    assert list(disagreements(spark, 1_000_000)) == []


def test_buckets_are_those_of_sha256sum(spark):
    # first 15 digits of: printf 'arm:checkout\x1fuser-1' | sha256sum
    (row,) = (
        spark.range(1)
        .select(bucket_column(F.lit("user-1"), "arm:checkout").alias("text"), bucket_column(F.lit(42), "s").alias("number"))
        .collect()
    )
    assert row["text"] == int("cd4088878ab2c9d", 16)
    assert row["number"] == bucket(42, "s") == bucket("42", "s")


@pytest.mark.parametrize("dtype", ["tinyint", "smallint", "int", "bigint", "string"])
def test_whole_numbers_of_every_width_have_the_arms_of_their_digits(spark, dtype):
    frame = spark.range(-50, 50).selectExpr(f"cast(id as {dtype}) as unit")
    for row in assigned_frame(WHOLE, frame, unit="unit").collect():
        assert row["arm"] == WHOLE.arm_of(int(row["unit"]))


def test_a_null_unit_has_no_arm(spark):
    frame = spark.createDataFrame([(None,), ("u",)], "unit string")
    arms = {row["unit"]: row["arm"] for row in assigned_frame(PLAIN, frame, unit="unit").collect()}
    assert arms == {None: None, "u": PLAIN.arm_of("u")}


@pytest.mark.parametrize("dtype", ["double", "decimal(10,0)", "boolean", "date", "binary"])
def test_a_unit_whose_text_differs_between_languages_is_refused(spark, dtype):
    frame = spark.createDataFrame([(None,)], f"unit {dtype}")
    with pytest.raises(ColumnError, match="differs between languages; a unit is of type string"):
        assigned_frame(PLAIN, frame, unit="unit")
    with pytest.raises(ColumnError, match="column 'unt' not found in the frame of units; did you mean 'unit'"):
        assigned_frame(PLAIN, frame, unit="unt")


def test_a_ramp_up_moves_no_unit(spark):
    small, large = (Assignment(experiment="button", arms=PLAIN.arms, coverage=share) for share in (0.1, 0.4))
    units = random_units(spark, 2_000)
    rows = units.select(arm_column(small, F.col("unit")).alias("small"), arm_column(large, F.col("unit")).alias("large")).collect()
    assert all(row["large"] == row["small"] for row in rows if row["small"] is not None)
    assert 0 < sum(row["small"] is not None for row in rows) < sum(row["large"] is not None for row in rows) < 2_000


def test_thresholds_reach_spark_as_the_same_whole_numbers(spark):
    edges = {edge.arm: Fraction(edge.high, 2**60) for edge in WHOLE.arm_edges}
    assert {arm: float(share) for arm, share in edges.items()} == pytest.approx({"blue button": 0.3, "control": 0.5, "green": 1.0})
    told = str(arm_column(WHOLE, F.col("unit")))
    for edge in WHOLE.arm_edges[:-1]:
        assert str(edge.high) in told
