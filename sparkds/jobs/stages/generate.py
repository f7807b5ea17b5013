"""Generate: derived features of a feature table, with what was fitted for them kept in a table of states.

The stage fits what is not fitted yet, derives the rows of the days that have changed, holds the gate of nulls before anything is
written, and writes states, then rows; run again, or after it was killed, it ends in the same tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from sparkds import collect
from sparkds.commits import Commit
from sparkds.days import days_between
from sparkds.errors import ColumnError, SparkdsError, TableError
from sparkds.features.generate.calendar import Holiday
from sparkds.features.generate.derivation import Output
from sparkds.features.generate.fitted_state import COLUMNS, FittedState
from sparkds.features.generate.generation import Generation
from sparkds.features.generate.imputation import Impute
from sparkds.features.registry.lineage import Origin, Source
from sparkds.jobs.stages.feature_versions import feature_version
from sparkds.jobs.stages.outside import Outside, outside
from sparkds.jobs.stages.stage import JOB, Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.sql import quoted
from sparkds.table_failures import named_failure
from sparkds.tables import TableSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.jobs.feature_engineering_pipeline import Config

MOST_DAYS: Final = 1_000
"""More changed days than this are written as the whole table."""
STATE_COMMENTS: Final = {
    "derivation": "name of the derivation",
    "version": "1 for the first fit; a version is never changed",
    "definition_hash": "of the derivation, the training slice and the derivations it stands on",
    "types": "types of the columns it was fitted on, JSON",
    "state": "what was fitted, JSON",
    "n_rows": "rows of the training slice",
    "fitted_on": "table@version",
    "slice": "SQL predicate of the training slice",
}


class GenerateStage(Stage, Generation):
    """Derived features of a table of the output: all fields of a `Generation`.

    Attributes
    ----------
    table : str, optional
        Feature table; the newest version of the job's own if absent.
    name : str, optional
        Table written; ``<table>_generated`` if absent. The states are in ``<name>_states``.
    keys : tuple of str
        Columns that name the entity; the job's keys if absent.
    carry : tuple of str, optional
        Columns of the table that are written too, besides keys and times; all if absent.
    refit : bool
        Fit everything again, as new versions, and write all rows again.
    tracking : str, optional
        MLflow tracking address of the models of embeddings; ``MLFLOW_TRACKING_URI``, the workspace, or a store below the output
        directory if absent.
    """

    kind: Literal["generate"] = "generate"
    table: str | None = Field(default=None, description="feature table; the job's own if absent")
    name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="table written; <table>_generated if absent")
    keys: tuple[str, ...] = Field(default=(), description="columns that name the entity; the job's keys if absent")
    carry: tuple[str, ...] | None = Field(default=None, description="columns written besides keys, times and derived ones; all if absent")
    refit: bool = Field(default=False, description="fit everything again, as new versions")
    tracking: str | None = Field(default=None, description="MLflow tracking address of the models of embeddings")

    @property
    def generation(self) -> Generation:
        """The declaration of the derived features alone."""
        return Generation(**{field: getattr(self, field) for field in Generation.model_fields})

    def written(self, config: Config) -> str:
        """Table written."""
        return self.name or f"{self.table or config.name}_generated"

    def tables_read(self, config: Config) -> tuple[str, ...]:
        """Tables of holidays."""
        return tuple(dict.fromkeys(d.table for d in self.derivations if isinstance(d, Holiday) and d.table is not None))

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """The feature table."""
        return (self.table or config.name,)

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """Derived features and states."""
        return (self.written(config), *self.state_tables(config))

    def state_tables(self, config: Config) -> tuple[str, ...]:
        """States, where anything is fitted."""
        return (f"{self.written(config)}_states",) if self.keeps_states else ()

    @property
    def keeps_states(self) -> bool:
        """Whether anything is fitted, on rows or from outside."""
        return self.fit is not None or any(derivation.given for derivation in self.derivations)

    def origins(self, place: Place, table: str) -> Mapping[str, Origin]:
        """Derived columns, from the columns that they are derived of."""
        if table != self.written(place.config):
            return {}
        with outside(place, self.tracking) as beside:
            run = _Run(self, place, beside)
            states = run.generation.fitted(run.frame, kept=run.kept(), given=beside.given, steps=beside.steps)
            hashes = run.generation.hashes()
            return {
                output.name: Origin(
                    "",
                    output.comment,
                    hashes[derivation.title],
                    tuple(Source(run.table if column in run.frame.columns else table, column) for column in derivation.inputs),
                )
                for derivation in run.generation.derivations
                for output in run.outputs(states)[derivation.title]
            }

    def run(self, place: Place) -> StageResult:
        """Fit, derive, hold the gate, write.

        Raises
        ------
        ColumnError, ConfigError, DataError, TableError
            Before anything is written.
        GateError
            Critical features are null too often; nothing is written.
        """
        with outside(place, self.tracking) as beside:
            return _Run(self, place, beside).result()


class _Run:
    """One run: what it found, decided and wrote."""

    def __init__(self, stage: GenerateStage, place: Place, beside: Outside) -> None:
        self.beside = beside
        self.stage, self.place, self.output, self.generation = stage, place, place.output, stage.generation
        self.table = stage.table or _newest_version(place)
        self.name = stage.written(place.config)
        self.states_name = f"{self.name}_states"
        self.version = self.output.source_version(self.table)
        self.frame = self.output.read(self.table, version=int(self.version) if self.version.isdecimal() else None)
        self.keys = stage.keys or place.config.keys
        self.times = tuple(name for name in ("as_of", "known_at", "complete") if name in self.frame.columns)

    def result(self) -> StageResult:
        """Do everything and tell."""
        lead = self._lead()
        kept = self.kept()
        with _named(self.table):
            states = self._fitted(kept)
        outputs = self.outputs(states)
        definition = self._definition(lead, states)
        commit = self.output.last_commit(self.name)
        days = self._days(commit, definition)
        shares: dict[str, float] = dict(commit.metadata.get("null_shares", {})) if commit else {}
        gate = self.generation.gate.model_dump(mode="json") if self.generation.gate else None
        tables = []
        rows = self._rows(states, lead, days)
        if days != [] or (commit is not None and commit.metadata.get("gate") != gate):
            with _named(self.table):
                shares = self._hold(rows if days != [] else self._rows(states, lead, None))
        if self.stage.keeps_states:
            tables.append(self._write_states(kept, states))
        warnings = [told for d in self.generation.derivations if d.title in states for told in d.warnings(states[d.title].state)]
        warnings += self.beside.warnings
        if days == []:
            tables.insert(0, TableResult(self.name, self.output.version(self.name), 0))
        else:
            facts = {"definition_hash": definition, "null_shares": shares, "gate": gate}
            written = self._write_rows(rows, days, facts, lead, outputs, warnings)
            tables.insert(0, TableResult(self.name, written.version, written.rows or 0))
        known = {(state.derivation, state.version) for state in kept}
        section = {
            "table": self.table,
            "source_version": self.version,
            "states": {
                title: {"version": s.version, "fitted": (title, s.version) not in known, "n_rows": s.n_rows, "fitted_on": s.fitted_on}
                for title, s in states.items()
            },
            "columns": [output.name for d in self.generation.derivations for output in outputs[d.title]],
            "null_shares": shares,
            "days": "all" if days is None else days,
        }
        return StageResult(tables, section, warnings)

    def _lead(self) -> tuple[str, ...]:
        """Columns that are carried, in order: keys, times, then what else is wanted."""
        there = self.frame.columns
        wanted = tuple(there) if self.stage.carry is None else self.stage.carry
        for column in (*self.keys, *wanted):
            if column not in there:
                raise ColumnError.missing(column, there, f"table '{self.table}'")
        return tuple(dict.fromkeys((*self.keys, *self.times, *wanted)))

    def kept(self) -> list[FittedState]:
        """States that are there."""
        if not self.stage.keeps_states or not self.output.exists(self.states_name):
            return []
        frame = self.output.read(self.states_name)
        other = [name for name, dtype in COLUMNS.items() if dict(frame.dtypes).get(name) != dtype]
        if other:
            raise TableError(
                f"table '{self.states_name}' in {self.output.location} holds no fitted states: column '{other[0]}' should be "
                f"{COLUMNS[other[0]]}, is {dict(frame.dtypes).get(other[0], 'absent')}; give the generated table another name"
            )
        return [FittedState.of_row(row.asDict()) for row in collect.small_rows(frame)]

    def _fitted(self, kept: list[FittedState]) -> dict[str, FittedState]:
        from sparkds.features.generate.fitting import fitted_states

        on = f"{self.table}@{self.version}"
        return fitted_states(
            self.generation,
            self.frame,
            kept=kept,
            refit=self.stage.refit,
            fitted_on=on,
            where=f"table '{self.table}'",
            given=self.beside.given,
            steps=self.beside.steps,
        )

    def outputs(self, states: Mapping[str, FittedState]) -> dict[str, tuple[Output, ...]]:
        """Derived columns by derivation."""
        from sparkds.features.generate.applying import outputs_of

        return outputs_of(self.generation, self.frame, states, self.beside.steps)

    def _definition(self, lead: tuple[str, ...], states: Mapping[str, FittedState]) -> str:
        """Hash of what the rows hang on beside the table: derivations, columns carried, versions of the states."""
        told = [self.generation.rows_hash, lead, {title: state.version for title, state in states.items()}]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def _days(self, commit: Commit | None, definition: str) -> list[date] | None:
        """Days whose rows are to be written; None for all rows, none where the table is up to date."""
        if commit is None or commit.changed_since or self.place.rebuild or commit.metadata.get("definition_hash") != definition:
            return None
        before = commit.metadata.get("sources", {}).get(self.table)
        if before == self.version:
            return []
        by_day = dict(self.frame.dtypes).get("as_of") == "date" and all(d.in_one_row for d in self.generation.derivations)
        if before is None or not by_day or not (str(before).isdecimal() and self.version.isdecimal()) or int(before) > int(self.version):
            return None
        replaced = self.output.replaced_since(self.table, int(before))
        if replaced is None:
            return None
        days = sorted({d for low, high in replaced for d in days_between(date.fromisoformat(low), date.fromisoformat(high))})
        return days if len(days) <= MOST_DAYS else None

    def _rows(self, states: Mapping[str, FittedState], lead: tuple[str, ...], days: list[date] | None) -> DataFrame:
        """Rows to write."""
        from pyspark.sql import functions as F

        frame = self.frame if not days else self.frame.where(F.col("as_of").isin(days))
        derived = self.generation.applied(frame, states, self.beside.steps)
        names = (*lead, *derived.columns[len(frame.columns) :])
        return derived.select(*(F.col(quoted(name)) for name in names))

    def _hold(self, rows: DataFrame) -> dict[str, float]:
        """Null shares of what was imputed and of what the gate names; nothing goes on where the gate does not hold."""
        from sparkds.features.generate.null_gate import hold, null_shares

        gate = self.generation.gate
        imputed = [d.name_of(column) for d in self.generation.derivations if isinstance(d, Impute) for column in d.columns]
        looked_at = list(dict.fromkeys((*(gate.columns if gate else ()), *imputed)))
        if not looked_at:
            return {}
        n, shares = null_shares(rows, looked_at)
        if gate is not None:
            hold(gate, shares, n)
        return shares

    def _write_states(self, kept: list[FittedState], states: Mapping[str, FittedState]) -> TableResult:
        known = {(state.derivation, state.version) for state in kept}
        new = [state.row for title, state in states.items() if (title, state.version) not in known]
        if not new:
            there = self.output.version(self.states_name) if self.output.exists(self.states_name) else 0
            return TableResult(self.states_name, there, 0)
        rows = self.output.spark.createDataFrame(
            [tuple(row[name] for name in COLUMNS) for row in new], ", ".join(f"{name} {dtype}" for name, dtype in COLUMNS.items())
        )
        comment = f"What was fitted for the derived features of {self.name}; a version is never changed"
        commit = self.output.merge(
            self.states_name,
            rows,
            keys=("derivation", "version"),
            metadata={"job": JOB, "definition_hash": self.generation.definition_hash, "sources": {self.table: self.version}},
            spec=TableSpec(comment=comment, columns=STATE_COMMENTS, keys=("derivation", "version")),
        )
        return TableResult(self.states_name, commit.version, len(new))

    def _write_rows(
        self,
        rows: DataFrame,
        days: list[date] | None,
        facts: Mapping[str, Any],
        lead: tuple[str, ...],
        outputs: Mapping[str, tuple[Output, ...]],
        warnings: list[str],
    ) -> Commit:
        before = self.output.definition(self.name)
        comments = {f.name: f.metadata["comment"] for f in self.frame.schema.fields if f.name in lead and "comment" in f.metadata}
        comments |= {output.name: output.comment for made in outputs.values() for output in made}
        by_day = dict(self.frame.dtypes).get("as_of") == "date"
        spec = TableSpec(
            comment=f"Features of {self.table} with those derived of them",
            columns=comments,
            keys=(*self.keys, *(("as_of",) if by_day else ())),
            cluster_by=("as_of",) if by_day else (),
            definition_hash=facts["definition_hash"],
            extends=(before,) if before and days is None else (),  # all rows are written, so that no two definitions meet
        )
        if before and days is None:
            gone = [name for name in self.output.read(self.name).columns if name not in rows.columns]
            if gone:
                warnings.append(f"columns of '{self.name}' that are no longer derived are null from now on: {', '.join(gone)}")
        metadata = {
            "job": JOB,
            "sources": {self.table: self.version},
            "declaration": self.generation.model_dump(mode="json"),
            "replaced": "all" if days is None else [[day.isoformat(), day.isoformat()] for day in days],
            **facts,
        }
        commit = self.output.replace(
            self.name, rows, rows=None if days is None else {"as_of": days}, metadata=metadata, spec=spec, evolve=days is None
        )
        if before and before != spec.definition_hash:
            self.output.redefine(self.name, spec)
        return commit


def _newest_version(place: Place) -> str:
    """Table of the newest version of the job's own features."""
    if not place.config.needs_features:
        return place.config.name
    return feature_version(place.output, place.config.name, place.config.feature_set).names["snapshots"]


@contextmanager
def _named(table: str) -> Iterator[None]:
    """Name what rows raise while they are read, as a write does."""
    try:
        yield
    except SparkdsError:
        raise
    except Exception as error:  # of Spark, or of its bridge on a classic session
        named = named_failure(str(error), table)
        if named is None:
            raise
        raise named from error
