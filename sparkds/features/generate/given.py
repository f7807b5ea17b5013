"""Given: what a derivation takes from outside the frame it is fitted on - the dates of a table of holidays.

Takes the table as a DataFrame and gives plain values that `fitting` hands to the derivation.
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError
from sparkds.features.generate.calendar import EVERYWHERE, MOST_HOLIDAYS, Holiday
from sparkds.sql import quoted


def holiday_dates(derivation: Holiday, table: DataFrame) -> dict[str, list[date]]:
    """Holidays of each region in a table; rows without a date are left out.

    Parameters
    ----------
    derivation : Holiday
        Names the columns.
    table : DataFrame

    Returns
    -------
    dict of region to dates
        Holidays without a region under ``""``: they hold everywhere.

    Raises
    ------
    ColumnError
        A column is absent, or has another type than date (and string, for the region).
    DataError
        The table is no small list.
    """
    types = dict(table.dtypes)
    where = f"table '{derivation.table}'"
    told_types = ((derivation.date_column, "date", "holidays are dates"), (derivation.region_column, "string", "a region is a string"))
    for column, dtype, what in told_types:
        if column is None:
            continue
        if column not in types:
            raise ColumnError.missing(column, tuple(types), where)
        if types[column] != dtype:
            raise ColumnError(f"column '{column}' of {where} has type {types[column]}; {what}: cast it before")
    region = F.lit(None).cast("string") if derivation.region_column is None else F.col(quoted(derivation.region_column))
    day = F.col(quoted(derivation.date_column))
    told = table.select(day.alias("day"), F.coalesce(region, F.lit(EVERYWHERE)).alias("region")).where(F.col("day").isNotNull()).distinct()
    dates: dict[str, list[date]] = {}
    for row in collect.small_rows(told, most=MOST_HOLIDAYS):
        dates.setdefault(row["region"], []).append(row["day"])
    return {name: sorted(days) for name, days in sorted(dates.items())}
