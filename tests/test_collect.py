"""The door: what of a change between two frames is seen."""

from datetime import date

from sparkds import collect

DAYS = [(date(2026, 1, 1), date(2026, 1, 9))]
SCHEMA = "day date, a int, b int"


def test_the_first_changed_day_is_found_also_where_a_null_and_a_value_change_places(spark):
    first, second = date(2026, 1, 2), date(2026, 1, 3)
    before = spark.createDataFrame([(first, 1, None), (second, 1, 2)], SCHEMA)
    for rows, changed in (
        ([(second, 1, 2), (first, 1, None)], None),
        ([(first, None, 1), (second, 1, 2)], first),
        ([(first, 1, None), (second, 2, 1)], second),
        ([(first, 1, None), (second, 1, 2), (second, 1, 2)], second),
    ):
        assert collect.first_changed_day(before, spark.createDataFrame(rows, SCHEMA), DAYS) == changed
