"""Tracking: which MLflow store keeps the runs and models of a job, and the one run that a job writes.

Takes a location and, if given, a tracking address; without one it is a SQLite store below a directory, or the workspace on
Databricks. MLflow is imported here and in `sparkds.models` only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from sparkds.declaration import Declaration
from sparkds.errors import ConfigError
from sparkds.locations import is_directory

STORE = "mlflow"
"""Folder of the embedded store in the output location."""
IDENTITY = "sparkds.identity"
"""Tag of a run with a digest of what it is the run of, so that the same is not logged twice."""


class Tracking(Declaration):
    """Where runs are kept.

    Attributes
    ----------
    experiment : str
        MLflow experiment; an absolute workspace path on Databricks.
    uri : str, optional
        Tracking address; ``MLFLOW_TRACKING_URI``, the workspace, or a store below the output directory if absent.
    """

    experiment: str = Field(min_length=1, description="MLflow experiment; an absolute workspace path on Databricks")
    uri: str | None = Field(default=None, description="MLflow tracking address; a store in the output directory if absent")


@dataclass(frozen=True)
class Store:
    """MLflow store.

    Attributes
    ----------
    tracking_uri, registry_uri : str
    artifacts : str, optional
        Folder of the artefacts of experiments that are made here; the server's own if None.
    """

    tracking_uri: str
    registry_uri: str
    artifacts: str | None = None


def store_of(location: str, *, uri: str | None = None, on_databricks: bool = False) -> Store:
    """Store for the runs of a job that writes to a location.

    Parameters
    ----------
    location : str
        Output location of the job.
    uri : str, optional
        Tracking address; ``MLFLOW_TRACKING_URI`` if that is set and this is not.
    on_databricks : bool
        Whether the workspace is the default; models are then in Unity Catalog.

    Raises
    ------
    ConfigError
        The location is no directory, so that there is no place for an embedded store, and no address is given.

    Examples
    --------
    >>> store_of("main.sales", uri="http://mlflow:5000").registry_uri
    'http://mlflow:5000'
    >>> store_of("main.sales", on_databricks=True)
    Store(tracking_uri='databricks', registry_uri='databricks-uc', artifacts=None)
    """
    given = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return Store(given, "databricks-uc" if given.startswith("databricks") else given)
    if on_databricks:
        return Store("databricks", "databricks-uc")
    if not is_directory(location) or ("://" in location and not location.startswith("file:")):
        raise ConfigError(
            f"tracking: no MLflow store for location '{location}'; give tracking.uri or MLFLOW_TRACKING_URI, or a directory as location"
        )
    folder = Path(location.removeprefix("file://").removeprefix("file:")).absolute() / STORE
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return Store(uri, uri, (folder / "artifacts").as_uri())


def connect_store(store: Store) -> None:
    """Point MLflow of this process at a store, without an experiment, for what only looks at models.

    Raises
    ------
    ConfigError
        MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
    except ImportError as error:
        raise ConfigError("tracking needs MLflow: pip install 'sparkds[local]', or turn tracking off") from error
    if store.artifacts is not None:
        Path(store.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(store.tracking_uri)
    mlflow.set_registry_uri(store.registry_uri)


def connect(store: Store, experiment: str) -> str:
    """Point MLflow of this process at a store, make the experiment if it is new, and give its id.

    A name without a folder stands below ``/Shared`` in a Databricks workspace, where experiments have absolute paths.

    Raises
    ------
    ConfigError
        MLflow is not installed, or the store cannot be reached.
    """
    connect_store(store)
    import mlflow

    if store.tracking_uri.startswith("databricks") and not experiment.startswith("/"):
        experiment = f"/Shared/{experiment}"
    try:
        found = mlflow.get_experiment_by_name(experiment)
        if found is None:
            folder = None if store.artifacts is None else f"{store.artifacts}/{experiment.strip('/').replace('/', '_')}"
            return str(mlflow.create_experiment(experiment, artifact_location=folder))
    except Exception as error:  # of the store's client, of whatever kind
        raise ConfigError(f"tracking: the MLflow store {store.tracking_uri} cannot be used: {error}") from error
    if found.lifecycle_stage == "deleted":
        raise ConfigError(f"tracking: MLflow experiment '{experiment}' is deleted; restore it or name another")
    return str(found.experiment_id)


@contextmanager
def tracked(
    store: Store, experiment: str, *, name: str, tags: Mapping[str, str], nested: bool = False, identity: str | None = None
) -> Iterator[Any]:
    """Run of MLflow; what the block raises marks it as failed.

    Parameters
    ----------
    store : Store
    experiment : str
        MLflow experiment; an absolute workspace path on Databricks.
    name : str
        Of the run.
    tags : mapping of str to str
    nested : bool
        Whether it belongs to the run that is open.
    identity : str, optional
        Of what it is the run: one that has it already is opened again, and written over.

    Yields
    ------
    mlflow.ActiveRun
    """
    experiment_id = connect(store, experiment)
    import mlflow

    digest = None if identity is None else hashlib.sha256(identity.encode()).hexdigest()[:32]  # a filter cannot hold every character
    told = dict(tags) if digest is None else {**tags, IDENTITY: digest}
    known = None if digest is None else _run_of(mlflow.MlflowClient(), experiment_id, digest)
    with mlflow.start_run(run_id=known, experiment_id=experiment_id, run_name=name, tags=told, nested=nested) as run:
        yield run


def _run_of(client: Any, experiment_id: str, identity: str) -> str | None:
    """Newest run with an identity."""
    found = client.search_runs([experiment_id], filter_string=f"tags.`{IDENTITY}` = '{identity}'", max_results=1)
    return str(found[0].info.run_id) if found else None
