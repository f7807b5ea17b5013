"""Typed models: every resource held against the field names and types of ``databricks-bundles``, where that package is installed.

The package is under its vendor's own licence and is no dependency of this one: ``pip install databricks-bundles`` turns the rule on.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from sparkds.bundle.documents import Items, Map
from sparkds.bundle.findings import Broken, View
from sparkds.errors import closest

KINDS: Final = {
    "alerts": "alerts.Alert",
    "apps": "apps.App",
    "catalogs": "catalogs.Catalog",
    "clusters": "clusters.Cluster",
    "dashboards": "dashboards.Dashboard",
    "database_catalogs": "database_catalogs.DatabaseCatalog",
    "database_instances": "database_instances.DatabaseInstance",
    "experiments": "experiments.MlflowExperiment",
    "external_locations": "external_locations.ExternalLocation",
    "genie_spaces": "genie_spaces.GenieSpace",
    "job_runs": "job_runs.JobRun",
    "jobs": "jobs.Job",
    "model_serving_endpoints": "model_serving_endpoints.ModelServingEndpoint",
    "models": "models.MlflowModel",
    "pipelines": "pipelines.Pipeline",
    "quality_monitors": "quality_monitors.QualityMonitor",
    "registered_models": "registered_models.RegisteredModel",
    "schemas": "schemas.Schema",
    "secret_scopes": "secret_scopes.SecretScope",
    "sql_warehouses": "sql_warehouses.SqlWarehouse",
    "synced_database_tables": "synced_database_tables.SyncedDatabaseTable",
    "vector_search_endpoints": "vector_search_endpoints.VectorSearchEndpoint",
    "vector_search_indexes": "vector_search_indexes.VectorSearchIndex",
    "volumes": "volumes.Volume",
}
UNTYPED: Final = "postgres_"
"""Begin of kinds that the CLI knows and the models do not."""


def is_installed() -> bool:
    """Whether the typed models are there."""
    try:
        return find_spec("databricks.bundles") is not None
    except ModuleNotFoundError:
        return False


def resources_are_typed(view: View) -> Iterator[Broken]:
    """Fields of every resource have the names and types that the platform knows."""
    resources = view.target.tree.get("resources") or Map()
    for kind, told in resources.items():
        if kind.startswith(UNTYPED):
            continue
        if kind not in KINDS:
            yield Broken(f"resources.{kind}", resources.places.get(kind), f"there is no kind of resource '{kind}'{closest(kind, KINDS)}")
            continue
        if not is_installed():
            continue
        module, _, name = KINDS[kind].rpartition(".")
        try:
            model: Any = getattr(import_module(f"databricks.bundles.{module}"), name)
        except (ModuleNotFoundError, AttributeError):
            continue  # an older databricks-bundles has fewer kinds
        for key, resource in (told or {}).items():
            if not isinstance(resource, Map):
                place = told.places.get(key) if isinstance(told, Map) else None
                yield Broken(f"resources.{kind}.{key}", place, f"a resource has keys with values, this is a {type(resource).__name__}")
                continue
            try:
                model.from_dict(_plain(resource))
            except (ValueError, TypeError, KeyError) as error:
                place = told.places.get(key) if isinstance(told, Map) else None
                yield Broken(f"resources.{kind}.{key}", place, f"{_sentence(error)}; see the reference of {kind}")


def _plain(value: Any) -> Any:
    if isinstance(value, Map | dict):
        return {key: _plain(below) for key, below in value.items()}
    return [_plain(below) for below in value] if isinstance(value, Items | list) else value


def _sentence(error: BaseException) -> str:
    told = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        told.append(str(error))
    return ": ".join(dict.fromkeys(part for part in told if part))
