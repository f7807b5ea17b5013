"""The jobs of models killed at any moment and run again: one version, and the rows of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time

import mlflow
import pytest

from sparkds import tracking
from sparkds.models import registry
from sparkds.tables import Tables
from tests.jobs.test_model_evaluation_suite import CONF, FEATURES, SCHEMA, TRAINING, cancer, write

JOBS = {
    "model_trainer": TRAINING,
    "model_evaluation_suite": {**CONF, "model": "models:/cancer/1"},
    "batch_scorer": {"model": "models:/cancer@champion", "table": "cancer", "keys": ["patient"], "decision": {"score": "probability_true"}},
}


def committed(table, version=1):
    return lambda out: (out / table / "_delta_log" / f"{version:020}.json").exists()


MOMENTS = {
    "the splits are committed": ("model_trainer", committed("cancer_splits")),
    "the importance is committed, no version is registered": ("model_trainer", committed("cancer_importance")),
    "the rows are scored for the evaluation": ("model_evaluation_suite", committed("judged_scored")),
    "the figures are committed, the gates are not": ("model_evaluation_suite", committed("judged_evaluation")),
    "the gates are committed, nothing is promoted": ("model_evaluation_suite", committed("judged_gates")),
    "the scores are staged": ("batch_scorer", committed("scores_staging")),
    "the scores are committed": ("batch_scorer", committed("scores")),
}
SAID_OF_A_RUN = {"evaluation", "model_uri", "run_id", "scored_at", "features_version"}


def start(root, job):
    (root / f"{job}.json").write_text(json.dumps(JOBS[job]))
    command = [sys.executable, "-m", "sparkds", job, "-i", str(root / "in"), "-o", str(root / "out"), "-c", str(root / f"{job}.json")]
    command += ["--session", "classic", "--master", "local[2]"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment)


def rows_of(spark, root):
    """Rows of every table without what is of the run; of the latency the status only."""
    found = {}
    for table in ("cancer_splits", "cancer_metrics", "cancer_importance", "judged_evaluation", "judged_gates", "scores"):
        rows = [row.asDict() for row in Tables(spark, str(root / "out")).read(table).collect()]
        for row in rows:
            if row.get("gate") == "latency":
                row["figure"], row["reason"] = None, ""
        found[table] = sorted(tuple((name, str(value)) for name, value in sorted(row.items()) if name not in SAID_OF_A_RUN) for row in rows)
    return found


def aliases(root):
    tracking.connect(tracking.store_of(str(root / "out")), "sparkds_models")
    versions = mlflow.MlflowClient().search_model_versions("name='cancer'")
    return len(versions), registry.alias_version("cancer", "champion"), registry.alias_version("cancer", "challenger")


@pytest.fixture(scope="module")
def undisturbed(spark, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    write(spark, root, cancer(), SCHEMA, "cancer")
    for job in JOBS:
        assert start(root, job).wait() == 0
    return root


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_job_run_again_ends_in_the_same_version_and_rows(spark, undisturbed, tmp_path, monkeypatch, moment):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write(spark, tmp_path, cancer(), SCHEMA, "cancer")
    stopped, reached = MOMENTS[moment]
    for job in JOBS:
        if job == stopped:
            process = start(tmp_path, job)
            waited_until = time.monotonic() + 240
            while not reached(tmp_path / "out") and process.poll() is None and time.monotonic() < waited_until:
                time.sleep(0.005)
            assert reached(tmp_path / "out"), "the moment never came"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert start(tmp_path, job).wait() == 0
    assert aliases(tmp_path) == aliases(undisturbed) == (1, 1, None)
    assert rows_of(spark, tmp_path) == rows_of(spark, undisturbed)
    assert len(rows_of(spark, tmp_path)["cancer_importance"]) == len(FEATURES)
