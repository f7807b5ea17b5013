"""Profile: which columns of a table are described, by which days their states are kept, and how finely.

One declaration, the same in Python and YAML; what decides the stored states has a hash of its own, so that what is only shown may change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from sparkds.days import checked_zone
from sparkds.declaration import Declaration
from sparkds.errors import ColumnError, ConfigError

STATE_FIELDS: Final = (
    "time",
    "time_zone",
    "event_time_zone",
    "columns",
    "distinct_size",
    "counters",
    "correlated",
    "sample_rows",
    "seed",
)
"""Fields that decide the stored states."""
STATE_FORMAT: Final = 1
"""Raised when stored states would be read differently."""


class ProfileOptions(Declaration):
    """What of a table is profiled, and how finely; the fields that `Profile` and the stage share.

    Attributes
    ----------
    columns : tuple of str, optional
        Columns to profile; all if absent.
    quantiles : tuple of float
        Shares in (0, 1), ascending.
    top : int
        Most frequent values shown, at most `counters`.
    distinct_size : int
        Hashes kept to count distinct values: exact below so many, then with a relative standard error of 1/sqrt(distinct_size - 2).
    counters : int
        Values whose frequency is kept for a slice; what was lost beyond is stated as `top_error`.
    correlated : int
        At most so many numeric columns, the first ones, are correlated; work and states grow with its square. 0 for none.
    sample_rows : int
        Rows kept for a slice, by a seeded hash, for Spearman's correlation; 0 for none. Without time, `most_sampled` of the one slice.
    most_sampled : int
        Rows of all slices together that Spearman's correlation uses.
    seed : int
        Seed of the sample.
    near_constant : float
        A column is near-constant when one value has at least this share of its values …
    frequency_ratio : float
        … or is this many times as frequent as the next one, while less than a tenth of its values differ.
    id_like : float
        A column of whole numbers or texts is like an id when at least this share of its values differ.
    """

    columns: tuple[str, ...] | None = Field(default=None, min_length=1, description="columns to profile; all if absent")
    quantiles: tuple[float, ...] = Field(default=(0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99), description="shares in (0, 1), ascending")
    top: int = Field(default=10, ge=1, description="most frequent values shown")
    distinct_size: int = Field(default=2048, ge=64, le=65_536, description="hashes kept to count distinct values")
    counters: int = Field(default=256, ge=8, le=4096, description="values whose frequency is kept for a slice")
    correlated: int = Field(default=200, ge=0, le=4096, description="numeric columns that are correlated, at most")
    sample_rows: int = Field(default=256, ge=0, le=100_000, description="rows kept for a slice for Spearman's correlation")
    most_sampled: int = Field(default=5000, ge=10, le=100_000, description="rows that Spearman's correlation uses, at most")
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="seed of the sample")
    near_constant: float = Field(default=0.99, gt=0.5, le=1, description="share of one value from which a column is near-constant")
    frequency_ratio: float = Field(default=19.0, gt=1, description="ratio of the first to the second value, likewise")
    id_like: float = Field(default=0.95, gt=0.5, le=1, description="share of different values from which a column is like an id")

    @field_validator("quantiles")
    @classmethod
    def _quantiles(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 for share in shares) or list(shares) != sorted(set(shares)):
            raise ValueError(f"quantiles are {shares}; give ascending shares in (0, 1)")
        return shares

    @model_validator(mode="after")
    def _consistent(self) -> ProfileOptions:
        if self.top > self.counters:
            raise ValueError(f"top is {self.top}, but only {self.counters} counters are kept; raise counters or lower top")
        for column in self.columns or ():
            if (self.columns or ()).count(column) > 1:
                raise ValueError(f"column '{column}' is given twice")
        return self


class Profile(ProfileOptions):
    """What is known of every column of a table, from states that add over days.

    Attributes
    ----------
    time : str, optional
        Timestamp or date column whose local day is the slice of a row; the table is one slice if absent.
    time_zone : str
        IANA zone of the local days, and in which instants are shown.
    event_time_zone : str, optional
        IANA zone in which `time` is to be read where it is a timestamp without zone.

    The other fields are those of `ProfileOptions`.

    Examples
    --------
    >>> spec = Profile(time="bought_at", time_zone="Europe/Berlin", quantiles=(0.5, 0.99), top=5)
    >>> spec.state_hash == spec.model_copy(update={"top": 3}).state_hash
    True

    On a session: ``profile_states_frame(frame, spec)`` and ``profile_frame(states, spec)`` of `sparkds.features.profile.states`.
    """

    time: str | None = Field(default=None, description="column whose local day is the slice of a row")
    time_zone: str = Field(description="IANA time zone of the days, and in which instants are shown")
    event_time_zone: str | None = Field(default=None, description="IANA zone of a time column without zone")

    @field_validator("time_zone", "event_time_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        return checked_zone(zone)

    @property
    def zone(self) -> ZoneInfo:
        """Zone of the days."""
        return ZoneInfo(self.time_zone)

    @property
    def state_hash(self) -> str:
        """Hash of what decides the states."""
        told = {"format": STATE_FORMAT, **{name: value for name, value in self.model_dump(mode="json").items() if name in STATE_FIELDS}}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def check(self, dtypes: Mapping[str, str], table: str = "the table") -> None:
        """Hold the declaration against the columns of a table, before anything is scanned.

        Raises
        ------
        ColumnError
            A column is missing, or the time column cannot give days.
        ConfigError
            The table has no columns.
        """
        if not dtypes:
            raise ConfigError(f"{table} has no columns; there is nothing to profile")
        for column in (*(self.columns or ()), *((self.time,) if self.time else ())):
            if column not in dtypes:
                raise ColumnError.missing(column, tuple(dtypes), table)
        if self.time is None:
            return
        dtype = dtypes[self.time]
        if dtype not in ("timestamp", "timestamp_ntz", "date"):
            raise ColumnError(
                f"time column '{self.time}' in {table} has type {dtype}; days come from a timestamp or a date: cast it before, "
                "or leave time out to profile the table as one slice"
            )
        if dtype == "timestamp_ntz" and self.event_time_zone is None:
            raise ColumnError(
                f"time column '{self.time}' in {table} is a timestamp without zone; say with event_time_zone in which zone "
                "it is to be read, e.g. event_time_zone: UTC"
            )
