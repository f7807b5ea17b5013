"""Aggregation: what every kind of aggregation has - name, predicate, windows, the states it needs and the value that follows.

Kinds inherit from it and stand in `sparkds.features.aggregations`, or beside it in a module of their field.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from sparkds.declaration import Declaration
from sparkds.features.reduced import Merged, Reduced, TileTypes
from sparkds.features.states import State
from sparkds.features.windows import LIFETIME, Window


class Aggregation(Declaration):
    """Fields that every kind has.

    Attributes
    ----------
    name : str, optional
        Stem of the feature columns ``{name}_{window}d`` and ``{name}_lifetime``.
    where : str, optional
        SQL predicate over event columns; only events for which it is true take part.
    windows : tuple of int, optional
        Days; the feature set's own list if absent.
    lifetime : bool, optional
        Whether a lifetime column is made; as the feature set says if absent.
    """

    kind: str
    name: str | None = Field(default=None, min_length=1, description="stem of the column names")
    where: str | None = Field(default=None, min_length=1, description="SQL predicate over event columns")
    windows: tuple[int, ...] | None = Field(default=None, description="days; the feature set's list if absent")
    lifetime: bool | None = Field(default=None, description="make a lifetime column; as the feature set says if absent")

    unit: ClassVar[str] = ""
    refunds_count: ClassVar[bool] = False
    """Whether events below zero take part under the refund rule `net`."""
    over_lifetime: ClassVar[bool] = True
    """Whether the kind has a value over all days up to `as_of`."""
    changes_daily: ClassVar[bool] = False
    """Whether the value can change on a day on which no event enters or leaves a window that is asked, otherwise than by `counts_from`."""
    shows_state: ClassVar[bool] = False
    """Whether the feature is the merge of its only state as it is, so that the state can be read back from it."""

    @field_validator("windows")
    @classmethod
    def _windows(cls, windows: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if windows is None else check_windows(windows)

    @model_validator(mode="after")
    def _spans(self) -> Aggregation:
        if self.lifetime and not self.over_lifetime:
            raise ValueError(f"{self.kind} needs a window of days; it has no lifetime column")
        for window in self.windows or ():
            self.check_window(window)
        return self

    def check_window(self, window: int) -> None:
        """Refuse a window in which this aggregation means nothing.

        Raises
        ------
        ValueError
            With the windows that are allowed.
        """

    def asked(self, window: Window) -> tuple[tuple[State, Window], ...]:
        """States that the value of one window is made of, each with the window over which it is merged."""
        return tuple((state, window) for state in self.needs)

    @property
    def stem(self) -> str:
        """Name as given, or ``{column}_{kind}``."""
        return self.name or self.default_name

    @property
    def default_name(self) -> str:
        """Stem when no name is given."""
        return self.kind

    @property
    def needs(self) -> tuple[State, ...]:
        """States that a tile must hold for this aggregation."""
        raise TypeError(f"{type(self).__name__} needs no state")

    @property
    def counts_from(self) -> State | None:
        """State of the day from which this counts days up to `as_of`, so that it moves without an event; None for all else."""
        return None

    def output_type(self, of: TileTypes) -> str:
        """Spark type of the feature, from the types of the tile columns."""
        raise TypeError(f"{type(self).__name__} has no output type")

    def value(self, of: Merged) -> Reduced:
        """Feature from the merged states of one window.

        Parameters
        ----------
        of : Merged
            Gives the merged state of a `State`; ``of.within(days)`` gives that over another window.
        """
        raise TypeError(f"{type(self).__name__} has no value")

    def comment(self, window: Window) -> str:
        """Text for the feature column's comment."""
        span = "all days up to as_of" if window is LIFETIME else f"the {window} days up to and including as_of"
        column = getattr(self, "column", None)
        of = f" of {column}" if column else ""
        only = f", events where {self.where}" if self.where else ""
        unit = self.unit or (f"unit of {column}" if column else "")
        return f"{self.kind}{of} over {span}{only}" + (f" ({unit})" if unit else "")


class ColumnAggregation(Aggregation):
    """An aggregation of one event column."""

    column: str = Field(min_length=1, description="event column")

    @property
    def default_name(self) -> str:
        """``{column}_{kind}``."""
        return f"{self.column}_{self.kind}"


def check_windows(windows: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse windows that are not positive, repeated or absurdly long; give them back ascending."""
    for window in windows:
        if window <= 0:
            raise ValueError(f"window {window} is not positive; give days ≥ 1")
        if window > 36_500:
            raise ValueError(f"window {window} is longer than a century; use lifetime")
    twice = sorted({w for w in windows if windows.count(w) > 1})
    if twice:
        raise ValueError(f"window {twice[0]} is given twice; give each length once")
    return tuple(sorted(windows))
