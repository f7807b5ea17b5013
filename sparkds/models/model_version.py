"""Model version: the one immutable version that an address of a model means now, with its signature and requirements.

Takes ``models:/name@alias``, ``models:/name/version``, ``runs:/id/path`` or ``models:/m-id`` and gives a version that keeps its meaning;
an alias is looked up once, since it may move while rows are scored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sparkds.errors import ConfigError, closest

ALIAS: Final = re.compile(r"models:/(?P<name>[^@]+)@(?P<alias>[^/@]+)$")
VERSION: Final = re.compile(r"models:/(?P<name>.+)/(?P<version>\d+)$")


@dataclass(frozen=True)
class ModelVersion:
    """A version of a model.

    Attributes
    ----------
    name : str
        Registered model; empty for a model that is not registered.
    version : int
        0 for a model that is not registered.
    run_id : str
        Empty if the store does not say.
    uri : str
        Address that never changes its meaning.
    alias : str
        Under which it was asked for; empty for none.
    tags : mapping of str to str
    """

    name: str
    version: int
    run_id: str
    uri: str
    alias: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def resolve(address: str) -> ModelVersion:
    """Version that an address means now, in the store that MLflow is connected to.

    Raises
    ------
    ConfigError
        The address has another form; there is no such model, version or alias.

    Examples
    --------
    >>> resolve("models:/prospects@champion").uri  # doctest: +SKIP
    'models:/prospects/3'
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    alias, version = ALIAS.match(address), VERSION.match(address)
    try:
        if alias is not None:
            found = client.get_model_version_by_alias(alias["name"], alias["alias"])
        elif version is not None:
            found = client.get_model_version(version["name"], version["version"])
        elif address.startswith(("runs:/", "models:/m-")):
            return ModelVersion("", 0, _run_of(address), address)
        else:
            raise ConfigError(f"model '{address}': give models:/name@alias, models:/name/version, runs:/run_id/path or models:/m-id")
    except MlflowException as error:
        name = (alias or version or {"name": ""})["name"] if alias or version else ""
        raise _absent(client, address, name, alias["alias"] if alias else "", error) from error
    told = dict(found.tags or {}) or dict(client.get_model_version(found.name, found.version).tags or {})
    uri = f"models:/{found.name}/{found.version}"
    return ModelVersion(found.name, int(found.version), str(found.run_id or ""), uri, alias["alias"] if alias else "", told)


def _run_of(address: str) -> str:
    return address.removeprefix("runs:/").split("/")[0] if address.startswith("runs:/") else ""


def _absent(client: Any, address: str, name: str, alias: str, error: Exception) -> ConfigError:
    """What is missing: the model, or its alias or version."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException:
        known = [m.name for m in client.search_registered_models(max_results=100)]
        return ConfigError(f"model '{address}': no registered model '{name}'{closest(name, known)} (models: {', '.join(known) or 'none'})")
    if alias:
        aliases = sorted(model.aliases)
        return ConfigError(f"model '{address}': no alias '{alias}'{closest(alias, aliases)} (aliases: {', '.join(aliases) or 'none'})")
    versions = sorted(int(v.version) for v in client.search_model_versions(f"name='{name}'"))
    return ConfigError(f"model '{address}': there is no such version ({', '.join(map(str, versions)) or 'none'} exist); {error}")


def moved_to(found: ModelVersion) -> int | None:
    """Version that the alias means by now if it is another one; None when it has not moved, or none was asked for."""
    if not found.alias:
        return None
    try:
        now = resolve(f"models:/{found.name}@{found.alias}")
    except ConfigError:
        return 0
    return now.version if now.version != found.version else None


def downloaded(found: ModelVersion, folder: str | Path) -> str:
    """Path of the model's files, fetched once.

    Raises
    ------
    ConfigError
        They are not there any more, e.g. the version was deleted since it was resolved.
    """
    import mlflow

    try:
        return str(mlflow.artifacts.download_artifacts(artifact_uri=found.uri, dst_path=str(folder)))
    except Exception as error:  # of the store's client, of whatever kind
        raise ConfigError(f"model {found.uri}: its files cannot be read ({error}); was the version deleted?") from error
