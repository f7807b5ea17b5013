"""Corrections against statsmodels; levels against the decisions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkds.stats.multiplicity import adjust

multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
NAMES = {
    "bonferroni": "bonferroni", "sidak": "sidak", "holm": "holm", "holm_sidak": "holm-sidak",
    "hochberg": "simes-hochberg", "bh": "fdr_bh", "by": "fdr_by",
}  # fmt: skip


@pytest.mark.parametrize("method", NAMES)
@given(st.lists(st.floats(1e-12, 0.999999), min_size=1, max_size=12))
def test_corrected_values_equal_statsmodels(method, pvalues):
    found = adjust(pvalues, method=method, alpha=0.05)
    wanted = multipletests(pvalues, alpha=0.05, method=NAMES[method])[1]
    np.testing.assert_allclose(found.pvalues, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", [*NAMES, "none"])
@given(st.lists(st.floats(1e-6, 0.2), min_size=1, max_size=8))
def test_an_interval_at_its_level_leaves_out_the_null_if_and_only_if_it_is_rejected(method, pvalues):
    found = adjust(pvalues, method=method, alpha=0.05)
    for p, reject, level in zip(pvalues, found.reject, found.levels, strict=True):
        if abs(p - level) > 1e-12:
            assert (p < level) == reject


def test_what_is_not_computable_is_no_part_of_the_family():
    found = adjust([0.01, math.nan, 0.02], method="bonferroni", alpha=0.05)
    assert found.pvalues[[0, 2]].tolist() == [0.02, 0.04]
    assert math.isnan(found.pvalues[1])
    assert math.isnan(found.levels[1])
    assert found.reject.tolist() == [True, False, True]
    assert len(adjust([], method="holm", alpha=0.05).pvalues) == 0


def test_no_correction_leaves_everything():
    found = adjust([0.03, 0.2], method="none", alpha=0.05)
    assert found.pvalues.tolist() == [0.03, 0.2]
    assert found.levels.tolist() == [0.05, 0.05]
