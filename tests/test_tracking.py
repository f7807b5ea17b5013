"""Tracking: which store is chosen, and what a run leaves in it."""

import pytest

from sparkds.errors import ConfigError
from sparkds.tracking import Store, connect, store_of, tracked


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_directory_has_its_own_store(tmp_path):
    store = store_of(str(tmp_path))
    assert store.tracking_uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert store.registry_uri == store.tracking_uri


def test_an_address_in_the_environment_comes_before_the_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks://profile")
    assert store_of(str(tmp_path)) == Store("databricks://profile", "databricks-uc")
    assert store_of(str(tmp_path), uri="http://here").tracking_uri == "http://here"


def test_a_schema_has_no_place_for_a_store():
    with pytest.raises(ConfigError, match="give tracking.uri"):
        store_of("main.sales")


def test_a_run_keeps_what_was_logged_and_how_it_ended(tmp_path):
    import mlflow

    store = store_of(str(tmp_path))
    with tracked(store, "readouts/button", name="2026-01-31", tags={"job": "j"}) as run:
        mlflow.log_text("hello", "readout.md")
    with pytest.raises(ZeroDivisionError), tracked(store, "readouts/button", name="again", tags={}) as broken:
        1 / 0  # noqa: B018
    client = mlflow.MlflowClient(store.tracking_uri)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert client.get_run(broken.info.run_id).info.status == "FAILED"
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["readout.md"]
    assert run.info.artifact_uri.startswith((tmp_path / "mlflow" / "artifacts").as_uri())


def test_a_deleted_experiment_is_named(tmp_path):
    import mlflow

    store = store_of(str(tmp_path))
    number = connect(store, "gone")
    mlflow.MlflowClient(store.tracking_uri).delete_experiment(number)
    with pytest.raises(ConfigError, match="'gone' is deleted"):
        connect(store, "gone")


def test_the_run_of_the_same_thing_is_written_over(tmp_path):
    import mlflow

    store = store_of(str(tmp_path))
    runs = []
    for text in ("first", "second"):
        with tracked(store, "readouts", name="day", tags={"text": text}, identity="button's day") as run:
            mlflow.log_text(text, "readout.md")
        runs.append(run.info.run_id)
    with tracked(store, "readouts", name="day", tags={}, identity="another") as other:
        pass
    assert runs[0] == runs[1] != other.info.run_id
    client = mlflow.MlflowClient(store.tracking_uri)
    assert client.get_run(runs[0]).data.tags["text"] == "second"
    assert mlflow.artifacts.load_text(f"runs:/{runs[0]}/readout.md") == "second"
