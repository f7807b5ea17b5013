"""Assignment on Spark: the arm of every unit of a frame, by native functions that agree with the pure ones on every unit.

Takes a declared assignment and a unit column and gives expressions; the hash and its byte order stand in
`sparkds.hashing`.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds.errors import ColumnError
from sparkds.experiments.assignment import Assignment
from sparkds.hash_columns import UNIT_TYPES, bucket_column
from sparkds.hashing import BUCKETS
from sparkds.sql import quoted


def included_column(assignment: Assignment, unit: Column) -> Column:
    """Whether a unit is in the experiment (boolean); false for a null unit."""
    inside = unit.isNotNull()
    for cut in assignment.cuts:
        place = bucket_column(unit, cut.salt)
        if cut.low > 0:
            inside = inside & (place >= F.lit(cut.low))
        if cut.high < BUCKETS:
            inside = inside & (place < F.lit(cut.high))
    return inside


def arm_column(assignment: Assignment, unit: Column) -> Column:
    """Arm of a unit (string), as `sparkds.experiments.assignment.Assignment.arm_of` gives it; null outside the experiment.

    Parameters
    ----------
    assignment : Assignment
    unit : Column
        Of a type in `UNIT_TYPES`; null units have no arm.

    Examples
    --------
    >>> users.withColumn("arm", arm_column(assignment, F.col("user_id")))  # doctest: +SKIP
    """
    place = bucket_column(unit, assignment.arm_salt)
    *inner, last = assignment.arm_edges
    arm = F.lit(last.arm)
    for edge in reversed(inner):
        arm = F.when(place < F.lit(edge.high), F.lit(edge.arm)).otherwise(arm)
    return F.when(included_column(assignment, unit), arm)


def assigned_frame(assignment: Assignment, frame: DataFrame, *, unit: str) -> DataFrame:
    """Frame with the column ``arm``; null for units outside the experiment.

    Parameters
    ----------
    assignment : Assignment
    frame : DataFrame
    unit : str
        Column that names the unit.

    Raises
    ------
    ColumnError
        There is no such column, or it is neither text nor a whole number.
    """
    types = dict(frame.dtypes)
    if unit not in types:
        raise ColumnError.missing(unit, tuple(types), "the frame of units")
    if types[unit] not in UNIT_TYPES:
        raise ColumnError(
            f"column '{unit}' is {types[unit]}, whose text differs between languages; a unit is of type {', '.join(UNIT_TYPES)}"
        )
    return frame.withColumn("arm", arm_column(assignment, F.col(quoted(unit))))
