"""Stage: what every step of the feature job is - a declaration that says which tables it reads and writes, and runs at a place.

Takes the place (configuration, locations, asked days) and gives the tables it wrote and a section of the run's status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field

from sparkds.declaration import Declaration
from sparkds.jobs.status import TableResult

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from sparkds.features.registry.lineage import Origin
    from sparkds.jobs.feature_engineering_pipeline import Config
    from sparkds.tables import Tables

JOB: Final = "feature_engineering_pipeline"
"""What commits of all stages say that they were made by."""


@dataclass(frozen=True)
class Place:
    """Where a stage runs, and what the command line asks for.

    Attributes
    ----------
    config : Config
        Of the whole job.
    source, output : Tables
        The input and the output location.
    first : date, optional
        Start of a backfill.
    last : date, optional
        Newest snapshot; the last complete day if absent.
    allow_incomplete : bool
    rebuild : bool
        Compute again what is there already.
    now : datetime
        Instant that decides which days have ended.
    """

    config: Config
    source: Tables
    output: Tables
    first: date | None
    last: date | None
    allow_incomplete: bool
    rebuild: bool
    now: datetime

    @property
    def spark(self) -> SparkSession:
        """Session of the output."""
        return self.output.spark


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes
    ----------
    tables : list of TableResult
    section : mapping
        Its facts, in the run's status under the stage's title.
    warnings : list of str
    processed_items : int
        Rows that it read from the source; 0 where it read none.
    """

    tables: list[TableResult]
    section: Mapping[str, Any]
    warnings: list[str] = field(default_factory=list)
    processed_items: int = 0


class Stage(Declaration):
    """Fields that every kind has.

    Attributes
    ----------
    title : str, optional
        Name of its section in the status; the kind if absent. Two stages of one kind need different titles.
    """

    kind: str
    title: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name of its section in the status")

    needs_features: ClassVar[bool] = False
    """Whether it needs the job's windows, aggregations or RFM."""

    @property
    def section(self) -> str:
        """Key of its facts in the status."""
        return self.title or self.kind

    def tables_read(self, config: Config) -> tuple[str, ...]:
        """Tables of the input location that it reads."""
        return ()

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """Tables of the output location that it reads."""
        return ()

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """Tables of the output location that it writes."""
        return ()

    def state_tables(self, config: Config) -> tuple[str, ...]:
        """Tables of fitted states that its rows depend on."""
        return ()

    def origins(self, place: Place, table: str) -> Mapping[str, Origin]:
        """Unit, meaning, definition and sources of the columns of a table that it writes, for the registry; where it knows them."""
        return {}

    def hold(self, place: Place) -> None:
        """Hold the declaration against the tables of the input, before any stage of the run writes; nothing by default.

        Raises
        ------
        SparkdsError
        """

    def run(self, place: Place) -> StageResult:
        """Do it.

        Raises
        ------
        SparkdsError
            Before anything is written; or a `GateError` after what it was judged by is written.
        """
        raise TypeError(f"{type(self).__name__} does not run")
