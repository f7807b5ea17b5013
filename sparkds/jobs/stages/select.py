"""Select: decide which columns of a labelled table are features, on its training rows only.

The stage reads a table of the output, writes one row per candidate column - kept, or why not, with the figures - and keeps the list of
features with the commit, for the registry.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from sparkds import __version__
from sparkds.errors import ConfigError, GateError
from sparkds.features.select.decisions import counts_by_rule
from sparkds.features.select.declaration import FeatureSelection
from sparkds.jobs.selection_tables import SCHEMA, decision_values, selection_spec
from sparkds.jobs.stages.stage import JOB, Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.predicates import predicate_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.features.select.selection import Selection
    from sparkds.jobs.feature_engineering_pipeline import Config

LOG = logging.getLogger("sparkds")
NO_FEATURES: Final = ("as_of", "known_at", "complete", "valid_from", "valid_to", "split")
"""Columns of a training set that are no candidates, unless they are named as features."""


class SelectStage(Stage, FeatureSelection):
    """Select features of a labelled table of the output.

    Attributes
    ----------
    table : str
    name : str, optional
        Table of decisions; ``<name of the job>_selection`` if absent.
    where : str, optional
        SQL predicate of the training rows, e.g. ``split = 'train'``: no other row is looked at.
    figure : bool
        Draw the importances beside the tables, where the output is a local directory.

    The other fields are those of `sparkds.features.select.FeatureSelection`. The job's keys, and `NO_FEATURES`, are left out too unless
    they are named in `features`.
    """

    kind: Literal["select"] = "select"
    table: str = Field(default="training_set", description="labelled table of the output")
    name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="table of decisions; NAME_selection if absent")
    where: str | None = Field(default=None, description="SQL predicate of the training rows; no other row is looked at")
    figure: bool = Field(default=True, description="draw the importances beside the tables, where the output is a local directory")

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """The labelled table."""
        return (self.table,)

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """The decisions."""
        return (self.decisions_table(config),)

    def decisions_table(self, config: Config) -> str:
        """Name of the table of decisions."""
        return self.name or f"{config.name}_selection"

    def selection(self, columns: list[str], keys: tuple[str, ...]) -> FeatureSelection:
        """The declaration of the selection alone, for a table of these columns."""
        fields = {name: getattr(self, name) for name in FeatureSelection.model_fields}
        named = {self.label, *(self.features or ()), *self.always_keep, *self.leave_out}
        more = [name for name in (*keys, *NO_FEATURES) if name in columns and name not in named]
        return FeatureSelection(**{**fields, "leave_out": (*self.leave_out, *more)})

    def run(self, place: Place) -> StageResult:
        """Decide, write the decisions, and tell the list.

        Raises
        ------
        GateError
            No feature survives; the decisions are written, so that they say why.
        """
        name = self.decisions_table(place.config)
        version = place.output.source_version(self.table)
        frame = place.output.read(self.table, version=int(version) if version.isdigit() else None)  # one version in all passes
        selection = self.selection(frame.columns, place.config.keys)
        rows = training_rows(frame, self.where, self.table)
        asked = {
            "definition_hash": selection.definition_hash, "where": self.where, "sources": {self.table: version}, "sparkds": __version__,
        }  # fmt: skip
        commit = None if place.rebuild else place.output.last_commit(name)
        if commit is not None and not commit.changed_since and all(commit.metadata.get(key) == told for key, told in asked.items()):
            section, warnings = commit.metadata["section"], commit.metadata["warnings"]
            table = TableResult(name, commit.version, 0)
        else:
            from sparkds.features.select.selection import select_features

            found = select_features(rows, selection)
            section, warnings = section_of(found, selection, self.table, self.where), warnings_of(found, self.table, self.where)
            values = decision_values(
                found.decisions,
                label=self.label,
                importance_of=found.importance.importance_of if found.importance else "",
                n_sampled=found.importance.n_sampled if found.importance else 0,
                seed=selection.importance.seeds[0] if found.importance and selection.importance else None,
            )
            told = {
                "job": JOB, **asked, "declaration": self.model_dump(mode="json", exclude_none=True), "features": list(found.features),
                "section": section, "warnings": warnings,
            }  # fmt: skip
            written = place.output.replace(
                name, place.spark.createDataFrame(values, SCHEMA), rows=None, metadata=told, spec=selection_spec(self.table, self.label)
            )
            table = TableResult(name, written.version, len(values))
            if self.figure and found.importance is not None and place.output.is_local:
                folder = Path(place.output.path(f"{name}_figures").removeprefix("file:"))
                draw(found, folder)
        if not section["features"]:
            raise GateError(
                f"no column of table '{self.table}' survives as a feature for '{self.label}' (dropped: {section['dropped']}); table "
                f"'{name}' says why of each: widen the rules, or name columns in always_keep"
            )
        return StageResult([table], section, list(warnings))


def training_rows(frame: DataFrame, where: str | None, table: str) -> DataFrame:
    """Rows of the training slice.

    Raises
    ------
    ConfigError
        The predicate cannot be read, or is no truth value.
    """
    return frame if where is None else frame.where(predicate_column(frame, where, of=f"table '{table}'"))


def section_of(found: Selection, selection: FeatureSelection, table: str, where: str | None) -> dict[str, Any]:
    """Facts of a selection in plain values, as the status and the commit keep them."""
    facts = found.importance
    importance: Mapping[str, Any] | None = None
    if facts is not None:
        importance = {
            "importance_of": facts.importance_of, "n_sampled": facts.n_sampled, "by_class": facts.by_class,
            "seeds": list(selection.importance.seeds) if selection.importance else [], "n_fits": facts.n_fits,
            "score_kind": facts.score_kind, "score": _plain(facts.score), "score_sd": _plain(facts.score_sd),
            "stability": _plain(facts.stability), "covered": _plain(facts.covered),
            "curve": [[n, _plain(mean), _plain(error)] for n, mean, error in facts.curve],
        }  # fmt: skip
    return {
        "table": table, "label": selection.label, "task": found.task, "where": where, "n_rows": found.n_rows,
        "n_no_label": found.n_no_label, "classes": found.classes, "left_out": list(selection.leave_out),
        "candidates": len(found.decisions), "kept": len(found.features), "dropped": counts_by_rule(found.decisions),
        "features": list(found.features), "rules": selection.rules.model_dump(mode="json"), "importance": importance,
    }  # fmt: skip


def warnings_of(found: Selection, table: str, where: str | None) -> list[str]:
    """What the reader of the status should know."""
    told = [f"selection: {warning}" for warning in found.warnings]
    if where is None:
        told.append(f"selection: all rows of table '{table}' are taken as training rows; say which with `where`")
    if found.n_no_label:
        told.append(f"selection: {found.n_no_label} of {found.n_rows} rows have no label and were left out")
    return told


def draw(found: Selection, folder: Path) -> None:
    """Picture of the importances in a folder; none without matplotlib."""
    import pandas as pd

    from sparkds.figures.selection import importances

    assert found.importance is not None
    try:
        picture = importances(pd.DataFrame([row._asdict() for row in found.decisions]), unit=found.importance.importance_of)
    except ConfigError as error:
        LOG.info("no picture of the importances: %s", error)
        return
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / "importances.png")
    LOG.info("picture of the importances in %s", folder)


def _plain(value: float) -> float | None:
    return value if value == value else None
