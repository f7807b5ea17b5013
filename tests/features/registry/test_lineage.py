"""Columns behind features: what predicates name, and the way back over several tables."""

import pytest

from sparkds.features import RFM, Count, FeatureSet, Last, Sum
from sparkds.features.registry.lineage import Source, named_columns, origins_of, steps_back

EVENTS = ["customer_id", "t", "amount", "channel", "Preis €", "seq", "date"]


@pytest.mark.parametrize(
    ("predicate", "named"),
    [
        ("amount > 3", ("amount",)),
        ("AMOUNT > 3 and channel = 'date'", ("amount", "channel")),
        ("`Preis €` is not null", ("Preis €",)),
        ("date(t) > '2026-01-01'", ("t",)),
        ("channel = 'it''s amount' or channel = 'a\\\\' and seq = 1", ("channel", "seq")),
        ("amounts > 1", ()),
        ('channel = "amount"', ("channel",)),
    ],
)
def test_a_predicate_names_columns_but_not_texts_functions_or_longer_words(predicate, named):
    assert named_columns(predicate, EVENTS) == named


def test_a_feature_follows_from_its_value_its_tie_its_predicate_and_the_time_of_the_event():
    spec = FeatureSet(
        keys=("customer_id",), event_time="t", time_zone="UTC", windows=(7,),
        aggregations=(Count(where="channel = 'web'"), Sum(column="amount"), Last(column="Preis €", tie="seq")),
        rfm=RFM(value="amount", frequency="orders", monetary="sum"),
    )  # fmt: skip
    told = origins_of(spec, "orders", EVENTS)
    assert told["event_count_7d"].sources == (Source("orders", "channel"), Source("orders", "t"))
    assert told["amount_sum_7d"].sources == (Source("orders", "amount"), Source("orders", "t"))
    assert set(told["Preis €_last_7d"].sources) == {Source("orders", c) for c in ("Preis €", "seq", "t")}
    assert Source("orders", "amount") in told["rfm_segment"].sources
    assert told["amount_sum_7d"].unit == "unit of amount"
    assert set(told) == {f.name for f in spec.computed} | set(spec.rfm_columns)


def test_the_way_back_goes_on_through_tables_that_are_known_and_ends_in_a_circle():
    origins = {
        "made": {"ratio": (Source("features", "a"), Source("features", "b"))},
        "features": {"a": (Source("orders", "amount"),), "b": (Source("made", "ratio"),)},
    }
    steps = list(steps_back(Source("made", "ratio"), origins))
    assert [(s.depth, ".".join(s.source), s.known) for s in steps] == [
        (0, "made.ratio", True), (1, "features.a", True), (2, "orders.amount", False), (1, "features.b", True), (2, "made.ratio", True),
    ]  # fmt: skip
