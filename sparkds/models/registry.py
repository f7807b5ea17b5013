"""Registry: a fitted model into MLflow with everything that says how it came about, and back out by the same facts.

Takes a model, its input columns and facts, and gives a version of a registered model; a version carries the identity of what it was
made of, so that the same training finds it instead of registering it again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from sparkds.errors import ConfigError, DataError
from sparkds.models.estimators import FeatureColumns, Task
from sparkds.models.explanations import REFERENCE

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame

CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous_champion"
IDENTITY: Final = "sparkds.identity"
PINNED: Final = ("mlflow", "scikit-learn", "numpy", "scipy", "pandas", "cloudpickle")
"""Libraries that unpickling and predicting need."""
LONGEST_TAG: Final = 4000


class Registered(NamedTuple):
    """A version of a registered model.

    Attributes
    ----------
    name : str
    version : int
    run_id : str
    uri : str
        ``models:/name/version``, which never changes its meaning.
    is_new : bool
        Whether this call registered it.
    """

    name: str
    version: int
    run_id: str
    uri: str
    is_new: bool


def identity_of(facts: Mapping[str, Any]) -> str:
    """First 32 hexadecimal digits of the SHA-256 of the facts that decide a model, as canonical JSON.

    Examples
    --------
    >>> identity_of({"seed": 1, "data": "7"}) == identity_of({"data": "7", "seed": 1})
    True
    """
    told = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def environment_facts() -> dict[str, str]:
    """Versions that a model's bits may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PINNED}}


def output_names(task: Task, classes: Sequence[str] = ("0", "1")) -> tuple[str, ...]:
    """Names of a model's outputs: one probability a class, or the prediction.

    Examples
    --------
    >>> output_names("binary", ("no", "yes"))
    ('probability_no', 'probability_yes')
    """
    return tuple(f"probability_{name}" for name in classes) if task == "binary" else ("prediction",)


def signature_of(features: FeatureColumns, task: Task, classes: Sequence[str] = ("0", "1")) -> Any:
    """Signature by columns: doubles (not required, as NaN is missing) and texts in; one double out for each class, or one.

    Whole numbers and decimals are doubles too: a column that is whole in one batch and has a null in the next would otherwise fail
    in the second.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    numbers: list[Any] = [ColSpec(DataType.double, name, required=True) for name in features.numbers]
    texts = [ColSpec(DataType.string, name, required=True) for name in features.texts]
    outputs: list[Any] = [ColSpec(DataType.double, name) for name in output_names(task, classes)]
    return ModelSignature(inputs=Schema([*numbers, *texts]), outputs=Schema(outputs))


def log_model(
    pipeline: Any,
    example: PandasFrame,
    *,
    features: FeatureColumns,
    task: Task,
    name: str = "model",
    classes: Sequence[str] = ("0", "1"),
    libraries: Sequence[str] = (),
    reference: Mapping[str, Any] | None = None,
) -> str:
    """Log a pipeline in the run that is open, load it back, and hold its predictions against the pipeline's.

    It is pickled by cloudpickle, since the default outside Databricks (skops) refuses boosted trees; requirements are exact, since a
    pickle is only promised to load with the versions that wrote it.

    Parameters
    ----------
    pipeline : object
    example : (n,) pandas.DataFrame
        A few rows of features, logged as the input example.
    features : FeatureColumns
    task : str
    name : str
        Of the model in the run.
    classes : sequence of str
        Labels of the negative and the positive class.
    libraries : sequence of str
        Further requirements, e.g. ``lightgbm``.
    reference : mapping, optional
        Feature to its usual value, kept with the model for explanations.

    Returns
    -------
    str
        Address of the logged model.

    Raises
    ------
    DataError
        What was loaded predicts otherwise.
    """
    import cloudpickle
    import mlflow

    from sparkds.models import grouped_model

    cloudpickle.register_pickle_by_value(grouped_model)  # where it is scored, this package need not be
    inputs = example[list(features.names)]
    info = mlflow.sklearn.log_model(
        pipeline,
        name=name,
        signature=signature_of(features, task, classes),
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba" if task == "binary" else "predict",
        pip_requirements=[f"{library}=={version(library)}" for library in (*PINNED, *libraries)],
        input_example=inputs,
        metadata=None if reference is None else {REFERENCE: dict(reference)},
    )
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    direct = pipeline.predict_proba(inputs) if task == "binary" else pipeline.predict(inputs)
    if np.asarray(loaded.predict(inputs)).tobytes() != np.asarray(direct).tobytes():
        raise DataError(f"model {info.model_uri} predicts otherwise after it was logged and loaded; it is not registered")
    return str(info.model_uri)


def register(uri: str, name: str, *, identity: str, tags: Mapping[str, Any]) -> Registered:
    """Register a logged model with its tags in one call, and give it the alias `challenger`.

    Parameters
    ----------
    uri : str
        Of `log_model`.
    name : str
        Registered model; ``catalog.schema.model`` in Unity Catalog.
    identity : str
        Of `identity_of`.
    tags : mapping
        Further facts; what is no text is written as JSON, and cut at 4000 letters.

    Raises
    ------
    ConfigError
        The registry refuses it.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    told = {IDENTITY: identity, **{key: tag_text(value) for key, value in tags.items()}}
    try:
        made = mlflow.register_model(uri, name, tags=told)
        mlflow.MlflowClient().set_registered_model_alias(name, CHALLENGER, made.version)
    except MlflowException as error:
        raise ConfigError(f"registered model '{name}': the registry refuses it: {error}") from error
    return _registered(made, is_new=True)


def hold_challenger(found: Registered) -> bool:
    """Give the newest version its alias if a run was killed between registering and naming it; whether that was so.

    A version that is the champion, or that is not the newest, or one beside another challenger is left as it is.
    """
    import mlflow

    if alias_version(found.name, CHALLENGER) is not None or alias_version(found.name, CHAMPION) == found.version:
        return False
    if max(int(made.version) for made in _versions(found.name)) != found.version:
        return False
    mlflow.MlflowClient().set_registered_model_alias(found.name, CHALLENGER, str(found.version))
    return True


def _versions(name: str) -> Iterator[Any]:
    """All versions of a registered model; none when there is no such model."""
    import mlflow

    mark = '"' if "'" in name else "'"
    token = None
    while True:
        page = mlflow.MlflowClient().search_model_versions(f"name={mark}{name}{mark}", max_results=200, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def tag_text(value: Any) -> str:
    """Value as the text of a tag."""
    told = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return told if len(told) <= LONGEST_TAG else told[: LONGEST_TAG - 1] + "…"


def find(name: str, identity: str) -> Registered | None:
    """Newest version of an identity; None when there is none, or no such registered model.

    Versions are looked through here, as Unity Catalog has no search by tag.
    """
    import mlflow

    client = mlflow.MlflowClient()
    found = [made for made in _versions(name) if _tags(client, made).get(IDENTITY) == identity]
    return _registered(max(found, key=lambda made: int(made.version)), is_new=False) if found else None


def _tags(client: Any, made: Any) -> Mapping[str, str]:
    """Tags of a version; Unity Catalog leaves them out of a search."""
    return dict(made.tags or client.get_model_version(made.name, made.version).tags or {})


def _registered(made: Any, *, is_new: bool) -> Registered:
    return Registered(str(made.name), int(made.version), str(made.run_id), f"models:/{made.name}/{made.version}", is_new)


def alias_version(name: str, alias: str) -> int | None:
    """Version that an alias names now; None when nothing has it.

    Examples
    --------
    >>> alias_version("prospects", "champion")  # doctest: +SKIP
    3
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        return int(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException:
        return None


def promote(name: str, version: int) -> int | None:
    """Make a version the champion, once its gates have passed; the one before keeps the alias `previous_champion` for a way back.

    Promoting the champion again changes nothing.

    Parameters
    ----------
    name : str
    version : int

    Returns
    -------
    int or None
        The champion before.

    Raises
    ------
    ConfigError
        There is no such version.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    try:
        client.get_model_version(name, str(version))
    except MlflowException as error:
        raise ConfigError(f"registered model '{name}' has no version {version}; register it first") from error
    before = alias_version(name, CHAMPION)
    if before == version:
        return before
    if before is not None:
        client.set_registered_model_alias(name, PREVIOUS, str(before))
    client.set_registered_model_alias(name, CHAMPION, str(version))
    if alias_version(name, CHALLENGER) == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    return before
