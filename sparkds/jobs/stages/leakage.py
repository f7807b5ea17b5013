"""Leakage: whether a training table tells a model what it cannot know, and whether its parts look alike.

The stage inspects a table, writes a report, findings and figures, and only then stops the run where findings reach the gate's level; run
again with the same declaration and the same tables, it writes nothing and tells the same.
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
from sparkds.jobs.stages.stage import JOB, Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.tables import Tables, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.commits import Commit
    from sparkds.features.leakage.inspection import Inspection
    from sparkds.jobs.feature_engineering_pipeline import Config

LOG = logging.getLogger("sparkds")
MOST_TOLD: Final = 20
MOST_IN_STATUS: Final = 50
NO_FEATURES: Final = ("as_of", "known_at", "complete", "valid_from", "valid_to", "split")
"""Columns of a training set that are no features, unless they are named as such."""
KNOWN_AT: Final = "_known_at"
"""Ending of the columns of a training set that say from which instant a feature table's row is known."""
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

    def check(self, config: Config, types: Mapping[str, str]) -> LeakageCheck:
        """The check alone, for a table with these columns.

        `NO_FEATURES` are ignored unless they have a role or are named as features; the columns by which the stage `training_set` says
        from when on features are known are ``known_at``, unless the stage names such columns itself.
        """
        told = {name: getattr(self, name) for name in LeakageCheck.model_fields if name in self.model_fields_set}
        told |= {"keys": self.keys or config.keys, "task": self.task, "time_zone": self.time_zone or config.time_zone}
        known = tuple(name for name, kind in types.items() if name.endswith(KNOWN_AT) and kind in ("timestamp", "date"))
        known = tuple(name for name in known if name not in (*(self.features or ()), *self.roles))
        if self.label_start is not None and not self.known_at and known:
            told["known_at"] = known
        named = {*(self.features or ()), *LeakageCheck(**told).roles}
        more = [name for name in (*NO_FEATURES, *known) if name in types and name not in named]
        return LeakageCheck(**{**told, "ignore": (*self.ignore, *more)})

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
        at = place.output if self.location == "output" else place.source
        versions = {name: at.source_version(name) for name in self.inputs}
        frames = {name: at.read(name, version=int(v) if v.isdecimal() else None) for name, v in versions.items()}
        check, names = self.check(place.config, dict(frames[self.table].dtypes)), self.names(place.config)
        asked = {"definition_hash": check.definition_hash, "sources": versions, "sparkds": __version__}
        commits = {what: place.output.last_commit(name) for what, name in names.items()}
        page = self._page(place)
        told = None if place.rebuild or (page is not None and not page.exists()) else _unchanged(commits, asked)
        if told is None:
            told, tables = self._look(place, check, frames, asked)
        else:
            tables = [TableResult(names[what], commit.version, 0) for what, commit in commits.items() if commit is not None]
        if told["stopping"]:
            raise GateError(told["stopping"])
        return StageResult(tables, {**told["section"], "report": None if page is None else str(page)}, told["warnings"])

    def _look(
        self, place: Place, check: LeakageCheck, frames: Mapping[str, DataFrame], asked: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[TableResult]]:
        """Inspect and write; what is told of it, and the tables."""
        from sparkds.features.leakage.inspection import inspected

        split, names = check.split, self.names(place.config)
        seen = inspected(
            frames[self.table],
            check,
            splits=frames[split.table] if split is not None and split.table is not None else None,
            test=frames[split.test_table] if split is not None and split.test_table is not None else None,
            others={name: frames[name] for name in self.compared_tables},
            where=f"table '{self.table}'",
        )
        page = self._page(place)
        section = {
            "findings": counts(seen.findings),
            "found": [f"{one.severity}: {one.what}" for one in found(seen.findings)[:MOST_IN_STATUS]],
            "gate": {"level": check.gate, "passed": not seen.stopping},
            "rows": dict(seen.overview.parts),
        }
        told = {"section": section, "warnings": list(seen.warnings), "stopping": _stopping(seen, names["findings"], page)}
        if page is not None:
            self._write_report(page, seen, asked["sources"])
        tables = _write(place.output, names, seen, {"job": JOB, "stage": self.section, **asked, "told": told}, self.table)
        return told, tables

    def _page(self, place: Place) -> Path | None:
        """File of the report; None where it is not kept."""
        if not (self.report and place.output.is_local):
            return None
        return Path(place.output.path(f"{self.names(place.config)['findings']}_report").removeprefix("file:"), "report.html")

    def _write_report(self, page: Path, seen: Inspection, versions: Mapping[str, str]) -> None:
        page.parent.mkdir(parents=True, exist_ok=True)
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
        page.with_suffix(".md").write_text(document.markdown(blocks), encoding="utf-8")
        page.write_text(document.html(title, blocks, page.parent), encoding="utf-8")


def _unchanged(commits: Mapping[str, Commit | None], asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an earlier run told of the same tables and declaration; None where there was none, or someone else wrote since.

    Findings are written last, so that their commit says that everything is there; figures have none where there never was a row.
    """
    for commit in commits.values():
        if commit is None:
            continue
        if commit.changed_since or any(commit.metadata.get(key) != told for key, told in asked.items()):
            return None
    findings = commits["findings"]
    if findings is None:
        return None
    told: dict[str, Any] = findings.metadata["told"]
    return told


def _write(output: Tables, names: Mapping[str, str], seen: Inspection, metadata: Mapping[str, Any], table: str) -> list[TableResult]:
    """Both tables, each in one commit; findings last."""
    findings = [_values(one, COLUMNS) for one in seen.findings]
    figures = [_values(one, ALIGNMENT_COLUMNS) for one in seen.alignment]
    written = {}
    for what, values, schema, spec in (
        ("alignment", figures, ALIGNMENT_SCHEMA, alignment_spec(table)),
        ("findings", findings, FINDING_SCHEMA, finding_spec(table)),
    ):
        frame = output.spark.createDataFrame(values, schema)
        commit = output.replace(names[what], frame, rows=None, metadata=metadata, spec=spec)
        written[what] = TableResult(names[what], commit.version, commit.rows or 0)
    return [written[what] for what in names]


def _stopping(seen: Inspection, table: str, page: Path | None) -> str:
    """Message of the gate; empty where nothing stops."""
    stopping = seen.stopping
    if not stopping:
        return ""
    told = [f"{one.severity} {one.kind}: {one.what}; {one.to_do}" for one in stopping[:MOST_TOLD]]
    more = [f"… and {len(stopping) - MOST_TOLD} more in table '{table}'"] if len(stopping) > MOST_TOLD else []
    where = f"table '{table}'" + (f", report: {page}" if page else "")
    return "\n".join([f"{verdict(seen.findings, seen.check.gate)} ({where})", *told, *more])


def _values(row: Finding | AlignmentRow, columns: Sequence[str] | Mapping[str, str]) -> tuple[object, ...]:
    """Fields in the order of columns as plain Python values; what is not finite is null."""
    told = []
    for name in columns:
        value = getattr(row, name)
        value = value.item() if hasattr(value, "item") else value  # a scalar of numpy, which a classic session does not take
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
