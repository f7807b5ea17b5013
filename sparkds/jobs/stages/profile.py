"""Profile: what every column of a table holds, from states by day that only new days are scanned for.

The stage adds the states of the days that are new or may have changed, derives the profile of all days from the states, and writes
its pages; with nothing new it writes nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sparkds import collect, document
from sparkds.commits import Commit
from sparkds.days import ONE_DAY, day_of, last_ended, start_of_day
from sparkds.errors import ColumnError, ConfigError, DataError, TableError
from sparkds.features.profile.declaration import Profile, ProfileOptions
from sparkds.jobs import profile_tables
from sparkds.jobs.stages.stage import JOB, Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.locations import Between

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyspark.sql import Column, DataFrame

    from sparkds.features.profile.results import ColumnProfile, TableProfile
    from sparkds.jobs.feature_engineering_pipeline import Config
    from sparkds.tables import Tables

LOG = logging.getLogger("sparkds")


class ProfileStage(Stage, ProfileOptions):
    """Profile of the job's source, or of another table.

    Attributes
    ----------
    table : str, optional
        The job's source if absent.
    location : {"input", "output"}
        Where the table is.
    time : str, optional
        Column whose local day is the slice of a row. If absent: the job's `event_time` for its source; ``as_of`` for a table of the
        output that has it; else the table is one slice and is scanned whole when it has changed.
    by_day : bool
        False for one slice in any case.
    last_days : int, optional
        Profile only the newest so many days; all if absent. The states of all days are kept.
    report : bool
        Write ``<table>_profile_report/`` (Markdown, HTML, pictures) beside the tables, where the output is a local directory.
    """

    kind: Literal["profile"] = "profile"
    table: str | None = Field(default=None, min_length=1, description="table to profile; the job's source if absent")
    location: Literal["input", "output"] = Field(default="input", description="where the table is")
    time: str | None = Field(default=None, description="column whose local day is the slice of a row")
    by_day: bool = Field(default=True, description="false to profile the table as one slice")
    last_days: int | None = Field(default=None, ge=1, description="profile the newest so many days only")
    report: bool = Field(default=True, description="write pages beside the tables, where the output is a local directory")

    def table_name(self, config: Config) -> str:
        """Table that is profiled."""
        return self.table or config.source

    def tables_read(self, config: Config) -> tuple[str, ...]:
        """The table, where it is in the input."""
        return (self.table_name(config),) if self.location == "input" else ()

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """The table, where it is in the output."""
        return (self.table_name(config),) if self.location == "output" else ()

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """States, profile, correlations."""
        return tuple(profile_tables.profile_tables(self.table_name(config)).values())

    def spec(self, config: Config, dtypes: dict[str, str]) -> Profile:
        """Declaration for a table of these columns."""
        of_job = self.location == "input" and self.table_name(config) == config.source
        default = config.event_time if of_job else "as_of" if self.location == "output" and "as_of" in dtypes else None
        time = (self.time or default) if self.by_day else None
        options = {name: getattr(self, name) for name in ProfileOptions.model_fields}
        return Profile(time=time, time_zone=config.time_zone, event_time_zone=config.event_time_zone, **options)

    def frame(self, place: Place) -> DataFrame:
        """Rows of the table, whose columns fit the declaration.

        Raises
        ------
        ColumnError, ConfigError, TableError
        """
        table, of_input = self.table_name(place.config), self.location == "input"
        tables: Tables = place.source if of_input else place.output
        frame = tables.read(table, schema=place.config.source_schema if of_input and table == place.config.source else None)
        dtypes = dict(frame.dtypes)
        self.spec(place.config, dtypes).check(dtypes, f"table '{table}'")
        return frame

    def hold(self, place: Place) -> None:
        """Columns of a table of the input; one of the output may be written by a stage before."""
        if self.location == "input":
            self.frame(place)

    def run(self, place: Place) -> StageResult:
        """Bring states, profile and pages up to date."""
        return _Run(self, place).result()


class _Run:
    """One run: what it found, scanned and wrote."""

    def __init__(self, stage: ProfileStage, place: Place) -> None:
        self.stage, self.place, self.config = stage, place, place.config
        self.output: Tables = place.output
        self.source: Tables = place.source if stage.location == "input" else place.output
        self.table = stage.table_name(place.config)
        self.names = profile_tables.profile_tables(self.table)
        self.written: dict[str, Commit] = {}

    def result(self) -> StageResult:
        """Do everything and tell."""
        frame = self.stage.frame(self.place)
        self.dtypes = dict(frame.dtypes)
        self.spec = self.stage.spec(self.config, self.dtypes)
        self.until = self.place.last or last_ended(self.place.now, self.spec.zone)
        stored = self._stored()
        version = self.source.source_version(self.table)
        n_scanned, scanned = self._scan(frame, stored, version)
        shown = self._show(version)
        section = {**shown.metadata["shown"], "scanned": scanned}
        warnings = section.pop("warnings")
        tables = []
        for what, name in self.names.items():
            commit = self.written.get(what) or self.output.last_commit(name)
            if commit is not None:
                tables.append(TableResult(name, commit.version, (commit.rows or 0) if what in self.written else 0))
        return StageResult(tables, section, warnings, processed_items=n_scanned if self.stage.location == "input" else 0)

    def _stored(self) -> Commit | None:
        """Newest commit of the states; they have this declaration and these types."""
        name = self.names["states"]
        found = self.output.definition(name)
        if found is not None and found != self.spec.state_hash:
            raise TableError(
                f"table '{name}' in {self.output.location} holds states of another declaration ({found}, now {self.spec.state_hash}); "
                "states of two declarations cannot be added: drop the table, or keep the declaration"
            )
        stored = self.output.last_commit(name)
        if stored is None or stored.changed_since:
            return None
        kinds = stored.metadata["kinds"]
        for column, kind in self._kinds().items():
            if kinds.get(column, kind) != kind and not self.place.rebuild:
                raise ColumnError(
                    f"column '{column}' of table '{self.table}' is of kind {kind}, and was of kind {kinds[column]} when its states were "
                    "stored; profile it again as a whole (rebuild), or mend its type"
                )
        return stored

    def _kinds(self) -> dict[str, str]:
        from sparkds.features.profile.states import kind_of

        return {name: kind_of(self.dtypes[name]) for name in self.spec.columns or self.dtypes}

    def _scan(self, frame: DataFrame, stored: Commit | None, version: str) -> tuple[int, list[str]]:
        """Write the states of the slices that are new or may have changed; rows of these, and the range of days."""
        from pyspark.sql import functions as F

        from sparkds.features.profile.states import profile_states_frame

        low = None if self.place.rebuild else self._first_day(stored, version)
        if low is not None and low > self.until:
            return 0, []
        taken, rows = frame, None
        if self.spec.time is not None:
            taken = frame.where(inside(self.spec, self.dtypes[self.spec.time], low, self.until))
            rows = None if low is None else {"day": Between(low, date.max)}
        commit = self.output.replace(
            self.names["states"],
            profile_states_frame(taken, self.spec),
            rows=rows,
            metadata={
                "job": JOB,
                "definition_hash": self.spec.state_hash,
                "source": self.table,
                "source_version": version,
                "until": self.until.isoformat(),
                "kinds": (stored.metadata["kinds"] if stored is not None and low is not None else {}) | self._kinds(),
            },
            spec=profile_tables.states_spec(self.spec, self.table),
        )
        self.written["states"] = commit
        states = self.output.read(self.names["states"])
        of_first = F.col("position") == F.lit(min(list(self.dtypes).index(name) for name in self.spec.columns or self.dtypes))
        new = states.where(of_first & (F.lit(True) if low is None else F.col("day") >= F.lit(low)))
        dated = F.when(F.col("day") < F.lit(date.max), F.col("day"))
        found = collect.one_row(new.agg(F.sum("n").alias("n"), F.min(dated).alias("first"), F.max(dated).alias("last")))
        days = [] if found["first"] is None else [found["first"].isoformat(), found["last"].isoformat()]
        return int(found["n"] or 0), days

    def _first_day(self, stored: Commit | None, version: str) -> date | None:
        """First day to scan; a day after the last one when there is none, None for everything."""
        from pyspark.sql import functions as F

        if stored is None:
            return None
        done = date.fromisoformat(stored.metadata["until"])
        same = version == stored.metadata["source_version"]
        if same and (self.spec.time is None or self.until <= done):
            return date.max
        if self.spec.time is None:
            return None
        states = self.output.read(self.names["states"])
        through = collect.largest_day(states, F.col("day"), until=done)
        if through is None:
            return None
        if same:
            return done + ONE_DAY
        changed = self._first_change(str(stored.metadata["source_version"]), version)
        late = through + ONE_DAY - timedelta(days=self.config.lateness_days)
        return late if changed is None else min(changed, through + ONE_DAY)

    def _first_change(self, before: str, now: str) -> date | None:
        """First day that the table says has changed; None where it does not say."""
        from sparkds.instants import local_day_column

        if not (before.isdecimal() and now.isdecimal()):
            return None
        if self.stage.location == "output" and self.spec.time == "as_of":
            days: list[str] = []
            for commit in self.output.commits(self.table):
                if commit.version > int(before):
                    if "as_of" not in commit.metadata:
                        return None
                    days += commit.metadata["as_of"]
            return min((date.fromisoformat(day) for day in days), default=None)
        changes = self.source.changes(self.table, since=int(before), until=int(now))
        if changes is None:
            return None
        time = str(self.spec.time)
        day = local_day_column(time, self.dtypes[time], self.spec.time_zone, self.spec.event_time_zone)
        return min(collect.days_in(changes, day), default=date.max)

    def _show(self, version: str) -> Commit:
        """Profile of the states as tables and pages, unless it is there; the commit that says what they show."""
        from pyspark.sql import functions as F

        from sparkds.features.profile.states import profile_of

        states_version = self.output.version(self.names["states"])
        told = json.dumps([self.spec.definition_hash, self.stage.last_days], sort_keys=True)
        known = self.output.last_commit(self.names["profile"])
        if (
            known is not None
            and not known.changed_since
            and not self.place.rebuild
            and known.metadata.get("states_version") == states_version
            and known.metadata.get("shown_as") == told
        ):
            return known
        states = self.output.read(self.names["states"])
        if self.stage.last_days is not None and self.spec.time is not None:
            newest = collect.largest_day(states, F.col("day"), until=self.until)
            if newest is not None:
                states = states.where(F.col("day").between(F.lit(newest - timedelta(days=self.stage.last_days - 1)), F.lit(newest)))
        profile = profile_of(states, self.spec)
        pages = self._pages(profile)
        shown = {
            "table": self.table,
            "rows": profile.n,
            "columns": len(profile.columns),
            "days": days_of(profile),
            "pages": pages,
            "findings": {c.column: list(c.findings) for c in profile.columns if c.findings},
            "warnings": self._warnings(profile),
        }
        metadata: dict[str, Any] = {
            "job": JOB,
            "definition_hash": self.spec.definition_hash,
            "declaration": self.spec.model_dump(mode="json"),
            "sources": {self.table: version},
            "states_version": states_version,
            "shown_as": told,
            "shown": shown,
        }
        create = self.place.spark.createDataFrame
        if profile.correlations or self.output.exists(self.names["correlations"]):
            of_pairs = create(profile_tables.correlation_rows(profile.correlations), profile_tables.CORRELATION_SCHEMA)
            pairs_spec = profile_tables.correlation_spec(self.spec, self.table)
            self.written["correlations"] = self.output.replace(
                self.names["correlations"], of_pairs, rows=None, metadata=metadata | {"shown": None}, spec=pairs_spec
            )
        of_columns = create(profile_tables.profile_rows(profile.columns), profile_tables.PROFILE_SCHEMA)
        commit = self.output.replace(
            self.names["profile"], of_columns, rows=None, metadata=metadata, spec=profile_tables.profile_spec(self.spec, self.table)
        )
        self.written["profile"] = commit
        if not profile.columns:  # nothing in the place of nothing is no commit
            return Commit(commit.version, commit.operation, metadata, 0)
        return commit

    def _warnings(self, profile: TableProfile) -> list[str]:
        told = [f"profile of '{self.table}': {sentence}" for sentence in profile.warnings]
        if not profile.columns:
            return [f"table '{self.table}' has no rows up to {self.until}; there is nothing to profile"]
        numeric = [c.column for c in profile.columns if c.kind in ("number", "decimal", "integer", "boolean")]
        if self.spec.correlated and len(numeric) > self.spec.correlated:
            told.append(
                f"profile of '{self.table}': {len(numeric) - self.spec.correlated} of {len(numeric)} numeric columns are not correlated; "
                "raise correlated for more"
            )
        return told

    def _pages(self, profile: TableProfile) -> str | None:
        """Write the pages; the path of the HTML one."""
        from sparkds.features.profile.page import page

        if not (self.stage.report and self.output.is_local):
            return None
        folder = Path(self.output.path(f"{self.names['profile']}_report").removeprefix("file:"))
        folder.mkdir(parents=True, exist_ok=True)
        title = f"Profile of {self.table}"
        blocks = page(profile, self.spec, title=title, pictures=draw(profile, folder))
        (folder / "profile.md").write_text(document.markdown(blocks), encoding="utf-8")
        (folder / "profile.html").write_text(document.html(title, blocks, folder), encoding="utf-8")
        return str(folder / "profile.html")


def inside(spec: Profile, dtype: str, low: date | None, until: date) -> Column:
    """Predicate on the raw time column: rows from local day `low` through `until`, and those without a time."""
    from pyspark.sql import functions as F

    from sparkds.sql import quoted

    assert spec.time is not None
    time = F.col(quoted(spec.time))
    if dtype == "date":
        wanted = time <= F.lit(until)
        return (wanted if low is None else wanted & (time >= F.lit(low))) | time.isNull()
    if dtype == "timestamp":
        wanted = time < F.lit(start_of_day(until + ONE_DAY, spec.zone))
        return (wanted if low is None else wanted & (time >= F.lit(start_of_day(low, spec.zone)))) | time.isNull()
    from sparkds.instants import local_day_column

    day = local_day_column(spec.time, dtype, spec.time_zone, spec.event_time_zone)
    wanted = day <= F.lit(until)
    if low is not None:  # the zones are at most a day apart, so that files of other days are skipped
        wanted &= (day >= F.lit(low)) & (time >= F.lit(low - ONE_DAY).cast("timestamp_ntz"))
    return wanted | time.isNull()


def days_of(profile: TableProfile) -> list[str]:
    """First and last day of a profile; empty where it has no days."""
    days = [day for column in profile.columns for day in (column.first_day, column.last_day) if day is not None]
    return [min(days).isoformat(), max(days).isoformat()] if days else []


def draw(profile: TableProfile, folder: Path) -> Sequence[document.Picture]:
    """Draw histograms and correlations into a folder; without what has nothing to show."""
    import pandas as pd

    from sparkds.figures.profile import correlation_heatmap, small_histograms

    rows: list[tuple[Any, ...]] = []
    for column in profile.columns:
        ends = _ends(column)
        rows += [(column.column, *bar, *ends) for bar in column.histogram]
    bars = pd.DataFrame(rows, columns=["column", "low", "high", "n", "first", "last"])
    pairs = pd.DataFrame(list(profile.correlations), columns=["column", "other", "pearson", "n", "spearman", "n_sampled"])
    wanted: list[tuple[str, str, Callable[[], Figure]]] = [
        ("Histograms: dates by day, texts by length; the outer bars hold what is beyond", "histograms", lambda: small_histograms(bars)),
        ("Correlations (Pearson)", "pearson", lambda: correlation_heatmap(pairs)),
        ("Correlations (Spearman, sampled)", "spearman", lambda: correlation_heatmap(pairs, value="spearman")),
    ]
    found = []
    for caption, stem, make in wanted:
        try:
            figure = make()
        except (ConfigError, DataError) as error:  # no matplotlib, or nothing to show
            LOG.info("no picture of %s: %s", caption.lower(), error)
            continue
        figure.savefig(folder / f"{stem}.png")
        found.append(document.Picture(caption, f"{stem}.png"))
    return found


def _ends(column: ColumnProfile) -> tuple[str, str]:
    """Texts at the ends of a histogram's axis."""
    if not column.histogram:
        return "", ""
    low, high = column.histogram[0].low, column.histogram[-1].high
    if column.kind not in ("date", "timestamp", "timestamp_ntz"):
        return f"{low:.4g}", f"{high:.4g}"
    try:
        return day_of(int(low)).isoformat(), day_of(int(high)).isoformat()
    except OverflowError:
        return "", ""
