"""The direct road: the same statistics and counts as by way of a unit table, from one pass."""

import numpy as np
import pytest

from sparkds.errors import ConfigError
from sparkds.experiments.analysis import absolute_caps, counts_frame, statistics_frame, top_segments
from sparkds.experiments.direct import direct_statistics
from sparkds.experiments.units import units_frame

from .test_analysis import AS_OF
from .worlds import frames, spec, world

KEYS = ("experiment", "metric", "variant", "segment", "segment_value", "arm")


def without_percentile():
    declared = spec()
    kept = tuple(m for m in declared.metrics if m.name != "top_capped")
    names = {m.name for m in kept}
    experiments = tuple(
        e if e.metrics is None else e.model_copy(update={"metrics": tuple(n for n in e.metrics if n in names)})
        for e in declared.experiments
    )
    return declared.model_copy(update={"metrics": kept, "experiments": experiments})


@pytest.mark.parametrize("seed", [21, 22])
def test_both_roads_give_the_same_statistics_and_counts(spark, tables, seed):
    from sparkds.tables import TableSpec

    given, declared = world(seed), without_percentile()
    assert absolute_caps(declared)
    assert any(e.trigger is not None for e in declared.experiments)
    assert any(e.phases for e in declared.experiments)
    exposures, facts = frames(spark, given)
    tables.replace("units", units_frame(declared, exposures, facts, as_of=AS_OF), rows=None, metadata={}, spec=TableSpec())
    units = tables.read("units")
    shown = top_segments(declared, units)
    wanted = {tuple(r[k] for k in KEYS): r.asDict(True) for r in statistics_frame(declared, units, as_of=AS_OF, shown=shown).collect()}
    direct = direct_statistics(declared, exposures, facts, as_of=AS_OF)
    found = {tuple(r[k] for k in KEYS): r for r in direct.statistics.to_pylist()}
    assert any(cell[4] == "(other)" for cell in wanted)
    assert any(row["bins"] for row in wanted.values())
    assert set(found) == set(wanted)
    assert len(found) == direct.statistics.num_rows
    for cell, row in wanted.items():
        for name in ("n", "n_not_observed", "n_incomplete", "n_capped"):
            assert found[cell][name] == row[name], (cell, name)
        np.testing.assert_allclose(found[cell]["mean"], row["mean"], rtol=1e-12, atol=1e-12, err_msg=str(cell))
        np.testing.assert_allclose(found[cell]["m2"], row["m2"], rtol=1e-10, atol=1e-10, err_msg=str(cell))
        assert sorted(found[cell]["bins"], key=str) == sorted(row["bins"], key=str)
    names = ("experiment", "segment", "segment_value", "arm", "exposed", "analysed", "n_crossover")
    counted = {tuple(r[n] for n in names) for r in counts_frame(declared, units, shown=shown).collect()}
    assert {tuple(r[n] for n in names) for r in direct.counts.to_pylist()} == counted


def test_a_percentile_cap_needs_the_unit_table(spark):
    exposures, facts = frames(spark, world(23))
    with pytest.raises(ConfigError, match="'top_capped': a percentile cap needs the unit table"):
        direct_statistics(spec(), exposures, facts, as_of=AS_OF)


def test_no_exposures_give_no_statistics(spark):
    exposures, facts = frames(spark, world(24))
    direct = direct_statistics(without_percentile(), exposures.limit(0), facts, as_of=AS_OF)
    assert (direct.statistics.num_rows, direct.counts.num_rows) == (0, 0)
