"""Every job of the bundle, by its wheel, with the target's parameters, on CDNOW and local Spark; and what the pages say of its tables."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from sparkds import pages
from sparkds.bundle.engine import EXCLUDED, SUCCESS
from sparkds.bundle.running import run_job
from sparkds.tables import Tables
from tests.conftest import KIND, REFUSING

ROOT = Path(__file__).parents[2]
SHARE = 0.06

pytestmark = [pytest.mark.spark, *([] if REFUSING else [pytest.mark.slow])]
"""Many minutes: every time with serverless's refusals, which are the strictest; on classic by `make bundle` and `make test-slow`."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bundle")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project in a place of its own, since its runs build a wheel and an environment there."""
    copy = tmp_path_factory.mktemp("project") / "clone"
    made = (".*", "build", "dist", "results", "mlruns", "spark-warehouse", "tests", "docs", "benchmarks", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*made))
    return copy


@pytest.fixture(scope="module")
def go(folder, project):
    def run(job, **more):
        patch = pytest.MonkeyPatch()
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("PYSPARK_PYTHON", raising=False)
        try:
            return run_job(project, target="dev", job=job, session=KIND, refuses=REFUSING, folder=folder, customers=SHARE, **more)
        finally:
            patch.undo()

    return run


def tables(spark, folder):
    return Tables(spark, str(folder / "catalogs" / "dev" / "sparkds_someone"))


def test_the_backfill_computes_every_month_of_its_for_each(spark, go, folder):
    ran = go("features_backfill")
    assert (ran.state, ran.outcomes["months"].attempts) == (SUCCESS, 2), ran.outcomes
    days = {row["as_of"] for row in tables(spark, folder).read("features").select("as_of").distinct().collect()}
    assert {date(1997, 6, 30), date(1997, 12, 31), date(1998, 6, 30)} <= days


def test_the_daily_run_fails_by_name_without_a_champion_and_its_features_are_there(spark, go):
    ran = go("features_daily", builds=False, variables=None)
    assert ran.outcomes["features"].state == SUCCESS
    assert ran.state == "FAILED"
    assert "no registered model 'dev.sparkds_someone.dev_someone_buyers'" in ran.outcomes["scores"].message


def test_the_weekly_training_judges_and_promotes_behind_its_condition(spark, go, folder):
    ran = go("training_weekly", builds=False)
    assert ran.state == SUCCESS, ran.outcomes
    assert ran.outcomes["evaluate"].values["gates_passed"] == "true"
    assert ran.outcomes["gates_passed"].result == "true"
    assert ran.outcomes["promote"].values == {"processed_items": 12, "model_version": 1, "promoted": "true"}
    assert tables(spark, folder).read("buyers_test_gates").where("status = 'pass'").count() == 12


def test_a_repair_goes_on_from_the_task_that_failed_and_scores_every_customer(spark, go, folder):
    ran = go("features_daily", first="scores", builds=False)
    assert ran.state == SUCCESS, ran.outcomes
    assert ran.outcomes["features"].kept
    stored = tables(spark, folder)
    customers = stored.read("features").where("as_of = date'1998-06-30'").count()
    scores = stored.read("scores")
    assert scores.count() == scores.where("probability_true between 0 and 1").count() == customers > 1000
    assert {row["model_version"] for row in scores.select("model_version").distinct().collect()} == {1}


def test_a_gate_that_is_missed_excludes_the_promotion(spark, go, folder, project, tmp_path):
    copy = tmp_path / "clone"
    copy.mkdir()
    for name in ("conf", "notebooks"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("databricks.yml", "local_run.yml"):
        shutil.copy(ROOT / name, copy / name)
    path = copy / "conf" / "model_evaluation_suite.yml"
    path.write_text(path.read_text().replace("metric: auc, at_least: 0.7}", "metric: auc, at_least: 0.99}"))
    python = next((project / "results" / "bundle").glob("venv-*/bin/python"))
    ran = run_job(
        copy,
        target="dev",
        job="training_weekly",
        session=KIND,
        refuses=REFUSING,
        folder=folder,
        first="evaluate",
        python=python,
        customers=SHARE,
    )
    assert ran.outcomes["gates_passed"].result == "false"
    assert ran.outcomes["promote"].state == EXCLUDED
    assert ran.state == SUCCESS


def test_experiments_are_analysed(spark, go, folder):
    ran = go("experiments_daily", builds=False)
    assert ran.state == SUCCESS, ran.outcomes
    results = tables(spark, folder).read("experiments_results").where("as_of = date'1998-06-30'")
    assert results.where("kind = 'effect' and name = 'revenue'").count() >= 2


@pytest.mark.parametrize(
    "job", ["feature_engineering_pipeline", "experiment_analyzer", "model_trainer", "model_evaluation_suite", "batch_scorer"]
)
def test_the_page_of_a_job_tells_the_columns_that_it_has_written(spark, folder, job):
    written = pages.output_section(job, [folder / "catalogs" / "dev" / "sparkds_someone"], ROOT / "conf" / f"{job}.yml")
    page = (ROOT / "docs" / "jobs" / f"{job}.md").read_text(encoding="utf-8")
    told, made = (_sections(text) for text in (pages.kept_outputs(page), written))
    assert told.keys() == made.keys()
    for table in told.keys() - {"buyers_test_scored"}:  # whose slices are the features that happen to matter most
        assert told[table] == made[table], "the table has other columns than docs/jobs tells; run the jobs and `make docs TABLES=…`"


def _sections(text):
    """Markdown of every table by its name."""
    return {part.split("`")[1]: part.strip() for part in text.split("### ") if part.strip()}
