"""Unit table and statistics on Spark against naive loops."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from sparkds.days import known_at
from sparkds.experiments.analysis import counts_frame, percentile_caps, statistics_frame, top_segments
from sparkds.experiments.metrics import PrePeriod, variants
from sparkds.experiments.units import units_frame
from tests.experiments.worlds import START, anchored, first_seen, frames, spec, values_of, world

AS_OF = date(2026, 3, 11)


def end_of(as_of, declared):
    from zoneinfo import ZoneInfo

    return known_at(as_of, ZoneInfo(declared.time_zone))


def naive_statistics(given, declared, as_of, caps):
    """Cell -> list of vectors of the units in it."""
    end_of_day = end_of(as_of, declared)
    cells = {}
    for experiment in declared.experiments:
        for unit, (at, arm, n_arms, row) in first_seen(given, experiment, end_of_day).items():
            anchor = anchored(given, experiment, unit, at, end_of_day)
            if anchor is None or (n_arms > 1 and experiment.crossover == "exclude"):
                continue
            for metric in declared.metrics_of(experiment):
                for variant in variants(metric, experiment.novelty_days):
                    low = anchor + timedelta(microseconds=variant.stretch.start)
                    if variant.stretch.end is None:
                        high = min(experiment.end or end_of_day, end_of_day)
                    else:
                        high = anchor + timedelta(microseconds=variant.stretch.end)
                        if (metric.complete_only or variant.name.startswith("day_")) and high > end_of_day:
                            continue
                    values, observed = values_of(given, metric, unit, low, min(high, end_of_day))
                    if metric.absent == "not_observed" and not observed:
                        continue
                    cap = caps.get((experiment.name, metric.name)) if variant.capped else None
                    x = [min(v, cap) if cap is not None and i == 0 else v for i, v in enumerate(values)]
                    for covariate in metric.covariates:
                        if isinstance(covariate, PrePeriod):
                            before, seen = values_of(given, metric, unit, anchor - timedelta(days=covariate.days), anchor)
                            if len(values) == 2:
                                days = timedelta(days=covariate.days)
                                seen = any(r[0] == unit and anchor - days <= r[1] < anchor and r[2] is not None for r in given[1]) or any(
                                    r[0] == unit and anchor - days <= r[1] < anchor for r in given[2]
                                )
                            x += [*before, float(not seen)]
                        else:
                            x += [row[6] or 0.0, float(row[6] is None)]
                    segments = [("", "")]
                    if variant.name == "declared":
                        segments += [(s, {"country": row[4], "device": row[5]}[s] or "(null)") for s in experiment.segments]
                        if experiment.phases:
                            segments.append(("(phase)", str(int(at >= experiment.phases[0].start))))
                    for segment in segments:
                        cells.setdefault((experiment.name, metric.name, variant.name, *segment, arm), []).append(x)
    return cells


@pytest.mark.parametrize("seed", [1, 2])
def test_statistics_equal_the_naive_loops(spark, tables, seed):
    from sparkds.tables import TableSpec

    given, declared = world(seed), spec()
    exposures, facts = frames(spark, given)
    tables.replace("units", units_frame(declared, exposures, facts, as_of=AS_OF), rows=None, metadata={}, spec=TableSpec())
    units = tables.read("units")
    caps = percentile_caps(declared, units)
    assert set(caps) == {("one", "top_capped")}
    found = statistics_frame(declared, units, as_of=AS_OF, caps=caps).collect()
    wanted = naive_statistics(given, declared, AS_OF, caps | {("one", "capped"): 12.5})
    keys = ("experiment", "metric", "variant", "segment", "segment_value", "arm")
    told = {tuple(row[k] for k in keys): row for row in found if row["n"]}
    assert len(found) == len({tuple(row[k] for k in keys) for row in found})
    assert set(told) == set(wanted)
    for cell, vectors in wanted.items():
        x, row = np.array(vectors, dtype=float), told[cell]
        assert row["n"] == len(x), cell
        np.testing.assert_allclose(row["mean"], x.mean(axis=0), rtol=1e-11, atol=1e-11, err_msg=str(cell))
        m2 = (x - x.mean(axis=0)).T @ (x - x.mean(axis=0))
        np.testing.assert_allclose(row["m2"], m2.ravel(), rtol=1e-9, atol=1e-9, err_msg=str(cell))
        n_binned = {"median_revenue": len(x), "typical_order": sum(x[:, 0])}.get(cell[1], 0)
        assert sum(b["n"] for b in row["bins"]) == n_binned
    values = sorted(
        v[0] for c, vs in naive_statistics(given, declared, AS_OF, {}).items() if c[:4] == ("one", "top_capped", "uncapped", "") for v in vs
    )
    nonzero = [v for v in values if v != 0]
    assert caps["one", "top_capped"] == pytest.approx(nonzero[int(np.ceil(0.8 * len(nonzero))) - 1], rel=1e-3)


def test_counts_of_units_are_those_of_the_loops(spark):
    given, declared = world(3), spec()
    exposures, facts = frames(spark, given)
    units = units_frame(declared, exposures, facts, as_of=AS_OF)
    shown = top_segments(declared, units)
    assert len(shown["two", "country"]) == 2
    rows = counts_frame(declared, units, shown=shown).collect()
    end_of_day = end_of(AS_OF, declared)
    for experiment in declared.experiments:
        seen = first_seen(given, experiment, end_of_day)
        for arm in experiment.arms:
            mine = {u: s for u, s in seen.items() if s[1] == arm}
            (row,) = [r for r in rows if (r["experiment"], r["arm"], r["segment"]) == (experiment.name, arm, "")]
            assert row["exposed"] == len(mine)
            assert row["n_crossover"] == sum(s[2] > 1 for s in mine.values())
            analysed = [
                u
                for u, s in mine.items()
                if (s[2] == 1 or experiment.crossover == "first") and anchored(given, experiment, u, s[0], end_of_day) is not None
            ]
            assert row["analysed"] == len(analysed)
            days = {
                r["segment_value"]: r["exposed"]
                for r in rows
                if (r["experiment"], r["arm"], r["segment"]) == (experiment.name, arm, "(day)")
            }
            assert sum(days.values()) == len(mine)
            assert set(days) == {str((s[0] + timedelta(hours=1)).date()) for s in mine.values()}  # Berlin is one hour ahead
    other = [r for r in rows if r["experiment"] == "two" and r["segment"] == "country"]
    assert {r["segment_value"] for r in other} <= {*shown["two", "country"], "(other)"}


def test_statistics_do_not_depend_on_the_partitioning(spark):
    given, declared = world(4), spec()
    exposures, facts = frames(spark, given)
    units = units_frame(declared, exposures, facts, as_of=AS_OF)
    keys = ("experiment", "metric", "variant", "segment", "segment_value", "arm")
    told = []
    for n in (1, 3):
        rows = statistics_frame(declared, units.repartition(n), as_of=AS_OF).collect()
        told.append({tuple(r[k] for k in keys): (r["n"], *r["mean"], *r["m2"]) for r in rows})
    assert set(told[0]) == set(told[1])
    for cell, row in told[0].items():
        np.testing.assert_allclose(told[1][cell], row, rtol=1e-10, atol=1e-10)


def test_each_table_is_scanned_once_and_moved_once(spark, tmp_path):
    given, declared = world(5), spec()
    exposures, facts = frames(spark, given)
    exposures.write.parquet(str(tmp_path / "exposures"))
    stored = {}
    for name, frame in facts.items():
        frame.write.parquet(str(tmp_path / name))
        stored[name] = spark.read.parquet(str(tmp_path / name))
    units = units_frame(declared, spark.read.parquet(str(tmp_path / "exposures")), stored, as_of=AS_OF)
    plan = units._explain_string() if hasattr(units, "_explain_string") else units._jdf.queryExecution().toString()
    physical = plan.split("== Physical Plan ==")[-1]
    assert physical.count("FileScan parquet") == 3
    assert physical.count("Exchange ") == 1
    counted = statistics_frame(
        declared, spark.read.parquet(str(tmp_path / "orders")).limit(0).join(units, "unit", "right") if False else units, as_of=AS_OF
    )
    plan = counted._explain_string() if hasattr(counted, "_explain_string") else counted._jdf.queryExecution().toString()
    assert plan.split("== Physical Plan ==")[-1].count("Exchange ") == 2


def test_an_arm_that_is_not_declared_is_an_error_with_its_name(spark):
    given, declared = world(6), spec()
    given[0].append(("one", "u1", "z", START, "D", None, None))
    exposures, facts = frames(spark, given)
    with pytest.raises(Exception, match=r"arm 'z' of experiment 'one' is not declared; add it to its arms"):
        units_frame(declared, exposures, facts, as_of=AS_OF).count()


def test_the_zone_of_the_session_does_not_matter(spark):
    given, declared = world(7), spec()
    exposures, facts = frames(spark, given)
    assert datetime(2026, 3, 11, 23, tzinfo=UTC) == end_of(AS_OF, declared)
    n = units_frame(declared, exposures, facts, as_of=AS_OF).where("experiment = 'one'").count()
    assert n == len(first_seen(given, declared.experiments[0], end_of(AS_OF, declared)))


def without_trigger():
    declared = spec()
    kept = tuple(e for e in declared.experiments if e.trigger is None)
    return declared.model_copy(update={"experiments": kept})


def unit_rows(frame, declared):
    names = ["experiment", "unit", "arm", "first_exposure", "anchor", "n_exposures", "n_arms"]
    return {(r[0], r[1]): (*r[:-1], *r[-1]) for r in map(tuple, frame.select(*names, "measures").collect())}


def names_of(declared):
    return tuple(m.name for m in declared.numbers)


def assert_same_units(found, wanted):
    assert set(found) == set(wanted)
    for key, row in wanted.items():
        assert found[key][:7] == row[:7], key
        np.testing.assert_allclose(found[key][7:], row[7:], rtol=1e-9, atol=1e-9, err_msg=str(key))


def split(given, through, declared):
    """What was there at the end of a day, and everything."""
    end = end_of(through, declared)
    times = (3, 1, 1)
    return [[row for row in rows if row[at] < end] for rows, at in zip(given, times, strict=True)]


@pytest.mark.parametrize("seed", [11, 12])
def test_a_day_added_to_stored_units_equals_a_full_computation(spark, tables, seed):
    from sparkds.experiments.units import StoredUnits
    from sparkds.tables import TableSpec

    given, declared, through = world(seed), without_trigger(), date(2026, 3, 7)
    exposures, facts = frames(spark, split(given, through, declared))
    tables.replace("units", units_frame(declared, exposures, facts, as_of=through), rows=None, metadata={}, spec=TableSpec())
    late = [("u3", START + timedelta(hours=30), 11.5), ("u4", START + timedelta(hours=31), 3.25)]
    given[1].extend(late)
    first = (
        min(row[3] for row in given[0] if row[:2] == ("one", "u5"))
        if any(r[:2] == ("one", "u5") for r in given[0])
        else START + timedelta(days=3)
    )
    given[0].append(("one", "u5", "a", max(START, first - timedelta(hours=7)), "D", None, None))
    flagged = spark.createDataFrame([("u3",), ("u4",), ("u5",)], "unit string")
    exposures, facts = frames(spark, given)
    stored = StoredUnits(tables.read("units"), through, names_of(declared), flagged)
    added = unit_rows(units_frame(declared, exposures, facts, as_of=AS_OF, stored=stored), declared)
    assert_same_units(added, unit_rows(units_frame(declared, exposures, facts, as_of=AS_OF), declared))


def test_stored_units_read_only_new_facts_and_what_pre_periods_reach(spark, tmp_path):
    from sparkds.experiments.units import StoredUnits

    given, declared, through = world(13), without_trigger(), date(2026, 3, 9)
    additive = tuple(m for m in declared.metrics if m.name in ("n_orders", "revenue", "bought"))
    declared = declared.model_copy(
        update={"metrics": additive, "experiments": tuple(e.model_copy(update={"metrics": None}) for e in declared.experiments)}
    )
    exposures, facts = frames(spark, split(given, through, declared))
    units_frame(declared, exposures, facts, as_of=through).write.parquet(str(tmp_path / "units"))
    exposures, facts = frames(spark, given)
    cut = end_of(through, declared) - timedelta(days=declared.longest_pre_days)
    recent = {"orders": facts["orders"].where(facts["orders"]["time"] >= cut), "views": facts["views"]}
    stored = StoredUnits(spark.read.parquet(str(tmp_path / "units")), through, names_of(declared))
    found = unit_rows(units_frame(declared, exposures, recent, as_of=AS_OF, stored=stored), declared)
    assert_same_units(found, unit_rows(units_frame(declared, exposures, facts, as_of=AS_OF), declared))


def test_a_new_metric_is_computed_from_all_facts_beside_stored_ones(spark, tmp_path):
    from sparkds.experiments.units import StoredUnits

    given, declared, through = world(14), without_trigger(), date(2026, 3, 8)
    before = declared.model_copy(
        update={
            "metrics": declared.metrics[:1],
            "experiments": tuple(e.model_copy(update={"metrics": None}) for e in declared.experiments),
        }
    )
    exposures, facts = frames(spark, split(given, through, declared))
    units_frame(before, exposures, facts, as_of=through).write.parquet(str(tmp_path / "units"))
    exposures, facts = frames(spark, given)
    stored = StoredUnits(spark.read.parquet(str(tmp_path / "units")), through, names_of(before))
    found = unit_rows(units_frame(declared, exposures, facts, as_of=AS_OF, stored=stored), declared)
    assert_same_units(found, unit_rows(units_frame(declared, exposures, facts, as_of=AS_OF), declared))


def test_a_late_exposure_that_nobody_flagged_is_an_error(spark, tmp_path):
    from sparkds.experiments.units import StoredUnits

    given, declared, through = world(15), without_trigger(), date(2026, 3, 8)
    exposures, facts = frames(spark, split(given, through, declared))
    units_frame(declared, exposures, facts, as_of=through).write.parquet(str(tmp_path / "units"))
    given[0].append(("one", "new", "a", START + timedelta(hours=1), "D", None, None))
    exposures, facts = frames(spark, given)
    stored = StoredUnits(spark.read.parquet(str(tmp_path / "units")), through, names_of(declared))
    with pytest.raises(Exception, match="its unit is not flagged"):
        units_frame(declared, exposures, facts, as_of=AS_OF, stored=stored).count()
