"""The declaration, the kernel on large blocks, what a state says, and the page; without a session."""

import math
from datetime import date

import numpy as np
import pytest
from pydantic import ValidationError

from sparkds import document
from sparkds.errors import DataError
from sparkds.features.profile import Profile
from sparkds.features.profile.arrow import ARROW_SCHEMA, STATE_SCHEMA, state_of, state_row
from sparkds.features.profile.column_state import ColumnState
from sparkds.features.profile.finished import as_text, of_text
from sparkds.features.profile.kernel import Block, Channel, Sizes, SliceFold
from sparkds.features.profile.page import page
from sparkds.features.profile.results import Correlation, TableProfile, column_profile, spearman

SPEC = Profile(time_zone="UTC")
SIZES = Sizes(2048, 256, 200, 0)
NO_TEXTS = {"text_rows": np.zeros(0, np.int64), "text_at": lambda text, i: None}


def profile(state, name="x", dtype="double", spec=SPEC):
    return column_profile(spec, state, column=name, position=0, dtype=dtype, days=(None, None))


def of_floats(x, blocks=1):
    channel = Channel("x", "double", "number", 0, in_floats=0, correlated=True)
    fold = SliceFold([channel], SIZES)
    for part in np.array_split(np.asarray(x, float), blocks):
        fold.add(Block(part[None], None, np.zeros((0, len(part)), np.int64), None, **NO_TEXTS))
    return fold.result()[0]


def of_wholes(x, kind="integer", dtype="bigint", blocks=1):
    fold = SliceFold([Channel("x", dtype, kind, 0, in_wholes=0)], SIZES)
    for part in np.array_split(np.asarray(x, np.int64), blocks):
        fold.add(Block(np.zeros((0, len(part))), None, part[None], None, **NO_TEXTS))
    return fold.result()[0]


def test_a_declaration_says_what_is_wrong_with_it():
    for fields, told in {
        "quantiles": ({"quantiles": (0.5, 0.1)}, "give ascending shares"),
        "zone": ({"time_zone": "Europe/Berlim"}, "did you mean 'Europe/Berlin'"),
        "top": ({"top": 300}, "raise counters or lower top"),
        "twice": ({"columns": ("a", "a")}, "column 'a' is given twice"),
    }.values():
        with pytest.raises(ValidationError, match=told):
            Profile(**{"time_zone": "UTC", **fields})


def test_only_what_decides_states_is_in_their_hash():
    assert SPEC.state_hash == SPEC.model_copy(update={"quantiles": (0.5,), "top": 3, "id_like": 0.9}).state_hash
    for change in ({"time_zone": "Europe/Rome"}, {"counters": 100}, {"seed": 1}, {"time": "t"}, {"columns": ("a",)}):
        assert SPEC.state_hash != SPEC.model_copy(update=change).state_hash


def test_large_blocks_give_what_numpy_gives():
    x = np.random.default_rng(1).lognormal(3, 1, 150_000)
    x[::7] = 0.0
    x[1::1000] = -5.25
    found = profile(of_floats(x, blocks=3))
    assert (found.n, found.zeros, found.negatives) == (150_000, (x == 0).sum(), (x < 0).sum())
    assert found.mean == pytest.approx(x.mean())
    assert found.sd == pytest.approx(x.std(ddof=1))
    assert abs(found.distinct / len(np.unique(x)) - 1) < 4 * found.distinct_error
    assert found.top[0].value == "0.0"
    assert (x == 0).sum() - found.top_error <= found.top[0].n <= (x == 0).sum()
    assert found.top_error <= 150_000 / 500
    for quantile in found.quantiles:
        assert quantile.value == pytest.approx(np.quantile(x, quantile.share, method="inverted_cdf"), rel=2**-7)


def test_whole_numbers_beyond_what_a_double_holds_are_exact_in_range_and_values():
    found = profile(of_wholes([2**62 + 1, 2**62 + 1, -(2**63)]), dtype="bigint")
    assert (found.minimum, found.maximum) == (str(-(2**63)), str(2**62 + 1))
    assert found.top[0].value == str(2**62 + 1)
    assert found.distinct == 2


def test_instants_beyond_the_calendar_are_told_as_numbers():
    found = profile(of_wholes([2**62, 0], "timestamp", "timestamp"), dtype="timestamp")
    assert found.maximum == f"{2**62} (beyond the calendar)"
    assert found.minimum == "1970-01-01T00:00:00+00:00"
    assert found.quantiles[-1].shown.startswith("day ")
    assert math.isnan(found.mean)


def test_findings_follow_their_thresholds():
    rare = [0] * 990 + list(range(1, 11))
    assert profile(of_wholes(rare)).findings == ("near_constant",)
    assert profile(of_wholes([0] * 95 + [1] * 5), spec=SPEC.model_copy(update={"frequency_ratio": 19.1})).findings == ()
    assert profile(of_wholes([0] * 95 + [1] * 5)).findings == ("near_constant",)
    assert profile(of_wholes(np.arange(50_000), blocks=2)).findings == ("id_like",)
    assert profile(of_wholes(np.arange(9))).findings == ()
    assert profile(of_floats(np.random.default_rng(2).normal(size=100))).findings == ()
    assert profile(of_floats([np.nan] * 3)).findings == ("all_null",)
    assert profile(of_floats([1.0])).findings == ("constant",)


def test_a_state_is_the_same_after_it_was_stored():
    state = of_floats(np.random.default_rng(3).normal(size=3000))
    again = state_of(state_row(state))
    assert profile(again) == profile(state)
    assert again.sample.values.tolist() == state.sample.values.tolist()
    assert again.distinct.hashes.tolist() == state.distinct.hashes.tolist()
    assert list(ARROW_SCHEMA.names) == [part.strip().split(" ")[0].strip("`") for part in STATE_SCHEMA.replace("t,s", "t;s").split(",")]
    empty = ColumnState(kind="other", n=3, nulls=3)
    assert state_of(state_row(empty)).n == 3


def test_states_of_another_kind_are_not_added_unless_they_are_empty():
    number, text = of_floats([1.0]), ColumnState(kind="string", n=2, nulls=1)
    with pytest.raises(DataError, match="was of kind number in some slices and is string in others"):
        number + text
    nothing = ColumnState(kind="string", n=2, nulls=2)
    assert (number + nothing).n == (nothing + number).n == 3
    assert (nothing + number).kind == "number"


def test_a_profile_is_the_same_as_text_and_back():
    found = profile(of_floats([1.0, 2.0, float("nan")]))
    again = of_text(as_text(found))
    assert again == found


def test_ranks_with_missing_values_are_those_of_pandas():
    import pandas as pd

    rng = np.random.default_rng(4)
    x = rng.integers(0, 9, (60, 4)).astype(float)
    x[rng.random(60) < 0.2, 1] = np.nan
    x[rng.random(60) < 0.2, 2] = np.nan
    found, rows = spearman(x)
    expected = pd.DataFrame(x).corr(method="spearman").to_numpy()
    np.testing.assert_allclose(found[~np.eye(4, dtype=bool)], expected[~np.eye(4, dtype=bool)], atol=1e-12)
    assert rows[1, 2] == (~np.isnan(x[:, 1]) & ~np.isnan(x[:, 2])).sum()


def test_the_page_shows_columns_findings_and_correlations_and_no_value_becomes_markup():
    number = profile(of_floats([1.0, 2.0, 2.0, 5.0]), name="a|b")
    constant = profile(of_wholes([3, 3]), name="<c>", dtype="int")
    pair = Correlation("a|b", "<c>", 0.5, 2, math.nan, 0)
    blocks = page(TableProfile((number, constant), (pair,), 1, 4), SPEC, title="Profile of orders")
    markdown = document.markdown(blocks)
    assert "# Profile of orders" in markdown
    assert "a\\|b" in markdown
    assert "- Column '\\<c\\>' has one value only" in markdown
    assert "4 rows have no time" in markdown
    assert "2.0 (50.0%), 1.0 (25.0%), 5.0 (25.0%)" in markdown or "2.0 (50.0%), 5.0 (25.0%), 1.0 (25.0%)" in markdown
    assert "0.500" in markdown
    assert "&lt;c&gt;" in document.html("p", blocks, folder=None)
    dated = column_profile(
        SPEC.model_copy(update={"time": "t"}),
        of_floats([1.0]),
        column="x",
        position=0,
        dtype="double",
        days=(date(2026, 1, 1), date(2026, 1, 2)),
    )
    assert "days 2026-01-01 … 2026-01-02" in document.markdown(page(TableProfile((dated,), (), 2, 0), SPEC, title="t"))
