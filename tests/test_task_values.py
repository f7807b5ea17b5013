"""Task values: what later tasks of a workflow are told."""

import json
import sys
import types

from sparkds import task_values


def test_values_go_to_the_file_of_a_local_run_and_truth_values_are_texts(tmp_path, monkeypatch):
    file = tmp_path / "values.json"
    monkeypatch.setenv(task_values.FILE, str(file))
    task_values.tell({"gates_passed": True, "n": 3})
    task_values.tell({"gates_passed": False, "model": "models:/m/1"})
    assert json.loads(file.read_text()) == {"gates_passed": "false", "n": 3, "model": "models:/m/1"}


def test_on_databricks_they_are_the_job_runs_own(monkeypatch):
    told = {}
    runtime = types.ModuleType("databricks.sdk.runtime")
    values = types.SimpleNamespace(set=lambda key, value: told.update({key: value}))
    runtime.dbutils = types.SimpleNamespace(jobs=types.SimpleNamespace(taskValues=values))
    monkeypatch.delenv(task_values.FILE, raising=False)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    monkeypatch.setitem(sys.modules, "databricks.sdk.runtime", runtime)
    task_values.tell({"gates_passed": True})
    assert told == {"gates_passed": "true"}


def test_elsewhere_nobody_asks(monkeypatch, tmp_path):
    monkeypatch.delenv(task_values.FILE, raising=False)
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    monkeypatch.chdir(tmp_path)
    task_values.tell({"gates_passed": True})
    assert list(tmp_path.iterdir()) == []
