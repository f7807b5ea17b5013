"""Hash columns: the bucket of every unit of a frame, by native functions that agree with `sparkds.hashing` on every unit."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

from sparkds.hashing import HEX_DIGITS, SEPARATOR

UNIT_TYPES: Final = ("string", "tinyint", "smallint", "int", "bigint")
"""Types whose text is the same in every language."""


def bucket_column(unit: Column, salt: str) -> Column:
    """Whole number in [0, 2^60) of a unit under a salt (bigint); null for a null unit.

    Parameters
    ----------
    unit : Column
        Of a type in `UNIT_TYPES`; a whole number is hashed as its decimal digits.
    salt : str
    """
    told = F.concat(F.lit(f"{salt}{SEPARATOR}"), unit.cast("string"))
    return F.conv(F.substring(F.sha2(told, 256), 1, HEX_DIGITS), 16, 10).cast("bigint")


def rows_digest_column(place: Column) -> Column:
    """Sum of the 64-bit hashes of rows (decimal): the same in any order, and equal rows count as often as they are there.

    Parameters
    ----------
    place : Column
        Of ``xxhash64``; `sparkds.hashing.rows_hash` makes text of the sum.
    """
    return F.sum(place.cast("decimal(20,0)"))
