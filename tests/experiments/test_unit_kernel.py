"""The unit kernel against loops over rows."""

import numpy as np
import pytest

from sparkds.experiments.measures import Measure, Stretch
from sparkds.experiments.unit_kernel import FactRows, Ranges, distinct_in_ranges, first_exposures, measured, next_row, range_sums

PREDICATES = ("a > 3", "b = 1", "c")
STRETCHES = (Stretch(), Stretch(0, 5), Stretch(3, 9), Stretch(-7, 0))


def facts_of(rng, n, n_units, kind):
    unit = np.sort(rng.integers(0, n_units, n)).astype(np.int64)
    time = rng.integers(0, 25, n).astype(np.int64)
    order = np.lexsort((time, unit))
    values = rng.integers(-9, 9, n) if kind == "int" else rng.normal(0, 1, n)
    return FactRows(
        unit[order],
        time[order],
        {p: rng.random(n) < 0.5 for p in PREDICATES},
        {"v": (values, rng.random(n) < 0.8)},
        {"d": (rng.integers(0, 4, n), rng.random(n) < 0.9)},
    )


def rows_in(facts, unit, low, high):
    return [i for i in range(len(facts.unit)) if facts.unit[i] == unit and low <= facts.time[i] < high]


def naive_steps(facts, steps, rows):
    at, done = None, 0
    for step in steps:
        times = [facts.time[i] for i in rows if facts.where[step][i] and (at is None or facts.time[i] >= at)]
        if not times:
            return done
        at, done = min(times), done + 1
    return done


def naive(facts, measure, unit, time, until):
    low = time + measure.stretch.start
    rows = rows_in(facts, unit, low, until if measure.stretch.end is None else time + measure.stretch.end)
    if measure.aggregate == "steps":
        return naive_steps(facts, measure.where, rows)
    rows = [i for i in rows if all(facts.where[p][i] for p in measure.where)]
    if measure.aggregate == "rows":
        return len(rows)
    values, exists = (facts.codes if measure.aggregate == "distinct" else facts.values)[measure.column]
    found = [values[i] for i in rows if exists[i]]
    return {"values": len(found), "sum": sum(found), "distinct": len(set(found))}[measure.aggregate]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["int", "float"])
def test_every_measure_equals_a_loop_over_the_rows(seed, kind):
    rng = np.random.default_rng(seed)
    n_units = int(rng.integers(1, 6))
    facts = facts_of(rng, int(rng.integers(0, 80)), n_units, kind)
    n = int(rng.integers(0, 30))
    unit = rng.integers(0, n_units + 2, n).astype(np.int64)  # some without any fact
    time, until = rng.integers(-5, 30, n).astype(np.int64), rng.integers(10, 30, n).astype(np.int64)
    measures = [
        Measure("f", aggregate, column, where, stretch)
        for stretch in STRETCHES
        for where in ((), ("a > 3",))
        for aggregate, column in (("rows", ""), ("values", "v"), ("sum", "v"), ("distinct", "d"))
    ] + [Measure("f", "steps", "", PREDICATES, stretch) for stretch in STRETCHES]
    found = measured(facts, Ranges(facts, unit, time, until), measures)
    for measure in measures:
        wanted = [naive(facts, measure, u, t, e) for u, t, e in zip(unit, time, until, strict=True)]
        np.testing.assert_allclose(found[measure], np.array(wanted, dtype=float), rtol=1e-13, atol=1e-13, err_msg=str(measure))


def test_integer_sums_are_exact_beside_a_giant():
    facts = FactRows(np.array([0, 1]), np.array([0, 0]), {}, {"v": (np.array([2**61, 1]), np.ones(2, dtype=bool))})
    ranges = Ranges(facts, np.array([1]), np.array([0]), np.array([9]))
    measure = Measure("f", "sum", "v")
    assert measured(facts, ranges, [measure])[measure].tolist() == [1.0]


def test_a_sum_of_doubles_does_not_suffer_from_a_giant_before_it():
    facts = FactRows(np.array([0, 1]), np.array([0, 0]), {}, {"v": (np.array([1e300, 0.1]), np.ones(2, dtype=bool))})
    ranges = Ranges(facts, np.array([1]), np.array([0]), np.array([9]))
    measure = Measure("f", "sum", "v")
    assert measured(facts, ranges, [measure])[measure].tolist() == [0.1]


def test_integers_whose_sum_does_not_fit_are_refused():
    facts = FactRows(np.array([0, 0]), np.array([0, 0]), {}, {"v": (np.array([2**62, 2**62]), np.ones(2, dtype=bool))})
    with pytest.raises(OverflowError, match="'v' does not fit in 64 bits"):
        measured(facts, Ranges(facts, np.array([0]), np.array([0]), np.array([9])), [Measure("f", "sum", "v")])


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_distinct_counts_do_not_depend_on_how_many_ranges_go_at_a_time(most):
    rng = np.random.default_rng(most)
    unit, codes = np.zeros(20, dtype=np.int64), rng.integers(0, 4, 20)
    first = rng.integers(0, 20, 15).astype(np.int64)
    after = np.minimum(20, first + rng.integers(0, 9, 15))
    wanted = [len(set(codes[a:b])) for a, b in zip(first, after, strict=True)]
    assert distinct_in_ranges(unit, codes, np.ones(20, dtype=bool), first, after, most=most).tolist() == wanted


def test_the_first_exposure_is_the_earliest_and_arms_are_counted():
    found = first_exposures(
        unit=np.array([1, 0, 1, 1, 0]), experiment=np.array([0, 0, 0, 1, 0]), arm=np.array([1, 0, 0, 1, 0]), time=np.array([5, 3, 7, 1, 2])
    )
    assert found.unit.tolist() == [0, 1, 1]
    assert found.experiment.tolist() == [0, 0, 1]
    assert found.arm.tolist() == [0, 1, 1]
    assert found.time.tolist() == [2, 5, 1]
    assert found.n_exposures.tolist() == [2, 2, 1]
    assert found.n_arms.tolist() == [1, 2, 1]
    assert found.row.tolist() == [4, 0, 3]


def test_no_exposures_give_no_rows():
    none = np.zeros(0, dtype=np.int64)
    assert len(first_exposures(none, none, none, none).row) == 0


def test_ranges_of_nothing_sum_to_zero():
    assert range_sums(np.array([1.0, 2.0]), np.array([0, 2, 1]), np.array([2, 2, 1])).tolist() == [3.0, 0.0, 0.0]
    assert next_row(np.array([False, True, False])).tolist() == [1, 1, 3, 3]
