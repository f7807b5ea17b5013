"""The designer through its command line: what it writes, what a second run leaves alone, and what bad input is told."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from sparkds import config
from sparkds.cli import main
from sparkds.errors import ConfigError
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.plan import plan_of
from sparkds.jobs import plan_tables
from sparkds.jobs.experiment_designer import Config, run
from sparkds.tables import Tables
from tests.experiments.designs import DESIGN, REVENUE

ROOT = Path(__file__).parents[2]
JOB = "experiment_designer"
HISTORY = {"days": 14, "eligible": {"fact": "visits", "where": "page = 'checkout'"}}
LAST = date(2026, 5, 28)
MEASURED = {
    "facts": [
        {"name": "orders", "table": "orders", "columns": {"unit": "string", "time": "timestamp", "amount": "decimal(10,2)"}},
        {"name": "visits", "table": "visits", "columns": {"unit": "string", "time": "timestamp", "page": "string"}},
    ],
    "metrics": [*DESIGN["metrics"], {**REVENUE, "margin": 0.2, "covariates": [{"kind": "pre_period", "days": 7}]}],
    "baselines": {},
    "history": HISTORY,
    "traffic_per_day": None,
    "claim": {"kind": "superiority", "mde": {"relative": 0.5}},
}


def command(root, capfd, *arguments, conf=None):
    """Exit code, status and standard error of a run on a design."""
    (root / "design.json").write_text(json.dumps({**DESIGN, **(conf or {})}))
    code = main([JOB, "-i", str(root / "in"), "-o", str(root / "out"), "-c", str(root / "design.json"), *arguments])
    told = capfd.readouterr()
    (line,) = told.out.splitlines()
    return code, json.loads(line), told.err


def refused(root, capfd, *arguments, conf=None):
    """Error of a run that fails and writes nothing."""
    code, status, _ = command(root, capfd, *arguments, conf=conf)
    assert (code, status["status"], status["tables"]) == (1, "failed", [])
    assert not list((root / "out").glob("**/*"))
    return status["error"]


def write_facts(root, *, n_units=300, seed=1):
    """Visits and orders of some weeks as CSV; gives per unit of the last 14 days: bought, revenue, revenue in the week before."""
    rng = np.random.default_rng(seed)
    directory = root / "in"
    directory.mkdir(parents=True, exist_ok=True)
    end = datetime(2026, 5, 28, 22, tzinfo=UTC)  # midnight in Berlin
    begin = end - timedelta(days=14)
    visits, orders, told = ["unit,time,page"], ["unit,time,amount"], []
    for i in range(n_units):
        habit = rng.gamma(2.0, 5.0)
        seen = begin + timedelta(hours=float(rng.uniform(0, 14 * 24)))
        visits.append(f"u{i},{seen.isoformat()},checkout")
        visits.append(f"u{i},{(begin - timedelta(days=3)).isoformat()},checkout")  # before the history begins
        revenue = [0.0, 0.0]
        for at, when in ((seen - timedelta(days=2), 1), (seen + (end - seen) * float(rng.uniform(0, 0.9)), 0)):
            if rng.random() < 0.4:
                amount = round(float(habit + rng.gamma(1.0, 3.0)), 2)
                orders.append(f"u{i},{at.isoformat()},{amount}")
                revenue[when] += amount
        told.append((float(revenue[0] > 0), *revenue))
    visits.append(f",{begin.isoformat()},checkout")
    visits.append(f"elsewhere,{(end - timedelta(days=1)).isoformat()},home")
    (directory / "visits.csv").write_text("\n".join(visits) + "\n")
    (directory / "orders.csv").write_text("\n".join(orders) + "\n")
    return np.array(told)


def test_five_percent_and_ten_percent_relative_are_planned_from_command_line_to_tables(spark, tmp_path, capfd):
    code, status, err = command(tmp_path, capfd)
    assert code == 0, err
    assert (status["status"], status["job"], status["processed_items"], status["warnings"]) == ("completed", JOB, 0, [])
    plan = status["plan"]
    assert plan["n"] == {"control": 31_234, "green": 31_234}
    assert (plan["n_total"], plan["weeks"], plan["n_reached"], plan["method"]) == (62_468, 2, 70_000, "z pooled")
    assert {t["name"]: t["rows"] for t in status["tables"]} == {"button_plan": 1, "button_power_curve": 200, "button_sensitivity": 45}
    out = Tables(spark, str(tmp_path / "out"))
    (row,) = out.read("button_plan").collect()
    assert row["n"] == row["plan_n"] == {"control": 31_234, "green": 31_234}
    assert (row["metric"], row["role"], row["claim"], row["source"]) == ("bought", "primary", "two-sided", "typed")
    assert (row["decides"], row["exact_power"], row["reason"]) == (True, None, "")
    wanted = plan_of(Config.model_validate(DESIGN).design)
    assert row["power"] == pytest.approx(wanted.metrics[0].power, rel=1e-12)
    curve = {(r["effect"], r["n_total"]): r["power"] for r in out.read("button_power_curve").collect()}
    assert curve == {(r["effect"], r["n_total"]): r["power"] for r in wanted.curve}
    table = {(r["n_total"], r["power"]): (r["weeks"], r["mde"]) for r in out.read("button_sensitivity").collect()}
    assert table == {(r["n_total"], r["power"]): (r["weeks"], r["mde"]) for r in wanted.sensitivity}


def test_documents_bind_the_analysis_and_are_drawn(spark, tmp_path, capfd):
    looks = {"kind": "group_sequential", "looks": [0.5, 1], "spending": "pocock"}
    code, status, err = command(tmp_path, capfd, conf={"looks": looks, "name": "button 2"})
    assert code == 0, err
    folder = tmp_path / "out" / "plans" / "button_2"
    assert status["documents"] == [str(folder / name) for name in ("plan.yml", "plan.md", "power.png")]
    assert sorted(p.name for p in folder.iterdir()) == ["plan.md", "plan.yml", "power.png"]
    (experiment,) = config.load(ExperimentSet, folder / "plan.yml", environ={}).experiments
    assert (experiment.name, experiment.peeking.planned_n, experiment.peeking.looks) == ("button 2", status["plan"]["n_total"], (0.5, 1.0))
    assert (folder / "plan.md").read_text().startswith("# Plan of experiment button 2\n")
    assert (folder / "power.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [look["fraction"] for look in status["plan"]["looks"]] == [0.5, 1.0]


def test_a_second_run_writes_no_table_and_a_changed_design_replaces_the_plan_with_a_warning(spark, tmp_path, capfd):
    command(tmp_path, capfd)
    _, again, _ = command(tmp_path, capfd)
    assert {(t["version"], t["rows"]) for t in again["tables"]} == {(again["tables"][0]["version"], 0)}
    _, rebuilt, _ = command(tmp_path, capfd, "--rebuild")
    assert all(t["rows"] > 0 for t in rebuilt["tables"])
    code, changed, _ = command(tmp_path, capfd, "--set", "power=0.9")
    assert code == 0
    assert changed["warnings"][0].startswith("the plan takes the place of another one of the same name")
    (row,) = Tables(spark, str(tmp_path / "out")).read("button_plan").collect()
    assert row["n_total"] == changed["plan"]["n_total"] == 83_626
    began = run(
        config=Config.model_validate(DESIGN),
        input=str(tmp_path),
        output=str(tmp_path / "out"),
        spark=spark,
        now=datetime(2026, 7, 1, tzinfo=UTC),
    )
    assert began.warnings[0].endswith("though the experiment has begun: that is a deviation")


def test_baselines_and_traffic_are_measured_from_history(spark, tmp_path, capfd):
    units = write_facts(tmp_path)
    code, status, err = command(tmp_path, capfd, "--as-of", str(LAST), conf=MEASURED)
    assert code == 0, err
    assert status["plan"]["history"] == {"first": "2026-05-15", "last": "2026-05-28", "n_units": 300}
    assert status["processed_items"] == status["input"]["visits"]["n_facts"] + status["input"]["orders"]["n_facts"] > 500
    assert "1 rows of 'visits' without a unit were left out" in status["warnings"]
    rows = {r["metric"]: r for r in Tables(spark, str(tmp_path / "out")).read("button_plan").collect()}
    bought, revenue = rows["bought"], rows["revenue"]
    assert bought["baseline"] == pytest.approx(units[:, 0].mean())
    assert revenue["baseline"] == pytest.approx(units[:, 1].mean())
    assert revenue["std"] == pytest.approx(units[:, 1].std(ddof=1))
    x = np.column_stack([np.ones(300), units[:, 2], units[:, 2] == 0])
    residual = units[:, 1] - x @ np.linalg.lstsq(x, units[:, 1], rcond=None)[0]
    assert revenue["covariate_correlation"] ** 2 == pytest.approx(1 - residual.var() / units[:, 1].var(), rel=1e-6)
    assert {r["source"] for r in rows.values()} == {"measured, 300 units"}
    assert status["plan"]["weeks"] >= 2
    _, again, _ = command(tmp_path, capfd, "--as-of", str(LAST), conf=MEASURED)
    assert {t["rows"] for t in again["tables"]} == {0}


def test_planned_arms_are_checked_on_the_history_where_it_is_asked_for(spark, tmp_path, capfd):
    write_facts(tmp_path)
    conf = {**MEASURED, "history": {**HISTORY, "balance_alpha": 0.5 - 1e-9}}
    code, status, err = command(tmp_path, capfd, "--as-of", str(LAST), conf=conf)
    assert code == 0, err
    assert status["tables"][-1]["rows"] == 4
    rows = {r["covariate"]: r for r in Tables(spark, str(tmp_path / "out")).read("button_balance").collect()}
    assert set(rows) == {"bought", "revenue", "revenue pre_7d", "revenue pre_7d_absent"}
    assert all(r["n_control"] + r["n_treatment"] == 300 for r in rows.values())
    told = [w for w in status["warnings"] if "before the start" in w]
    assert len(told) == sum(r["status"] != "ok" for r in rows.values())
    typed = {"history": conf["history"], "facts": MEASURED["facts"], "tables": "typed"}
    _, status, _ = command(tmp_path, capfd, "--as-of", str(LAST), conf=typed)
    assert [(t["name"], t["rows"]) for t in status["tables"]][-1] == ("typed_balance", 1)
    assert status["input"] == {}


def test_a_history_without_eligible_units_and_one_that_has_not_ended_are_named(spark, tmp_path, capfd):
    write_facts(tmp_path, n_units=5)
    told = refused(tmp_path, capfd, "--as-of", "2020-01-31", conf=MEASURED)
    assert told["type"] == "DataError"
    assert "no unit was eligible from 2020-01-18 to 2020-01-31: no row of 'visits' meets \"page = 'checkout'\"" in told["message"]
    told = refused(tmp_path, capfd, "--as-of", "2999-01-31", conf=MEASURED)
    assert told["type"] == "WindowError"
    assert "2999-01-31 has not ended in Europe/Berlin; the latest possible day is" in told["message"]


def test_days_of_a_backfill_are_refused_and_a_day_without_effect_is_told(spark, tmp_path, capfd):
    told = refused(tmp_path, capfd, "--start", "2026-01-01", "--end", "2026-01-31")
    assert told["type"] == "WindowError"
    assert "give --as-of in place of --start and --end" in told["message"]
    _, status, _ = command(tmp_path, capfd, "--as-of", "2026-01-31")
    assert status["warnings"] == ["everything is typed and nothing measured; --as-of has no effect"]


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"table": "order"}, "TableError", "table 'order' not found"),
        ({"columns": {"unit": "string", "time": "timestamp", "amont": "double"}}, "ColumnError", "column 'amount' not found in fact table 'orders'; did you mean 'amont'"),
        ({"columns": {"unit": "string", "time": "string", "amount": "double"}}, "ColumnError", "column 'time' of table 'orders' is string; a time is a timestamp"),
        ({"columns": {"unit": "string", "time": "timestamp", "amount": "string"}}, "ColumnError", "column 'amount' of fact table 'orders' is string"),
    ],
)  # fmt: skip
def test_facts_that_do_not_fit_are_named_before_anything_is_written(spark, tmp_path, capfd, facts, error, message):
    write_facts(tmp_path, n_units=5)
    told = refused(
        tmp_path, capfd, "--as-of", str(LAST), conf={**MEASURED, "facts": [{**MEASURED["facts"][0], **facts}, MEASURED["facts"][1]]}
    )
    assert told["type"] == error
    assert message in told["message"]


@pytest.mark.parametrize(
    ("conf", "error", "message"),
    [
        ({"history": {**HISTORY, "eligible": {"fact": "visits", "where": "pge = 1"}}, "traffic_per_day": None}, "ConfigError", "where: 'pge = 1' cannot be read"),
        ({"baselines": {"bought": {"kind": "proportion", "share": 0}}}, "DataError", "experiment 'button' cannot be planned: metric 'bought': the effect is relative to a baseline of 0"),
        ({"baselines": {"bought": {"kind": "proportion", "share": 0.99}}}, "DataError", "is not a share in [0, 1]; choose a smaller effect"),
    ],
)  # fmt: skip
def test_a_design_that_cannot_be_planned_is_named(spark, tmp_path, capfd, conf, error, message):
    write_facts(tmp_path, n_units=5)
    told = refused(tmp_path, capfd, conf=conf)
    assert told["type"] == error
    assert message in told["message"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("claim.mde={relative: 0.1, absolute: 0.005}", "give exactly one of the two"),
        (
            "claim={kind: superority, mde: {relative: 0.1}}",
            "choose one of ['superiority', 'noninferiority', 'equivalence']; did you mean 'superiority'",
        ),
        ("arms={control: 0.5, green: 0.4}", "they sum to 0.9"),
        ("control=contrl", "control 'contrl' is no arm; did you mean 'control'"),
        ("alpa=0.1", "did you mean 'alpha'"),
        ("traffic_per_day=0", "greater than 0"),
        ("looks={kind: group_sequential, looks: [1, 0.5], spending: pocock}", "must ascend from above 0 to 1"),
        ("baselines.bought.kind=mean", "baselines.bought"),
    ],
)
def test_a_mistake_in_the_declaration_is_named_without_a_session(tmp_path, capfd, monkeypatch, setting, message):
    from sparkds import cli

    monkeypatch.setattr(cli.sessions, "session", lambda *_, **__: pytest.fail("a session was made"))
    told = refused(tmp_path, capfd, "--set", setting)
    assert told["type"] == "ConfigError"
    assert message in told["message"]


def test_an_output_that_is_no_directory_needs_a_place_for_the_documents(spark):
    with pytest.raises(ConfigError, match=r"output 'main.plans' is no directory of this machine.*set documents to a directory"):
        run(config=Config.model_validate(DESIGN), input="in/", output="main.plans", spark=spark)


def test_documents_go_where_they_are_wanted_and_a_missing_matplotlib_is_told(spark, tmp_path, capfd, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, status, _ = command(tmp_path, capfd, conf={"documents": str(tmp_path / "here"), "tables": "other"})
    assert code == 0
    assert status["documents"] == [str(tmp_path / "here" / name) for name in ("plan.yml", "plan.md")]
    assert "no figure was drawn: matplotlib is not installed" in status["warnings"][0]
    assert {t["name"] for t in status["tables"]} == {"other_plan", "other_power_curve", "other_sensitivity"}


def test_tables_tell_what_they_are(spark, tmp_path, capfd):
    command(tmp_path, capfd)
    out = Tables(spark, str(tmp_path / "out"))
    for what in plan_tables.OF_PLAN:
        name = plan_tables.table_names("button")[what]
        described = {r["col_name"]: r["comment"] for r in spark.sql(f"describe table {out.identifier(name)}").collect()}
        for column in plan_tables.COLUMNS[what]:
            assert described[column] == plan_tables.COMMENTS.get(column)
        assert out.properties(name)["sparkds.primary_key"] == ",".join(plan_tables.KEYS[what])
        assert out.last_commit(name).metadata["definition_hash"] == Config.model_validate(DESIGN).design.definition_hash


@pytest.mark.parametrize(("name", "prefix"), [("checkout-button 2", "checkout_button_2"), ("2nd", "_2nd"), ("é", "_")])
def test_tables_are_named_after_the_experiment(name, prefix):
    assert Config.model_validate({**DESIGN, "name": name}).prefix == prefix


def test_the_shipped_configuration_is_planned():
    shipped = config.load(Config, ROOT / "conf" / f"{JOB}.yml", environ={})
    assert plan_of(shipped.design).n_total > 62_468
