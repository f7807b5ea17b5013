"""Feature set: whose events are summarised, over which windows, into which columns.

One declaration, the same in Python and YAML, from which the tiles, the snapshots, every column's name, type and
comment follow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from sparkds.days import checked_zone
from sparkds.declaration import Declaration
from sparkds.errors import ColumnError
from sparkds.features.aggregation import Aggregation, check_windows
from sparkds.features.aggregations import AnyAggregation, Count, Sum
from sparkds.features.rfm import RFM
from sparkds.features.states import State
from sparkds.features.windows import LIFETIME, Window
from sparkds.sql import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

RESERVED = ("as_of", "known_at", "day", "complete")


class Refunds(Declaration):
    """How events with a value below zero are treated.

    Attributes
    ----------
    column : str
        An event is a refund when this column is below zero.
    rule : {"gross", "net", "apart"}
        ``gross``: refunds take no part. ``net``: refunds lower the sums of `column` and take no part in anything else,
        so that they never count as purchases. ``apart``: as ``gross``, and ``refund_count`` and ``refund_total``
        (below zero) stand in columns of their own.
    """

    column: str = Field(description="an event is a refund when this column is below zero")
    rule: Literal["gross", "net", "apart"] = Field(description="gross, net or apart")


class Deduplication(Declaration):
    """Which of several copies of one event counts.

    Copies share the event id and the local day; an event without an id is never a copy.

    Attributes
    ----------
    event_id : str
        Column that names the event.
    order_by : str
        Column that decides; remaining ties go by the values of the columns that the features read.
    keep : {"last", "first"}
        The copy with the largest or the smallest `order_by`.
    """

    event_id: str = Field(description="column that names the event")
    order_by: str = Field(description="column that decides which copy counts")
    keep: Literal["last", "first"] = Field(description="the copy with the largest or smallest order_by")


class Feature(NamedTuple):
    """One feature column: its name, its aggregation and its window (days; None for lifetime)."""

    name: str
    aggregation: Aggregation
    window: Window


class FeatureSet(Declaration):
    """Rolling features of the entities in a table of events.

    Attributes
    ----------
    keys : tuple of str
        Columns that name the entity; compared column by column, rows with a null key are dropped and counted.
    event_time : str
        Column of type timestamp, date (a local day), or timestamp without zone together with `event_time_zone`.
    time_zone : str
        IANA name of the zone whose calendar days the features use, e.g. ``Europe/Berlin``.
    event_time_zone : str, optional
        IANA name of the zone in which a timestamp without zone is to be read.
    windows : tuple of int
        Days. A window of w days at `as_of` s covers the local days s - w + 1 … s.
    lifetime : bool
        Whether each aggregation also has a column over all days up to `as_of`.
    aggregations : tuple of aggregations
    rfm : RFM, optional
        Recency, frequency, monetary value, their scores and segments, and the CLV summary.
    refunds : Refunds, optional
        Events below zero are ordinary events if absent.
    deduplicate : Deduplication, optional
    first_day : date, optional
        Events before this local day are counted and left out.

    Examples
    --------
    >>> from sparkds.features import Count, FeatureSet, Sum
    >>> spec = FeatureSet(
    ...     keys=("customer_id",),
    ...     event_time="bought_at",
    ...     time_zone="Europe/Berlin",
    ...     windows=(7, 30),
    ...     aggregations=(Count(), Sum(column="amount")),
    ... )
    >>> [feature.name for feature in spec.features]
    ['event_count_7d', 'event_count_30d', 'amount_sum_7d', 'amount_sum_30d']

    On a session: ``spec.snapshots(spec.tiles(events), [date(2026, 6, 30)])`` is a lazy DataFrame.
    """

    keys: tuple[str, ...] = Field(min_length=1, description="columns that name the entity")
    event_time: str = Field(description="timestamp or date column of the events")
    time_zone: str = Field(description="IANA time zone whose calendar days the features use")
    event_time_zone: str | None = Field(default=None, description="IANA zone of a timestamp column without zone")
    windows: tuple[int, ...] = Field(description="trailing windows in days")
    lifetime: bool = Field(default=False, description="also a column over all days up to as_of")
    aggregations: tuple[AnyAggregation, ...] = Field(default=(), description="what is computed in each window")
    rfm: RFM | None = Field(default=None, description="recency, frequency, monetary value, scores, segments, CLV")
    refunds: Refunds | None = Field(default=None, description="how events below zero are treated")
    deduplicate: Deduplication | None = Field(default=None, description="which of several copies of an event counts")
    first_day: date | None = Field(default=None, description="events before this local day are left out")

    @field_validator("windows")
    @classmethod
    def _windows(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        return check_windows(windows)

    @field_validator("time_zone", "event_time_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        return checked_zone(zone)

    @field_validator("keys")
    @classmethod
    def _keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"key '{key}' is given twice")
            if key in RESERVED:
                raise ValueError(f"key '{key}' has the name of an output column; rename it ({', '.join(RESERVED)})")
        return keys

    @property
    def needs_features(self) -> bool:
        """Whether a declaration without aggregations and RFM is refused."""
        return True

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSet:
        if self.needs_features and not self.aggregations and self.rfm is None:
            raise ValueError("nothing to compute: give aggregations or rfm")
        names = [feature.name for feature in self.features] + list(self.rfm_columns)
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two features are named '{name}'; give one of them a name")
            if name in (*self.keys, *RESERVED):
                raise ValueError(f"feature '{name}' has the name of a key or of {', '.join(RESERVED)}")
        for aggregation in self._asked:
            windows = self._windows_of(aggregation)
            if not windows:
                raise ValueError(f"'{aggregation.stem}' has no window: give windows or lifetime")
            for window in windows:
                if window is not LIFETIME:
                    aggregation.check_window(window)
        stored = [state.name for state in self.states]
        for name in (*self.keys, *RESERVED):
            if name in stored:
                raise ValueError(f"key '{name}' has the name of a tile column; rename it in the events")
        return self

    def _windows_of(self, aggregation: Aggregation) -> tuple[Window, ...]:
        days: tuple[Window, ...] = self.windows if aggregation.windows is None else aggregation.windows
        lifetime = self.lifetime and aggregation.over_lifetime if aggregation.lifetime is None else aggregation.lifetime
        return (*days, LIFETIME) if lifetime else days

    @property
    def _asked(self) -> tuple[Aggregation, ...]:
        """Aggregations as given, under the refund rule."""
        if self.refunds is None:
            return self.aggregations
        rule, column = self.refunds.rule, self.refunds.column
        refund = f"coalesce({quoted(column)} < 0, false)"
        asked: list[Aggregation] = []
        for aggregation in self.aggregations:
            nets = rule == "net" and aggregation.refunds_count and getattr(aggregation, "column", None) == column
            where = f"not {refund}" + (f" and ({aggregation.where})" if aggregation.where else "")
            asked.append(aggregation if nets else aggregation.model_copy(update={"where": where}))
        if rule == "apart":
            asked.append(Count(name="refund_count", where=refund))
            asked.append(Sum(name="refund_total", column=column, where=refund))
        return tuple(asked)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Windowed feature columns in output order, without those of `rfm`."""
        return tuple(
            Feature(name=f"{a.stem}_lifetime" if w is None else f"{a.stem}_{w}d", aggregation=a, window=w)
            for a in self._asked
            for w in self._windows_of(a)
        )

    @property
    def rfm_columns(self) -> tuple[str, ...]:
        """Columns of `rfm` in output order."""
        return self.rfm.columns if self.rfm else ()

    @property
    def computed(self) -> tuple[Feature, ...]:
        """All columns that follow from windowed states: `features`, then the measures of `rfm`."""
        if self.rfm is None:
            return self.features
        return self.features + tuple(
            Feature(name=name, aggregation=aggregation, window=window) for name, (aggregation, window) in self.rfm.measures.items()
        )

    @property
    def state_windows(self) -> dict[State, tuple[Window, ...]]:
        """Every needed state and the windows in which it is asked."""
        asked: dict[State, list[Window]] = {}
        for feature in self.computed:
            for state, window in feature.aggregation.asked(feature.window):
                windows = asked.setdefault(state, [])
                if window not in windows:
                    windows.append(window)
        return {state: tuple(windows) for state, windows in asked.items()}

    @property
    def states(self) -> tuple[State, ...]:
        """States that a tile holds, in column order."""
        return tuple(self.state_windows)

    @property
    def longest_window(self) -> int:
        """Longest window in days, 1 if there is only lifetime."""
        return max((f.window for f in self.computed if f.window is not None), default=1)

    @property
    def zone(self) -> ZoneInfo:
        """The declared time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def tile_hash(self) -> str:
        """Hash of what the tiles depend on: 16 hexadecimal digits.

        Windows, names and segments are not in it, so tiles serve a changed window list as they are.
        """
        told = self.model_dump(mode="json", include=set(TILE_FIELDS))
        told["states"] = sorted(f"{type(s).__name__}:{s.name}" for s in self.states)
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def event_columns(self) -> tuple[str, ...]:
        """Event columns that are named in the declaration, apart from those inside SQL predicates."""
        named: list[str] = [*self.keys, self.event_time]
        for state in self.states:
            named.extend(c for c in (state.column, state.tie) if c)
        if self.refunds:
            named.append(self.refunds.column)
        if self.deduplicate:
            named.extend((self.deduplicate.event_id, self.deduplicate.order_by))
        return tuple(dict.fromkeys(named))

    def check(self, dtypes: Mapping[str, str], table: str = "events") -> None:
        """Hold the declaration against the columns of the events, before anything is scanned.

        Parameters
        ----------
        dtypes : mapping of column to Spark type name
        table : str
            Name of the events in messages.

        Raises
        ------
        ColumnError
            A column is missing (with the nearest name), or has a type that cannot be used.
        """
        for column in self.event_columns():
            if column not in dtypes:
                raise ColumnError.missing(column, tuple(dtypes), table)
        time_type = dtypes[self.event_time]
        if time_type not in ("timestamp", "timestamp_ntz", "date"):
            raise ColumnError(
                f"column '{self.event_time}' in {table} has type {time_type}; the event time must be a timestamp or a date: "
                "cast it before, or declare the schema of the input"
            )
        if time_type == "timestamp_ntz" and self.event_time_zone is None:
            raise ColumnError(
                f"column '{self.event_time}' in {table} is a timestamp without zone; say with event_time_zone "
                "in which zone it is to be read, e.g. event_time_zone: UTC"
            )
        for key in self.keys:
            if dtypes[key].startswith(("map", "variant")):
                raise ColumnError(f"key '{key}' in {table} has type {dtypes[key]}, which cannot be compared")
        for state in self.states:
            if state.column is not None:
                state.check(dtypes[state.column])
            if state.during is not None and state.during.hours is not None and time_type == "date":
                raise ColumnError(
                    f"column '{self.event_time}' in {table} is a date, so that its events have no hour; give a timestamp, "
                    "or a share without hours"
                )

    def tiles(self, events: DataFrame, *, first: date | None = None, last: date | None = None) -> DataFrame:
        """One row per entity and local day with mergeable state; see `sparkds.features.tiles.tiles_frame`."""
        from sparkds.features.tiles import tiles_frame

        return tiles_frame(self, events, first=first, last=last)

    def snapshots_of_events(self, events: DataFrame, days: Iterable[date]) -> DataFrame:
        """Snapshots without tiles that are kept; see `sparkds.features.snapshots.snapshots_of_events_frame`."""
        from sparkds.features.snapshots import snapshots_of_events_frame

        return snapshots_of_events_frame(self, events, days)

    def snapshots(self, tiles: DataFrame, days: Iterable[date]) -> DataFrame:
        """One row per entity and `as_of`; see `sparkds.features.snapshots.snapshots_frame`."""
        from sparkds.features.snapshots import snapshots_frame

        return snapshots_frame(self, tiles, days)


TILE_FIELDS: Sequence[str] = (
    "keys",
    "event_time",
    "time_zone",
    "event_time_zone",
    "refunds",
    "deduplicate",
    "first_day",
)
