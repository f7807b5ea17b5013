"""Leakage: whether a training table tells a model what it cannot know, and whether its parts look alike.

The stage inspects a table, writes findings, figures and a report, and only then stops the run where findings reach the gate's level; run
again on the same table, it writes the same rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from sparkds import __version__, document
from sparkds.errors import GateError
from sparkds.features.leakage.finding import COLUMNS, Finding, counts, found
from sparkds.features.leakage.leakage_check import LeakageCheck, Task
from sparkds.features.leakage.report import report, verdict
from sparkds.features.leakage.states import ALIGNMENT_COLUMNS, AlignmentRow
from sparkds.jobs.stages.stage import Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.tables import Tables, TableSpec

if TYPE_CHECKING:
    from sparkds.features.leakage.inspection import Inspection
    from sparkds.jobs.feature_engineering_pipeline import Config

JOB: Final = "feature_engineering_pipeline"
LOG = logging.getLogger("sparkds")
MOST_TOLD: Final = 20
FINDING_SCHEMA: Final = (
    "kind string, severity string, `column` string, part string, figure double, measure string, threshold double, qvalue double, "
    "n_rows bigint, what string, to_do string"
)
ALIGNMENT_SCHEMA: Final = (
    "`column` string, part string, reference string, kind string, n bigint, null_share double, null_share_reference double, "
    "null_share_qvalue double, psi double, psi_expected double, psi_qvalue double, ks double, ks_bound double, ks_qvalue double, "
    "n_groups int, unseen_share double, unseen_share_expected double, reason string"
)


class LeakageStage(Stage, LeakageCheck):
    """Leakage and alignment of a table; all fields of a `LeakageCheck`, with the job's keys and time zone where none are given.

    Attributes
    ----------
    table : str
        Table with label and features.
    compared_tables : tuple of str
        Tables that are to look like it, e.g. one to be scored; they need no label.
    location : {"output", "input"}
        Where all of these tables are.
    name : str, optional
        Stem of ``<name>_leakage`` (findings), ``<name>_alignment`` (figures) and ``<name>_leakage_report/``; the job's name if absent.
    report : bool
        Write the report beside the tables, where the output is a local directory.
    """

    kind: Literal["leakage"] = "leakage"
    table: str = Field(description="table with label and features")
    compared_tables: tuple[str, ...] = Field(default=(), description="tables that are to look like it, e.g. one to be scored")
    location: Literal["output", "input"] = Field(default="output", description="where these tables are")
    name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="stem of the output; the job's name if absent")
    report: bool = Field(default=True, description="write the report beside the tables, where the output is a local directory")
    keys: tuple[str, ...] = Field(default=(), description="columns that name the entity; the job's keys if absent")
    task: Task = Field(default="binary", description="binary (two classes) or regression")

    def check(self, config: Config) -> LeakageCheck:
        """The check alone."""
        told = {name: getattr(self, name) for name in LeakageCheck.model_fields if name in self.model_fields_set}
        keys = self.keys or config.keys
        return LeakageCheck(**{**told, "keys": keys, "task": self.task, "time_zone": self.time_zone or config.time_zone})

    def names(self, config: Config) -> dict[str, str]:
        """Output tables by what they hold."""
        stem = self.name or config.name
        return {"findings": f"{stem}_leakage", "alignment": f"{stem}_alignment"}

    @property
    def inputs(self) -> tuple[str, ...]:
        """All tables that it looks at."""
        split = self.split
        beside = () if split is None else tuple(name for name in (split.table, split.test_table) if name is not None)
        return tuple(dict.fromkeys((self.table, *beside, *self.compared_tables)))

    def tables_read(self, config: Config) -> tuple[str, ...]:
        """The tables looked at, if they are in the input."""
        return self.inputs if self.location == "input" else ()

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """The tables looked at, if they are in the output."""
        return self.inputs if self.location == "output" else ()

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """Findings and figures."""
        return tuple(self.names(config).values())

    def run(self, place: Place) -> StageResult:
        """Inspect, write, report, and stop where the gate says so.

        Raises
        ------
        ColumnError, ConfigError, DataError, TableError
            Before anything is written.
        GateError
            Findings at or above the gate's level; tables and report are written.
        """
        from sparkds.features.leakage.inspection import inspected

        check, at = self.check(place.config), place.output if self.location == "output" else place.source
        versions = {name: at.source_version(name) for name in self.inputs}
        frames = {name: at.read(name, version=int(v) if v.isdecimal() else None) for name, v in versions.items()}
        split = check.split
        seen = inspected(
            frames[self.table],
            check,
            splits=frames[split.table] if split is not None and split.table is not None else None,
            test=frames[split.test_table] if split is not None and split.test_table is not None else None,
            others={name: frames[name] for name in self.compared_tables},
            where=f"table '{self.table}'",
        )
        names = self.names(place.config)
        metadata = {"job": JOB, "stage": self.section, "definition_hash": check.definition_hash, "sources": versions}
        tables = _write(place.output, names, seen, metadata, self.table)
        path = self._report(place, seen, versions)
        _stop(seen, names["findings"], path)
        section = {
            "findings": counts(seen.findings),
            "found": [f"{one.severity}: {one.what}" for one in found(seen.findings)],
            "gate": {"level": check.gate, "passed": True},
            "rows": dict(seen.overview.parts),
            "report": path,
        }
        return StageResult(tables, section, list(seen.warnings))

    def _report(self, place: Place, seen: Inspection, versions: Mapping[str, str]) -> str | None:
        """Write the report; its path, None where it is not kept."""
        if not (self.report and place.output.is_local):
            return None
        into = Path(place.output.path(f"{self.names(place.config)['findings']}_report").removeprefix("file:"))
        into.mkdir(parents=True, exist_ok=True)
        title = f"Leakage and alignment of '{self.table}'"
        facts = {f"table {name}": f"version {version}" for name, version in versions.items()}
        facts |= {f"rows of {part}": f"{n:,}" for part, n in seen.overview.parts.items()}
        facts |= {
            "features": f"{len(seen.columns.names)}",
            "rows that bins were made from": f"{seen.n_sampled:,} (seed {seen.check.seed})",
            "definition": seen.check.definition_hash,
            "sparkds": __version__,
        }
        blocks = report(title, seen.findings, seen.alignment, seen.relevances, gate=seen.check.gate, facts=facts, warnings=seen.warnings)
        (into / "report.md").write_text(document.markdown(blocks), encoding="utf-8")
        (into / "report.html").write_text(document.html(title, blocks, into), encoding="utf-8")
        return str(into / "report.html")


def _write(output: Tables, names: Mapping[str, str], seen: Inspection, metadata: Mapping[str, Any], table: str) -> list[TableResult]:
    """Both tables, each in one commit."""
    findings = [_values(one, COLUMNS) for one in seen.findings]
    figures = [_values(one, ALIGNMENT_COLUMNS) for one in seen.alignment]
    written = []
    for what, values, schema, spec in (
        ("findings", findings, FINDING_SCHEMA, finding_spec(table)),
        ("alignment", figures, ALIGNMENT_SCHEMA, alignment_spec(table)),
    ):
        frame = output.spark.createDataFrame(values, schema)
        commit = output.replace(names[what], frame, rows=None, metadata=metadata, spec=spec)
        written.append(TableResult(names[what], commit.version, commit.rows or 0))
    return written


def _stop(seen: Inspection, table: str, path: str | None) -> None:
    stopping = seen.stopping
    if not stopping:
        return
    told = [f"{one.severity} {one.kind}: {one.what}; {one.to_do}" for one in stopping[:MOST_TOLD]]
    more = [f"… and {len(stopping) - MOST_TOLD} more in table '{table}'"] if len(stopping) > MOST_TOLD else []
    where = f"table '{table}'" + (f", report: {path}" if path else "")
    raise GateError("\n".join([f"{verdict(seen.findings, seen.check.gate)} ({where})", *told, *more]))


def _values(row: Finding | AlignmentRow, columns: Sequence[str] | Mapping[str, str]) -> tuple[object, ...]:
    """Fields in the order of columns; what is not finite is null."""
    told = []
    for name in columns:
        value = getattr(row, name)
        told.append(None if isinstance(value, float) and not math.isfinite(value) else value)
    return tuple(told)


def finding_spec(table: str) -> TableSpec:
    """Findings: one row each, and one for each check without any."""
    return TableSpec(
        comment=f"Leakage findings of the last inspection of '{table}', and what was looked at without a finding",
        columns=COLUMNS,
        keys=("kind", "column", "part"),
    )


def alignment_spec(table: str) -> TableSpec:
    """Figures of every column in every part."""
    return TableSpec(
        comment=f"How columns of the parts of '{table}' differ from the training part",
        columns=ALIGNMENT_COLUMNS,
        keys=("column", "part"),
    )
