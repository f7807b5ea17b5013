"""Outside: what derived features take from beside their own table - tables of holidays, and models that embed texts.

Derivations only name these; here they are read, resolved to one version, loaded once to see that it goes, and composed with the scoring
path, since the domains of features and models do not know each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sparkds import tracking
from sparkds.errors import ConfigError
from sparkds.features.generate.calendar import Holiday
from sparkds.features.generate.text import Embedding
from sparkds.jobs.stages.stage import Place
from sparkds.models import environment
from sparkds.models.model_cache import Pinned, check_loadable
from sparkds.models.model_version import ModelVersion, downloaded, resolve
from sparkds.models.scoring import scored_frame
from sparkds.models.signature import Input, Output, inputs_of, outputs_of
from sparkds.sessions import on_databricks
from sparkds.sql import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.features.generate.applying import Step
    from sparkds.features.generate.derivation import Derivation
    from sparkds.features.generate.expressions import Inputs


@contextmanager
def outside(place: Place, address: str | None) -> Iterator[Outside]:
    """What is beside the tables of a place; models that are fetched stay until the end.

    Parameters
    ----------
    place : Place
    address : str, optional
        MLflow tracking address.
    """
    with TemporaryDirectory(prefix="sparkds-models-") as folder:
        yield Outside(place, address, Path(folder))


class Outside:
    """What derivations take from outside, of one run.

    Attributes
    ----------
    warnings : list of str
    """

    def __init__(self, place: Place, address: str | None, folder: Path) -> None:
        self.place, self.address, self.folder = place, address, folder
        self.warnings: list[str] = []
        self._pinned: dict[str, Pinned] = {}

    @property
    def steps(self) -> Mapping[str, Step]:
        """Steps of frames that need another domain."""
        return {"embedding": self._with_scores}

    def given(self, derivation: Derivation) -> Any:
        """What a derivation is fitted from.

        Raises
        ------
        ColumnError, ConfigError, DataError, TableError
            A table of holidays, or a model, is absent or not of the right kind.
        """
        if isinstance(derivation, Holiday):
            from sparkds.features.generate.given import holiday_dates

            return holiday_dates(derivation, self.place.source.read(str(derivation.table)))
        if isinstance(derivation, Embedding):
            return self._version(derivation)
        raise ConfigError(f"'{derivation.title}' needs {derivation.given}, which the feature job does not know")

    def _version(self, derivation: Embedding) -> dict[str, Any]:
        """The version that a model's address means now, with what it takes and gives."""
        from mlflow.models import Model

        self._connect()
        found = resolve(derivation.model)
        pinned = self._fetched(found)
        signature = Model.load(pinned.path).signature
        inputs, outputs = inputs_of(signature, found.uri), outputs_of(signature, found.uri)
        check_loadable(pinned)
        differing = environment.differences(environment.versions_of_model(pinned.path), environment.versions_here(), [])
        self.warnings += [f"model {found.uri}: {told}" for told in differing]
        return {
            "address": derivation.model,
            "uri": found.uri,
            "name": found.name,
            "version": found.version,
            "run_id": found.run_id,
            "inputs": [{"name": one.name, "type": one.type} for one in inputs],
            "outputs": [{"name": one.name, "type": one.type} for one in outputs],
        }

    def _connect(self) -> tracking.Store:
        store = tracking.store_of(self.place.output.location, uri=self.address, on_databricks=on_databricks())
        tracking.connect_store(store)
        return store

    def _fetched(self, version: ModelVersion) -> Pinned:
        if version.uri not in self._pinned:
            store = self._connect()
            into = self.folder / str(len(self._pinned))
            into.mkdir()
            self._pinned[version.uri] = Pinned(version.uri, downloaded(version, into), store.tracking_uri, store.registry_uri)
        return self._pinned[version.uri]

    def _with_scores(self, frame: DataFrame, derivation: Embedding, of: Inputs, state: Mapping[str, Any]) -> DataFrame:
        """Frame with the text that the model takes and its outputs, by the scoring path; null where a row fails."""
        from pyspark.sql import functions as F

        del of
        pinned = self._fetched(ModelVersion(state["name"], state["version"], state["run_id"], state["uri"]))
        names = (*frame.columns, derivation.text)
        taken = Input(state["inputs"][0]["name"], state["inputs"][0]["type"], "text")
        outputs = [Output(f"__sparkds_{i}", one["type"]) for i, one in enumerate(state["outputs"])]
        carried = [f"__sparkds_carried_{i}" for i in range(len(names))]
        text = F.coalesce(F.col(quoted(derivation.column)), F.lit(""))
        plain = frame.select("*", text.alias(derivation.text)).toDF(*carried)
        prepared = plain.select("*", F.col(carried[-1]).alias(taken.name))
        scored = scored_frame(prepared, pinned, (taken,), outputs, carry=carried, table=of_column(derivation))
        made = [F.col(one.name).alias(derivation.scored(i)) for i, one in enumerate(outputs)]
        return scored.select(*(F.col(plain).alias(name) for plain, name in zip(carried, names, strict=True)), *made)


def of_column(derivation: Embedding) -> str:
    """What is scored, in messages."""
    return f"column {derivation.column}"
