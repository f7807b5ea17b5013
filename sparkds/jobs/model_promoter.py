"""Model promoter: the verdicts of the last evaluation in, the alias champion out; for workflows in which a condition stands between them.

The version that was judged last becomes the champion if every gate passed; run again, it changes nothing.
"""

from __future__ import annotations

import logging
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from sparkds import collect, tracking
from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, DataError, GateError
from sparkds.jobs import evaluation_tables
from sparkds.jobs.status import JobResult, TableResult
from sparkds.models import registry
from sparkds.models.model_version import VERSION
from sparkds.sessions import on_databricks
from sparkds.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JOB: Final = "model_promoter"
HELP: Final = "Make the version that was evaluated last the champion, if every gate passed."

LOG = logging.getLogger("sparkds")


class Config(Declaration):
    """Configuration of the job.

    Attributes
    ----------
    evaluation : str
        Stem of the evaluation suite's tables: the verdicts are in ``<evaluation>_gates`` of the output location.
    tracking : str, optional
        Address of the model registry; ``MLFLOW_TRACKING_URI``, the workspace, or the store below the output directory if absent.
    """

    evaluation: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="stem of the evaluation suite's tables")
    tracking: str | None = Field(default=None, description="address of the model registry")

    @property
    def gates_table(self) -> str:
        """Table of the verdicts."""
        return evaluation_tables.table_names(self.evaluation)["gates"]

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Tables of the input location that the job reads: none."""
        return ()

    @property
    def tables_needed(self) -> tuple[str, ...]:
        """Tables of the output location that another job has written before."""
        return (self.gates_table,)

    @property
    def tables_written(self) -> tuple[str, ...]:
        """Tables of the output location that the job writes: none."""
        return ()


def run(
    *,
    config: Config,
    input: str,
    output: str,
    spark: SparkSession,
    as_of: date | None = None,
    start: date | None = None,
    end: date | None = None,
    allow_incomplete: bool = False,
    rebuild: bool = False,
) -> JobResult:
    """Promote the version that was judged last.

    Parameters
    ----------
    config : Config
    input : str
        Without effect.
    output : str
        Location that the evaluation suite wrote to.
    spark : SparkSession
    as_of, start, end : date, optional
        Refused: the last evaluation counts.
    allow_incomplete, rebuild : bool
        Without effect.

    Raises
    ------
    ConfigError
        A day is given; the judged model is no registered version.
    DataError
        The verdicts were overwritten by something else than the evaluation suite, or the challenger is another version by now.
    GateError
        A gate of the last evaluation did not pass; nothing is changed.
    TableError
        There are no verdicts.
    """
    del input, allow_incomplete, rebuild
    if as_of or start or end:
        raise ConfigError("a promotion has no days: the last evaluation counts; leave --as-of, --start and --end out")
    store = tracking.store_of(output, uri=config.tracking, on_databricks=on_databricks())
    tracking.connect_store(store)
    tables = Tables(spark, output)
    verdicts = tables.read(config.gates_table)
    commit = tables.last_commit(config.gates_table)
    told: dict[str, Any] = {} if commit is None else commit.metadata
    if not {"identity", "model"} <= set(told) or (commit is not None and commit.changed_since):
        raise DataError(f"the last change of '{config.gates_table}' was not an evaluation; run model_evaluation_suite, then promote")
    rows = collect.small_rows(verdicts.where(verdicts["evaluation"] == told["identity"]).select("gate", "status", "reason"))
    judged = VERSION.match(told["model"])
    if judged is None:
        raise ConfigError(f"the last evaluation judged {told['model']}, which is no registered version; there is nothing to promote")
    name, version = judged["name"], int(judged["version"])
    odd = [f"{row['gate']} ({row['status'].replace('_', ' ')}: {row['reason']})" for row in rows if row["status"] != "pass"]
    if odd or not rows:
        raise GateError(f"model {told['model']} does not pass its gates: {'; '.join(odd) or 'there are no verdicts'}; it is not promoted")
    challenger = registry.alias_version(name, registry.CHALLENGER)
    if challenger is not None and challenger != version:
        raise DataError(
            f"the challenger of '{name}' is version {challenger} by now, version {version} was judged; evaluate again, then promote"
        )
    before = registry.promote(name, version)
    sections = {"model": told["model"], "evaluation": told["identity"], "champion_before": before, "promoted": before != version}
    table = TableResult(config.gates_table, tables.version(config.gates_table), 0)
    return JobResult(len(rows), [table], [], sections, {"model_version": version, "promoted": before != version})
