import pytest

from sparkds import errors
from sparkds.errors import ColumnError, SparkdsError, closest


def test_every_error_of_the_package_can_be_caught_as_one():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.__name__ for kind in kinds} >= {"ConfigError", "ColumnError", "DataError", "WindowError", "TableError"}
    assert all(issubclass(kind, SparkdsError) for kind in kinds)


def test_a_missing_column_is_answered_with_the_nearest_name_and_all_names():
    error = ColumnError.missing("revnue", ["day", "revenue"], "table 'orders'")
    assert isinstance(error, ColumnError)
    assert str(error) == "column 'revnue' not found in table 'orders'; did you mean 'revenue'? (columns: day, revenue)"


def test_a_missing_column_that_is_like_no_other_has_no_suggestion():
    assert str(ColumnError.missing("x", ["day"], "the events")) == "column 'x' not found in the events (columns: day)"


@pytest.mark.parametrize(
    ("name", "choices", "said"),
    [
        ("cuont", ["count", "sum"], "; did you mean 'count'?"),
        ("REVENUE", ["revenue"], "; did you mean 'revenue'?"),
        ("revenue", ["Revenue", "orders"], "; did you mean 'Revenue'?"),
        ("zebra", ["count", "sum"], ""),
        ("count", [], ""),
        ("", ["count"], ""),
    ],
)
def test_a_suggestion_is_the_nearest_choice_whatever_its_case(name, choices, said):
    assert closest(name, choices) == said


def test_choices_are_read_once_so_that_any_iterable_will_do():
    assert closest("cuont", iter(["count"])) == "; did you mean 'count'?"
