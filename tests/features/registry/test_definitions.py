"""What a changed declaration changes, column by column."""

import pytest

from sparkds.features import RFM, Count, FeatureSet, Refunds, Sum
from sparkds.features.registry.definitions import change, column_definitions, with_only

ONE = FeatureSet(
    keys=("k",), event_time="t", time_zone="UTC", windows=(7, 30), lifetime=True, aggregations=(Count(), Sum(column="x", where="x > 1"))
)  # fmt: skip


def test_the_same_declaration_in_another_order_and_with_other_names_of_types_is_the_same():
    turned = ONE.model_copy(update={"aggregations": tuple(reversed(ONE.aggregations))})
    assert change(ONE, turned).kind == "same"
    assert ONE.definition_hash != turned.definition_hash


@pytest.mark.parametrize(
    ("update", "kind", "added", "redefined", "dropped"),
    [
        ({"windows": (7, 30, 90)}, "extension", ("event_count_90d", "x_sum_90d"), (), ()),
        ({"windows": (7,)}, "changed", (), (), ("event_count_30d", "x_sum_30d")),
        ({"time_zone": "Europe/Berlin"}, "changed", (), tuple(column_definitions(ONE)), ()),
        (
            {"aggregations": (Count(), Sum(column="x", where="x > 2"))},
            "changed", (), ("x_sum_7d", "x_sum_30d", "x_sum_lifetime"), (),
        ),
        (
            {"rfm": RFM(value="x", frequency="orders", monetary="sum")},
            "extension", RFM(value="x", frequency="orders", monetary="sum").columns, (), (),
        ),
    ],
)  # fmt: skip
def test_a_changed_declaration_is_an_extension_only_when_nothing_is_redefined_or_dropped(update, kind, added, redefined, dropped):
    found = change(ONE, ONE.model_copy(update=update))
    assert (found.kind, set(found.added), set(found.redefined), set(found.dropped)) == (kind, set(added), set(redefined), set(dropped))


def test_renaming_a_feature_keeps_its_definition_but_is_a_change_of_columns():
    renamed = ONE.model_copy(update={"aggregations": (Count(name="orders"), ONE.aggregations[1])})
    assert column_definitions(renamed)["orders_7d"] == column_definitions(ONE)["event_count_7d"]
    assert change(ONE, renamed).kind == "changed"


def test_a_declaration_of_some_columns_has_them_with_the_same_definitions():
    more = ONE.model_copy(update={"windows": (7, 30, 90), "rfm": RFM(value="x", frequency="orders", monetary="sum")})
    added = change(ONE, more).added
    only = with_only(more, added)
    assert set(column_definitions(only)) == set(added)
    assert all(column_definitions(only)[name] == column_definitions(more)[name] for name in added)
    apart = ONE.model_copy(update={"refunds": Refunds(column="x", rule="apart")})
    assert set(column_definitions(with_only(apart, ("x_sum_7d",)))) >= {"x_sum_7d"}
