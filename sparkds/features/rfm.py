"""RFM: how recently, how often and for how much an entity buys, its scores and segment, and the CLV summary.

A declaration and the pure rules behind it: which measures it needs, which score follows from quantile edges, and which
segment from three scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.features import states
from sparkds.features.aggregations import (
    ActiveDays,
    Aggregation,
    ColumnAggregation,
    Count,
    DaysSinceLast,
    Distinct,
    Mean,
    Sum,
)
from sparkds.features.reduced import Merged, Reduced, TileTypes
from sparkds.features.states import State
from sparkds.features.windows import LIFETIME, Window
from sparkds.sql import quoted

SCORES = (1, 2, 3, 4, 5)
MEASURES = ("recency_days", "frequency", "monetary")
SCORE_COLUMNS = ("r_score", "f_score", "m_score")


class SegmentRule(Declaration):
    """Scores that make a segment: inclusive ranges, 5 the best.

    Attributes
    ----------
    segment : str
    r, f, m : (int, int)
        Lowest and highest score.
    """

    segment: str = Field(min_length=1)
    r: tuple[int, int] = Field(default=(1, 5), description="lowest and highest recency score")
    f: tuple[int, int] = Field(default=(1, 5), description="lowest and highest frequency score")
    m: tuple[int, int] = Field(default=(1, 5), description="lowest and highest monetary score")

    @model_validator(mode="after")
    def _ranges(self) -> SegmentRule:
        for name, (low, high) in (("r", self.r), ("f", self.f), ("m", self.m)):
            if not 1 <= low <= high <= 5:
                raise ValueError(f"segment '{self.segment}': {name}=[{low}, {high}] is not a range inside [1, 5]")
        return self

    def holds(self, r: int, f: int, m: int) -> bool:
        """Whether the scores are inside all three ranges."""
        return self.r[0] <= r <= self.r[1] and self.f[0] <= f <= self.f[1] and self.m[0] <= m <= self.m[1]


SEGMENTS = (
    SegmentRule(segment="champions", r=(5, 5), f=(4, 5)),
    SegmentRule(segment="champions", r=(4, 4), f=(4, 5), m=(4, 5)),
    SegmentRule(segment="loyal", r=(3, 4), f=(4, 5)),
    SegmentRule(segment="potential_loyalists", r=(4, 5), f=(2, 3)),
    SegmentRule(segment="new_customers", r=(5, 5), f=(1, 1)),
    SegmentRule(segment="promising", r=(4, 4), f=(1, 1)),
    SegmentRule(segment="need_attention", r=(3, 3), f=(3, 3)),
    SegmentRule(segment="about_to_sleep", r=(3, 3), f=(1, 2)),
    SegmentRule(segment="cannot_lose", r=(1, 2), f=(4, 5), m=(4, 5)),
    SegmentRule(segment="at_risk", r=(1, 2), f=(3, 5)),
    SegmentRule(segment="hibernating", r=(2, 2), f=(1, 2)),
    SegmentRule(segment="hibernating", r=(1, 1), f=(2, 2)),
    SegmentRule(segment="lost", r=(1, 1), f=(1, 1)),
)
"""Segments in use when none are declared; the first rule that holds decides."""


class RFM(Declaration):
    """Recency, frequency and monetary value of an entity's purchases.

    A purchase is an event whose `value` is above zero (and for which `purchases` is true).

    Attributes
    ----------
    value : str
        Column with the amount.
    frequency : {"orders", "purchase_days"}
        Purchases (different `order_id` if there is one), or local days with a purchase.
    monetary : {"mean", "sum"}
        Mean value of a purchase, or the sum.
    purchases : str, optional
        SQL predicate that a purchase fulfils besides a value above zero.
    order_id : str, optional
        Column that joins the lines of one order.
    window : int, optional
        Days; all days up to `as_of` if absent.
    ties : {"low", "high"}
        Whether a measure equal to an edge belongs to the bin below or above the edge.
    segments : tuple of SegmentRule
        The first rule that holds decides; together they cover all 125 cells.
    clv : bool
        Whether the CLV summary columns are made.

    Notes
    -----
    Output columns: ``recency_days`` (days from the last purchase day to `as_of`), ``frequency``, ``monetary``; scores
    ``r_score f_score m_score`` 1 … 5, 5 the best; ``rfm_segment``; all null without a purchase, but ``frequency``
    which is 0. CLV summary (Fader, Hardie and Lee 2005; always over all days): ``clv_frequency`` purchase days - 1,
    ``clv_recency_days`` last - first purchase day, ``clv_age_days`` `as_of` - first purchase day, ``clv_monetary``
    mean daily value of the repeat days, 0 without repeats.
    """

    value: str = Field(min_length=1, description="column with the amount")
    frequency: Literal["orders", "purchase_days"] = Field(description="orders or purchase_days")
    monetary: Literal["mean", "sum"] = Field(description="mean value of a purchase, or the sum")
    purchases: str | None = Field(default=None, min_length=1, description="SQL predicate of a purchase")
    order_id: str | None = Field(default=None, description="column that joins the lines of one order")
    window: int | None = Field(default=None, gt=0, description="days; all days if absent")
    ties: Literal["low", "high"] = Field(default="low", description="bin of a measure that equals an edge")
    segments: tuple[SegmentRule, ...] = Field(default=SEGMENTS, description="first rule that holds decides")
    clv: bool = Field(default=True, description="make the CLV summary columns")

    @model_validator(mode="after")
    def _covered(self) -> RFM:
        open_cells = [cell for cell in product(SCORES, SCORES, SCORES) if self.segment(*cell) is None]
        if open_cells:
            shown = ", ".join(f"r{r} f{f} m{m}" for r, f, m in open_cells[:5])
            raise ValueError(
                f"the segments leave {len(open_cells)} of 125 cells open ({shown}{' …' if len(open_cells) > 5 else ''}); "
                "add rules, or a last one without ranges"
            )
        if self.order_id is not None and self.frequency != "orders":
            raise ValueError("order_id is for frequency: orders")
        return self

    def segment(self, r: int, f: int, m: int) -> str | None:
        """Segment of three scores; None when no rule holds."""
        return next((rule.segment for rule in self.segments if rule.holds(r, f, m)), None)

    @property
    def purchase(self) -> str:
        """SQL of "this event is a purchase"."""
        value = quoted(self.value)
        above = f"{value} > 0 and {value} < cast('Infinity' as double)"
        return f"{above} and ({self.purchases})" if self.purchases else above

    @property
    def measures(self) -> Mapping[str, tuple[Aggregation, Window]]:
        """Output column to its aggregation and window."""
        where = self.purchase
        frequency: Aggregation = Count(where=where)
        if self.frequency == "purchase_days":
            frequency = ActiveDays(where=where)
        elif self.order_id:
            frequency = Distinct(column=self.order_id, where=where)
        amount = Mean if self.monetary == "mean" else Sum
        measures: dict[str, tuple[Aggregation, Window]] = {
            "recency_days": (DaysSinceLast(where=where), self.window),
            "frequency": (frequency, self.window),
            "monetary": (PurchaseValue(column=self.value, where=where, of=amount(column=self.value, where=where)), self.window),
        }
        if self.clv:
            measures["clv_frequency"] = (RepeatDays(column=self.value, where=where), LIFETIME)
            measures["clv_recency_days"] = (RepeatSpan(column=self.value, where=where), LIFETIME)
            measures["clv_age_days"] = (CustomerAge(column=self.value, where=where), LIFETIME)
            measures["clv_monetary"] = (RepeatValue(column=self.value, where=where), LIFETIME)
        return measures

    @property
    def columns(self) -> tuple[str, ...]:
        """Output columns in order, scores and segment included."""
        measured = tuple(self.measures)
        return (*measured[:3], *SCORE_COLUMNS, "rfm_segment", "rfm_edges_version", *measured[3:])


class Edges(NamedTuple):
    """Fitted inner quantile edges of the three measures, ascending, four each.

    Attributes
    ----------
    version : int
        1 for the first fit.
    recency_days, frequency, monetary : tuple of 4 float
    """

    version: int
    recency_days: tuple[float, ...]
    frequency: tuple[float, ...]
    monetary: tuple[float, ...]


EDGE_SHARES = (0.2, 0.4, 0.6, 0.8)


def score(value: float, edges: Sequence[float], *, ties: Literal["low", "high"], best: Literal["low", "high"]) -> int:
    """Score 1 … 5 of a measure; 5 is the best.

    Parameters
    ----------
    value : float
    edges : (4,)
        Ascending inner edges; equal edges leave the scores between them without members.
    ties : {"low", "high"}
        Bin of a value that equals an edge.
    best : {"low", "high"}
        Whether small (recency) or large values are the best.

    Examples
    --------
    >>> score(3, (1, 2, 3, 4), ties="low", best="high")
    3
    >>> score(3, (1, 2, 3, 4), ties="low", best="low")
    3
    """
    passed = int(np.searchsorted(np.asarray(edges, dtype=float), value, side="left" if ties == "low" else "right"))
    return 1 + passed if best == "high" else 5 - passed


class PurchaseValue(ColumnAggregation):
    """Mean or sum of the purchases; null without any."""

    kind: Literal["purchase_value"] = "purchase_value"
    of: Mean | Sum

    @property
    def needs(self) -> tuple[State, ...]:
        return (*self.of.needs, states.Values(self.column, self.where))

    def output_type(self, of: TileTypes) -> str:
        return self.of.output_type(of)

    def value(self, of: Merged) -> Reduced:
        return Reduced(self.of.value(of).values, of(self.needs[-1]).values > 0)

    def comment(self, window: Window) -> str:
        return self.of.comment(window)


class _Repeat(ColumnAggregation):
    """Purchases after the first purchase day."""

    @property
    def days(self) -> State:
        """Days with a purchase."""
        return states.ActiveDay(where=self.where)

    @property
    def first_day(self) -> State:
        """First purchase day."""
        return states.FirstDay(where=self.where)

    @property
    def last_day(self) -> State:
        """Last purchase day."""
        return states.LastDay(where=self.where)

    @property
    def needs(self) -> tuple[State, ...]:
        return (self.days, self.first_day, self.last_day)

    def output_type(self, of: TileTypes) -> str:
        return "int"


class RepeatDays(_Repeat):
    """Purchase days after the first one; null without a purchase."""

    kind: Literal["repeat_days"] = "repeat_days"
    unit: ClassVar[str] = "days"

    def value(self, of: Merged) -> Reduced:
        days = of(self.days).values
        return Reduced(days - 1, days > 0)


class RepeatSpan(_Repeat):
    """Days from the first to the last purchase day; null without a purchase."""

    kind: Literal["repeat_span"] = "repeat_span"
    unit: ClassVar[str] = "days"

    def value(self, of: Merged) -> Reduced:
        first, last = of(self.first_day), of(self.last_day)
        return Reduced(last.values - first.values, first.valid)


class CustomerAge(_Repeat):
    """Days from the first purchase day to `as_of`; null without a purchase."""

    kind: Literal["customer_age"] = "customer_age"
    unit: ClassVar[str] = "days"

    @property
    def counts_from(self) -> State:
        return self.first_day

    def value(self, of: Merged) -> Reduced:
        first = of(self.first_day)
        return Reduced(of.as_of - first.values, first.valid)


class RepeatValue(_Repeat):
    """Mean daily value of the purchase days after the first; 0 without repeats, null without a purchase."""

    kind: Literal["repeat_value"] = "repeat_value"

    @property
    def needs(self) -> tuple[State, ...]:
        return (self.days, states.Total(self.column, self.where), states.FirstTotal(self.column, self.where))

    def output_type(self, of: TileTypes) -> str:
        return "double"

    def value(self, of: Merged) -> Reduced:
        days, total, first = (of(state) for state in self.needs)
        unit = 10.0 ** (of.scale(self.needs[1]) or 0)
        repeats = np.maximum(days.values - 1, 1)
        spent = np.where(days.values > 1, total.values - first.values, 0).astype(np.float64)
        return Reduced(spent / unit / repeats, days.values > 0)
