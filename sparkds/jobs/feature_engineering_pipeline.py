"""Feature engineering pipeline: the road from a table of events to features, step by step as the configuration says.

Without `stages` a run tiles the days that are new or have changed, then writes the snapshots that are missing or that those days
reach; run again, or after it was killed, it ends in the same tables. Stages run in the order given; each has its section in the status.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from sparkds.features.feature_set import FeatureSet
from sparkds.features.schedule import Schedule
from sparkds.jobs.stages.every import AnyStage
from sparkds.jobs.stages.stage import Place
from sparkds.jobs.stages.windows import WindowsStage
from sparkds.jobs.status import JobResult, TableResult
from sparkds.sql import quoted
from sparkds.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HELP = "Rolling RFM and aggregation features from a table of events into Delta tables."

LOG = logging.getLogger("sparkds")


class Config(FeatureSet):
    """Configuration of the job: a feature set, where its events are, and which days are wanted.

    Attributes
    ----------
    source : str
        Table of events in the input location.
    source_columns : mapping of str to str, optional
        Columns of a CSV or JSON source with their Spark types, all of them in order; inferred if absent.
    name : str
        Feature table in the output location; the tiles are ``<name>_tiles``.
    lateness_days : int
        Events may arrive this many days late: as many of the last tiled days are read again when the source has changed.
        A Delta source with a change feed needs no such bound.
    schedule : Schedule
    refit_rfm_edges : bool
        Fit the RFM edges again, as a new version that the snapshots written from now on use.
    stages : tuple of stage
        What is done, in this order; tiles and snapshots (`windows`) if absent.
    """

    windows: tuple[int, ...] = Field(default=(), description="trailing windows in days")

    source: str = Field(description="table of events in the input location")
    source_columns: Mapping[str, str] | None = Field(default=None, description="column: type, for CSV and JSON")
    name: str = Field(default="features", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="feature table")
    lateness_days: int = Field(default=3, ge=0, description="how many days late an event may arrive")
    schedule: Schedule = Field(default=Schedule(), description="which days have a snapshot")
    refit_rfm_edges: bool = Field(default=False, description="fit the RFM edges again as a new version")
    stages: tuple[AnyStage, ...] = Field(default=(WindowsStage(),), min_length=1, description="what is done, in this order")

    @property
    def feature_set(self) -> FeatureSet:
        """The declaration of the features alone."""
        return FeatureSet(**{field: getattr(self, field) for field in FeatureSet.model_fields})

    @property
    def source_schema(self) -> str | None:
        """Schema of the source as DDL; None where it is not declared."""
        if self.source_columns is None:
            return None
        return ", ".join(f"{quoted(name)} {dtype}" for name, dtype in self.source_columns.items())

    @property
    def needs_features(self) -> bool:
        """Whether a stage computes windows."""
        return any(stage.needs_features for stage in self.stages)

    @model_validator(mode="after")
    def _stages_apart(self) -> Config:
        titles = [stage.section for stage in self.stages]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"two stages have the title '{title}'; give one of them a title of its own")
        return self

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Tables of the input location that the job reads."""
        return tuple(dict.fromkeys(table for stage in self.stages for table in stage.tables_read(self)))

    @property
    def tables_needed(self) -> tuple[str, ...]:
        """Tables of the output location that another job, or an earlier run, has written before."""
        needed: list[str] = []
        written: set[str] = set()
        for stage in self.stages:
            needed += [table for table in stage.tables_needed(self) if table not in written]
            written.update(stage.tables_written(self))
        return tuple(dict.fromkeys(needed))

    @property
    def tables_written(self) -> tuple[str, ...]:
        """Tables of the output location that the job writes."""
        return tuple(dict.fromkeys(table for stage in self.stages for table in stage.tables_written(self)))


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
    now: datetime | None = None,
) -> JobResult:
    """Bring the feature tables up to a day.

    Parameters
    ----------
    config : Config
    input, output : str
        Locations: a directory or ``catalog.schema``.
    spark : SparkSession
    as_of : date, optional
        Newest snapshot; the last complete day if absent.
    start, end : date, optional
        Range of snapshots of a backfill.
    allow_incomplete : bool
        Also days whose data are not complete; their rows have ``complete`` false and are written again later.
    rebuild : bool
        Compute the asked days again, tiles and snapshots, whatever is stored.
    now : datetime, optional
        Instant that decides which days have ended; the clock's if absent.

    Raises
    ------
    ColumnError, ConfigError, DataError, TableError, WindowError
        Before anything is written.
    """
    place = Place(
        config, Tables(spark, input), Tables(spark, output), start, as_of or end, allow_incomplete, rebuild, now or datetime.now(UTC)
    )
    tables: dict[str, TableResult] = {}
    warnings: list[str] = []
    sections: dict[str, Any] = {}
    processed_items = 0
    for stage in config.stages[1:]:  # the first one holds its own declaration before it writes
        stage.hold(place)
    for stage in config.stages:
        LOG.info("stage %s", stage.section)
        began = time.monotonic()
        done = stage.run(place)
        LOG.info("stage %s took %.1f s", stage.section, time.monotonic() - began)
        for table in done.tables:
            before = tables.get(table.name)
            tables[table.name] = table if before is None else table._replace(rows=table.rows + before.rows)
        warnings += done.warnings
        sections[stage.section] = done.section
        processed_items += done.processed_items
    return JobResult(processed_items, list(tables.values()), warnings, sections)
