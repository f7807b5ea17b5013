"""Measures: what one unit's facts give inside one stretch of time around its exposure.

A measure names a fact table, a predicate, a column and a stretch; it is the smallest thing that is computed, and metrics
share the measures they have in common.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final, Literal

MICROSECONDS_A_DAY: Final = 86_400_000_000

Aggregate = Literal["rows", "values", "sum", "distinct", "steps", "histogram"]
ADDITIVE: Final = frozenset({"rows", "values", "sum"})
"""Aggregates whose value over two stretches is the sum of both."""


@dataclass(frozen=True, order=True)
class Stretch:
    """Time relative to the exposure, in microseconds: ``start <= t - exposure < end``.

    Attributes
    ----------
    start : int
        Negative before the exposure.
    end : int, optional
        Open if None: until the experiment ends or the data do. Zero for a pre-period, which the exposure closes.
    """

    start: int = 0
    end: int | None = None

    @classmethod
    def after(cls, delay_days: float, days: float | None) -> Stretch:
        """From `delay_days` after the exposure, `days` long."""
        start = round(delay_days * MICROSECONDS_A_DAY)
        return cls(start, None if days is None else start + round(days * MICROSECONDS_A_DAY))

    @classmethod
    def before(cls, days: float) -> Stretch:
        """The `days` up to the exposure, which is not part of it."""
        return cls(-round(days * MICROSECONDS_A_DAY), 0)


@dataclass(frozen=True, order=True)
class Measure:
    """One number per unit.

    Attributes
    ----------
    fact : str
        Declared name of the fact table.
    aggregate : {"rows", "values", "sum", "distinct", "steps", "histogram"}
        Number of rows; of rows with a value; sum of values; number of different values; number of steps done in order; or the
        log histogram of the values, which is no number but bins with counts.
    column : str
        Empty for ``rows`` and ``steps``.
    where : tuple of str
        SQL predicate over fact columns; one a step for ``steps``, none for all rows.
    stretch : Stretch
    """

    fact: str
    aggregate: Aggregate
    column: str = ""
    where: tuple[str, ...] = ()
    stretch: Stretch = Stretch()

    @property
    def name(self) -> str:
        """Column of the unit table: the aggregate, the column and a digest of the whole measure."""
        told = json.dumps([self.fact, self.aggregate, self.column, self.where, self.stretch.start, self.stretch.end])
        digest = hashlib.sha256(told.encode()).hexdigest()[:10]
        stem = "_".join(part for part in (self.fact, self.column, self.aggregate) if part)
        return f"{''.join(c if c.isalnum() else '_' for c in stem)}_{digest}"
