"""The job: what a run writes, what a second run leaves alone, what a day adds, and what bad input is told."""

import json
import math
import random
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from sparkds import config
from sparkds.cli import main
from sparkds.errors import ColumnError, ConfigError, DataError, TableError, WindowError
from sparkds.jobs.experiment_analyzer import Config, run
from sparkds.tables import Tables, TableSpec

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CONF = {
    "time_zone": "UTC",
    "exposures": {"table": "exposures"},
    "facts": [{"name": "orders", "table": "orders"}],
    "metrics": [
        {"kind": "sum", "name": "revenue", "fact": "orders", "column": "amount", "role": "primary", "window": {"days": 4},
         "covariates": [{"kind": "pre_period", "days": 5}], "cap": {"kind": "percentile", "share": 0.98}},
        {"kind": "proportion", "name": "bought", "fact": "orders", "role": "primary"},
        {"kind": "count", "name": "n_orders", "fact": "orders", "role": "guardrail", "margin": 0.2},
    ],
    "experiments": [
        {"name": "button", "arms": {"a": 0.5, "b": 0.5}, "control": "a", "start": START.isoformat(), "alpha": 0.05, "correction": "holm",
         "segments": ["country"], "smallest_segment": 20, "novelty_days": 3,
         "peeking": {"kind": "always_valid", "planned_n": 300}},
    ],
}  # fmt: skip


def world(n=300, seed=1, effect=3.0):
    rng = random.Random(seed)
    exposures, orders = [], []
    for unit in range(n):
        arm = rng.choice("ab")
        seen = START + timedelta(hours=rng.randrange(0, 24 * 8))
        exposures.append(("button", f"u{unit}", arm, seen, rng.choice(["DE", "FR"])))
        level = rng.lognormvariate(1, 0.5)
        for _ in range(rng.randrange(0, 6)):
            at = START + timedelta(hours=rng.randrange(-24 * 6, 24 * 12))
            orders.append((f"u{unit}", at, round(level + (effect if arm == "b" and at >= seen else 0), 2)))
    return exposures, orders


def write(spark, root, exposures, orders):
    tables = Tables(spark, str(root / "in"))
    schema = "experiment string, unit string, arm string, time timestamp, country string"
    feed = TableSpec(change_feed=True)
    tables.replace("exposures", spark.createDataFrame(exposures, schema), rows=None, metadata={}, spec=feed)
    tables.replace("orders", spark.createDataFrame(orders, "unit string, time timestamp, amount double"), rows=None, metadata={}, spec=feed)


def until(rows, at, day):
    return [row for row in rows if row[at] < START + timedelta(days=day)]


def go(spark, root, conf=CONF, out="out", **asked):
    settings = conf if isinstance(conf, Config) else Config.model_validate(conf)
    return run(config=settings, input=str(root / "in"), output=str(root / out), spark=spark, now=NOW, **asked)


def day(n):
    return (START + timedelta(days=n - 1)).date()


def rows_of(spark, root, name, out="out", drop=("definition_hash",)):
    frame = Tables(spark, str(root / out)).read(f"experiments_{name}")
    return [{k: v for k, v in row.asDict(recursive=True).items() if k not in drop} for row in frame.collect()]


def keyed(rows):
    keys = [
        k
        for k in ("as_of", "experiment", "kind", "name", "metric", "variant", "segment", "segment_value", "arm", "scale", "unit")
        if k in rows[0]
    ]
    found = {tuple(str(row[k]) for k in keys): row for row in rows}
    assert len(found) == len(rows)
    return found


def assert_same(found, wanted):
    found, wanted = keyed(found), keyed(wanted)
    assert set(found) == set(wanted)
    for key, row in wanted.items():
        for name, value in row.items():
            other = found[key][name]
            if isinstance(value, float) and not math.isnan(value):
                assert other == pytest.approx(value, rel=1e-9, abs=1e-9), (key, name)
            elif isinstance(value, list) and value and isinstance(value[0], float):
                np.testing.assert_allclose(other, value, rtol=1e-9, atol=1e-9)
            elif not isinstance(value, float):
                assert other == value, (key, name)


@pytest.fixture(scope="module")
def analysed(spark, tmp_path_factory):
    """One experiment analysed on day 10."""
    root = tmp_path_factory.mktemp("analysed")
    write(spark, root, *world())
    return root, go(spark, root, as_of=day(10))


def test_effects_are_those_of_pandas_and_scipy(spark, analysed):
    from scipy import stats

    root, _ = analysed
    exposures, orders = world()
    end = START + timedelta(days=10)
    arms = {"a": [], "b": []}
    for _, unit, arm, seen, _ in exposures:
        arms[arm].append(float(any(u == unit and seen <= at < end for u, at, _ in orders)))
    rows = rows_of(spark, root, "results")
    (row,) = [r for r in rows if (r["name"], r["scale"], r["segment"], r["variant"]) == ("bought", "absolute", "", "declared")]
    assert (row["n_control"], row["n_treatment"]) == (len(arms["a"]), len(arms["b"]))
    assert row["value"] == pytest.approx(np.mean(arms["b"]) - np.mean(arms["a"]))
    assert row["n_units"] == 300
    statistics = [r for r in rows_of(spark, root, "statistics") if (r["metric"], r["variant"], r["segment"]) == ("revenue", "uncapped", "")]
    by_arm = {r["arm"]: r for r in statistics}
    values = {"a": [], "b": []}
    for _, unit, arm, seen, _ in exposures:
        values[arm].append(sum(amount for u, at, amount in orders if u == unit and seen <= at < min(end, seen + timedelta(days=4))))
    for arm, mine in values.items():
        assert by_arm[arm]["mean"][0] == pytest.approx(np.mean(mine))
        assert by_arm[arm]["m2"][0] == pytest.approx(np.var(mine) * len(mine))
    plain = stats.ttest_ind(values["b"], values["a"], equal_var=False)
    assert plain.statistic > 2


def test_results_hold_effects_checks_and_decisions(spark, analysed):
    root, told = analysed
    rows = rows_of(spark, root, "results")
    names = {(r["kind"], r["name"]) for r in rows}
    assert {("check", "sample_ratio"), ("check", "sample_ratio_sequential"), ("check", "crossover"), ("check", "pre_period_bias")} <= names
    assert {("check", "novelty"), ("check", "heterogeneity"), ("check", "simpson"), ("check", "outlier_influence")} <= names
    assert ("decision", "(all metrics)") in names
    variants = {r["variant"] for r in rows if (r["kind"], r["name"]) == ("effect", "revenue")}
    assert variants == {"declared", "unadjusted", "uncapped", "day_0", "day_1", "day_2"}
    (adjusted,) = [r for r in rows if (r["name"], r["variant"], r["scale"], r["segment"]) == ("revenue", "declared", "absolute", "")]
    (plain,) = [r for r in rows if (r["name"], r["variant"], r["scale"], r["segment"]) == ("revenue", "unadjusted", "absolute", "")]
    assert 0 < adjusted["variance_reduction"] < 1
    assert adjusted["std_error"] < plain["std_error"]
    assert adjusted["pvalue"] <= adjusted["adjusted_pvalue"]
    assert "confidence sequence" in adjusted["method"]
    assert adjusted["low"] > 0
    (overall,) = told.sections["decisions"]
    assert overall["decision"] in ("ship", "inconclusive")
    assert all(r["status"] == "ok" for r in rows if r["name"] in ("sample_ratio", "crossover", "pre_period_bias"))


def test_a_readout_for_people_stands_beside_the_tables(spark, analysed):
    root, told = analysed
    folder = root / "out" / "experiments_readout"
    text = (folder / "button.md").read_text()
    assert text.startswith("# button, as of 2026-03-10")
    for sentence in (
        "## Decisions",
        "## Checks",
        "## Primary metrics",
        "## Guardrails",
        "![Effects](button_effects.png)",
        "revenue, unadjusted",
    ):
        assert sentence in text
    assert told.sections["decisions"][0]["reason"] in text
    for picture in ("button_effects.png", "button_sample_ratio.png"):
        assert (folder / picture).stat().st_size > 10_000


def test_readouts_are_logged_once_a_day_with_definition_and_table_versions(spark, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    exposures, orders = world(120, seed=7)
    write(spark, tmp_path, exposures, orders)
    conf = {**CONF, "tracking": {"experiment": "readouts"}, "readout": False}
    first = go(spark, tmp_path, conf=conf, start=day(9), end=day(10))
    assert [run["as_of"] for run in first.sections["runs"]] == [day(9).isoformat(), day(10).isoformat()]
    again = go(spark, tmp_path, conf=conf, as_of=day(10), rebuild=True)
    newest = first.sections["runs"][1]["run_id"]
    assert again.sections["runs"] == [first.sections["runs"][1]]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/out/mlflow/mlflow.db")
    run = client.get_run(newest)
    rows = [
        r
        for r in rows_of(spark, tmp_path, "results")
        if (r["as_of"], r["kind"], r["name"], r["variant"]) == (day(10), "effect", "revenue", "declared")
    ]
    (relative,) = [r for r in rows if (r["segment"], r["scale"]) == ("", "relative")]
    assert run.data.metrics["revenue.b.relative"] == pytest.approx(relative["value"])
    assert run.data.metrics["revenue.b.relative.pvalue"] == pytest.approx(relative["pvalue"])
    assert run.data.tags["table.experiments_results"] == str(Tables(spark, str(tmp_path / "out")).version("experiments_results"))
    assert run.data.tags["table.orders"] == str(Tables(spark, str(tmp_path / "in")).version("orders"))
    names = {item.path for item in client.list_artifacts(newest)}
    assert {"button.md", "definition.json", "button_effects.png", "button_course_revenue_b.png"} <= names
    assert not (tmp_path / "out" / "experiments_readout").exists()


def test_a_second_run_changes_nothing(spark, analysed):
    root, first = analysed
    again = go(spark, root, as_of=day(10))
    assert [(t.name, t.version) for t in again.tables] == [(t.name, t.version) for t in first.tables]
    assert [t.rows for t in again.tables] == [0] * 4


def test_days_one_after_another_equal_one_full_run_with_late_rows(spark, tmp_path):
    exposures, orders = world(120, seed=2)
    for last in (5, 8):
        write(spark, tmp_path, until(exposures, 3, last), until(orders, 1, last))
        go(spark, tmp_path, as_of=day(last))
    late = [("u3", START + timedelta(hours=5), 40.0), ("u7", START + timedelta(hours=30), 2.5)]
    exposures.append(("button", "late", "a", START + timedelta(hours=2), "DE"))
    write(spark, tmp_path, until(exposures, 3, 10), until(orders + late, 1, 10))
    go(spark, tmp_path, as_of=day(10))
    commit = Tables(spark, str(tmp_path / "out")).last_commit("experiments_units")
    assert commit.metadata["continues"] == day(8).isoformat()
    write(spark, tmp_path / "full", until(exposures, 3, 10), until(orders + late, 1, 10))
    go(spark, tmp_path / "full", as_of=day(10))
    assert Tables(spark, str(tmp_path / "full" / "out")).last_commit("experiments_units").metadata["continues"] is None
    assert_same(rows_of(spark, tmp_path, "units"), rows_of(spark, tmp_path / "full", "units"))
    newest = [r for r in rows_of(spark, tmp_path, "statistics") if r["as_of"] == day(10)]
    assert_same(newest, rows_of(spark, tmp_path / "full", "statistics"))


def test_without_stored_units_the_results_are_the_same_from_one_pass(spark, tmp_path):
    exposures, orders = world(150, seed=6)
    write(spark, tmp_path, exposures, orders)
    uncapped = {**CONF["metrics"][0], "cap": {"kind": "absolute", "upper": 9.0}}
    conf = {**CONF, "metrics": [uncapped, *CONF["metrics"][1:]]}
    stored = go(spark, tmp_path, conf=conf, as_of=day(10), out="stored")
    direct = go(spark, tmp_path, conf={**conf, "store_units": False}, as_of=day(10), out="direct")
    for name in ("counts", "statistics", "results"):
        assert_same(rows_of(spark, tmp_path, name, out="direct"), rows_of(spark, tmp_path, name, out="stored"))
    assert direct.sections["input"] == stored.sections["input"]
    assert [t.name for t in direct.tables] == ["experiments_statistics", "experiments_counts", "experiments_results"]
    write(spark, tmp_path / "empty", [], [])
    nothing = go(spark, tmp_path / "empty", conf={**conf, "store_units": False}, as_of=day(10))
    assert any("no unit was exposed" in warning for warning in nothing.warnings)


def test_what_differs_from_the_first_analysis_is_a_check(spark, tmp_path):
    exposures, orders = world(80, seed=9)
    write(spark, tmp_path, exposures, orders)
    direct = {**CONF, "store_units": False, "metrics": CONF["metrics"][1:], "exposures": {"table": "exposures", "randomised_by": "country"}}
    go(spark, tmp_path, conf=direct, as_of=day(9))
    stricter = {**direct, "experiments": [{**CONF["experiments"][0], "alpha": 0.01}]}
    go(spark, tmp_path, conf=stricter, as_of=day(10))
    rows = [r for r in rows_of(spark, tmp_path, "results") if r["kind"] == "check"]
    told = {(r["as_of"], r["variant"]): r for r in rows if r["name"] == "deviation_from_plan"}
    assert set(told) == {(day(10), "alpha")}
    assert told[day(10), "alpha"]["reason"] == "alpha was 0.05 at the first analysis and is 0.01"
    (unit, _) = [r for r in rows if r["name"] == "randomisation_unit"]
    assert (unit["status"], unit["n_control"], unit["n_treatment"]) == ("fail", 2, 80)


def test_a_new_metric_joins_what_is_stored(spark, tmp_path):
    exposures, orders = world(80, seed=3)
    write(spark, tmp_path, until(exposures, 3, 6), until(orders, 1, 6))
    fewer = {**CONF, "metrics": CONF["metrics"][:2]}
    go(spark, tmp_path, conf=fewer, as_of=day(6))
    write(spark, tmp_path, exposures, orders)
    go(spark, tmp_path, as_of=day(9))
    assert Tables(spark, str(tmp_path / "out")).last_commit("experiments_units").metadata["continues"] == day(6).isoformat()
    write(spark, tmp_path / "full", exposures, orders)
    go(spark, tmp_path / "full", as_of=day(9))
    newest = [r for r in rows_of(spark, tmp_path, "statistics") if r["as_of"] == day(9)]
    assert_same(newest, rows_of(spark, tmp_path / "full", "statistics"))


def test_a_broken_assignment_fails_its_checks_and_blocks_the_decision(spark, tmp_path):
    exposures, orders = world(400, seed=4)
    skewed = [row for i, row in enumerate(exposures) if row[2] == "b" or i % 2]
    crossed = [("button", row[1], "b" if row[2] == "a" else "a", row[3] + timedelta(hours=1), row[4]) for row in skewed[:40]]
    write(spark, tmp_path, skewed + crossed, orders)
    told = go(spark, tmp_path, as_of=day(10))
    rows = rows_of(spark, tmp_path, "results")
    by_name = {(r["name"], r["variant"]): r for r in rows if r["kind"] == "check"}
    assert by_name["sample_ratio", "analysed"]["status"] == "fail"
    assert by_name["crossover", ""]["status"] == "fail"
    assert told.sections["decisions"][0]["decision"] == "inconclusive"
    assert any("sample_ratio" in warning for warning in told.warnings)
    refusing = {**CONF, "experiments": [{**CONF["experiments"][0], "crossover": "error"}]}
    with pytest.raises(DataError, match="40 units of experiment 'button' were seen in several arms"):
        go(spark, tmp_path, conf=refusing, as_of=day(10), out="refused")
    refused = Tables(spark, str(tmp_path / "refused"))
    assert not any(refused.exists(f"experiments_{name}") for name in ("counts", "statistics", "results"))


def test_one_bad_metric_never_loses_the_others(spark, tmp_path):
    exposures, orders = world(60, seed=5)
    write(spark, tmp_path, exposures, orders)
    bad = [
        {"kind": "sum", "name": "nothing", "fact": "orders", "column": "amount", "where": "amount < -5"},
        {"kind": "ratio_of_means", "name": "by_nothing", "numerator": {"kind": "count", "fact": "orders"},
         "denominator": {"kind": "count", "fact": "orders", "where": "amount < -5"}},
        {"kind": "retention", "name": "too_long", "fact": "orders", "first_day": 50, "last_day": 60},
        {"kind": "quantile", "name": "median", "of": {"kind": "sum", "fact": "orders", "column": "amount"}, "share": 0.5},
    ]  # fmt: skip
    go(spark, tmp_path, conf={**CONF, "metrics": [*CONF["metrics"], *bad]}, as_of=day(10))
    rows = [r for r in rows_of(spark, tmp_path, "results") if (r["kind"], r["segment"], r["variant"]) == ("effect", "", "declared")]
    reasons = {r["name"]: r["reason"] for r in rows if r["scale"] == "absolute"}
    assert "variance is 0" in reasons["nothing"]
    assert "sum to 0" in reasons["by_nothing"]
    assert "0 units" in reasons["too_long"] or "no unit" in reasons["too_long"]
    assert reasons["revenue"] == reasons["bought"] == reasons["median"] == ""


def test_an_experiment_that_has_not_begun_and_empty_tables_have_rows_that_say_so(spark, tmp_path):
    exposures, orders = world(20, seed=8)
    write(spark, tmp_path, exposures, orders)
    told = go(spark, tmp_path, as_of=date(2026, 2, 1))
    rows = rows_of(spark, tmp_path, "results")
    assert [r["status"] for r in rows if r["name"] == "units"] == ["not_computable"]
    assert told.sections["decisions"][0]["decision"] == "inconclusive"
    write(spark, tmp_path / "empty", [], [])
    go(spark, tmp_path / "empty", as_of=day(10))
    rows = rows_of(spark, tmp_path / "empty", "results")
    assert {r["status"] for r in rows if r["kind"] == "decision"} == {"inconclusive"}


BAD = {
    "unknown arm": ({}, lambda e, o: e.append(("button", "x", "z", START, "DE")), {}, DataError, r"arm 'z' of experiment 'button'"),
    "missing column": (
        {"facts": [{"name": "orders", "table": "orders", "time": "tme"}]},
        None,
        {},
        ColumnError,
        r"'tme' not found.*'time'",
    ),
    "segment missing": ({"segments": ["contry"]}, None, {}, ColumnError, r"'contry' not found.*did you mean 'country'"),
    "bad predicate": ({"where": "amont > 3"}, None, {}, ConfigError, r"'amont > 3' cannot be read"),
    "not a predicate": ({"where": "amount"}, None, {}, ConfigError, r"gives double"),
    "absent table": ({"exposures": {"table": "exposure"}}, None, {}, TableError, r"'exposure' not found.*did you mean 'exposures'"),
    "too early": (
        {},
        None,
        {"as_of": date(2026, 6, 1)},
        WindowError,
        r"2026-06-01 has not ended in UTC: the latest possible is 2026-05-31",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_a_named_error_and_no_results(spark, tmp_path, case):
    changes, spoil, asked, error, message = BAD[case]
    exposures, orders = world(10, seed=6)
    if spoil:
        spoil(exposures, orders)
    write(spark, tmp_path, exposures, orders)
    conf = {**CONF, **{k: v for k, v in changes.items() if k not in ("segments", "where")}}
    if "segments" in changes:
        conf["experiments"] = [{**CONF["experiments"][0], "segments": changes["segments"]}]
    if "where" in changes:
        conf["metrics"] = [{"kind": "count", "name": "n", "fact": "orders", "where": changes["where"]}]
    with pytest.raises(error, match=message):
        go(spark, tmp_path, conf=conf, **{"as_of": day(10), **asked})
    assert not Tables(spark, str(tmp_path / "out")).exists("experiments_results")


def test_the_command_prints_one_json_object_and_exits_0(spark, tmp_path, capfd):
    write(spark, tmp_path, *world(40, seed=7))
    (tmp_path / "conf.json").write_text(json.dumps(CONF))
    arguments = ["experiment_analyzer", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-c", str(tmp_path / "conf.json")]
    assert main([*arguments, "--start", str(day(8)), "--end", str(day(9))]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["status"] == "completed"
    assert told["days"] == [str(day(8)), str(day(9))]
    assert {t["name"] for t in told["tables"]} == {f"experiments_{what}" for what in ("units", "statistics", "counts", "results")}
    assert {d["as_of"] for d in told["decisions"]} == {str(day(8)), str(day(9))}


# --- without Spark


def test_the_shipped_configuration_loads():
    found = config.load(Config, "conf/experiment_analyzer.yml")
    assert [e.name for e in found.experiments] == ["aa_cdnow"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": [{**CONF["experiments"][0], "arms": {"a": 0.5, "b": 0.6}}]}, "sum to 1"),
        ({"experiments": [{**CONF["experiments"][0], "control": "c"}]}, "control 'c' is no arm"),
        ({"experiments": [{**CONF["experiments"][0], "metrics": ["revenu"]}]}, "did you mean 'revenue'"),
        ({"experiments": [CONF["experiments"][0]] * 2}, "declared twice"),
        ({"metrics": [CONF["metrics"][0]] * 2}, "declared twice"),
        ({"metrics": [{**CONF["metrics"][0], "fact": "order"}]}, "did you mean 'orders'"),
        ({"metrics": [{**CONF["metrics"][0], "role": "guardrail"}]}, "a guardrail has a margin"),
        ({"metrics": [{**CONF["metrics"][0], "kind": "summ"}]}, "summ"),
        ({"store_units": False}, "'revenue': a percentile cap needs the unit table"),
        ({"time_zone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"experiments": [{**CONF["experiments"][0], "end": "2026-02-01T00:00Z"}]}, "is not after start"),
        ({"experiments": [{**CONF["experiments"][0], "start": "2026-02-01T00:00"}]}, "timezone"),
        ({"experiments": [{**CONF["experiments"][0], "peeking": {"kind": "group_sequential", "planned_n": 9, "looks": [1, 0.5], "spending": "pocock"}}]}, "ascend"),
    ],
)  # fmt: skip
def test_a_declaration_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config.model_validate({**CONF, **change})
