"""States: the mergeable numbers that a tile keeps of one entity and one local day.

A state says how Spark computes it from a day's events (an SQL aggregate over prepared columns) and which type its tile
column has; how states of many days become one is `merge`, which the window kernels carry out. No Spark in here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from sparkds.errors import ColumnError
from sparkds.sql import is_float

Merge = Literal["add", "least", "greatest", "first", "last", "set", "counts", "gaps"]

_DECIMAL = re.compile(r"decimal\((\d+),(-?\d+)\)")
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_ORDINAL = ("date", "timestamp", "timestamp_ntz")

DECIMAL_DIGITS = 38
HASH_BITS = 52


def decimal_type(dtype: str) -> tuple[int, int] | None:
    """Precision and scale of a Spark type name; None when it is not a decimal."""
    match = _DECIMAL.fullmatch(dtype)
    return (int(match.group(1)), int(match.group(2))) if match else None


def is_number(dtype: str) -> bool:
    """Whether a Spark type name is a whole number, a float or a decimal."""
    return dtype in _WHOLE or is_float(dtype) or decimal_type(dtype) is not None


def total_type(dtype: str) -> str:
    """Type of an exact sum: bigint, double, or a decimal ten digits wider (Spark's rule)."""
    digits = decimal_type(dtype)
    if digits:
        return f"decimal({min(DECIMAL_DIGITS, digits[0] + 10)},{digits[1]})"
    return "double" if is_float(dtype) else "bigint"


def squares_type(dtype: str) -> str:
    """Type of a sum of squares: exact where 38 digits hold it, else double."""
    digits = decimal_type(dtype)
    if digits:
        return f"decimal(38,{2 * digits[1]})" if 2 * digits[0] + 1 <= DECIMAL_DIGITS else "double"
    return "double" if is_float(dtype) else "decimal(38,0)"


def _need(ok: bool, column: str, dtype: str, what: str) -> None:
    if not ok:
        raise ColumnError(f"column '{column}' has type {dtype}; {what}")


@dataclass(frozen=True)
class PartOfWeek:
    """Local times at which events count: by weekday, by hour of the day, or both.

    Attributes
    ----------
    weekdays : tuple of int, optional
        ISO weekdays, 1 is Monday and 7 Sunday, of the local day.
    hours : (int, int), optional
        First local hour and the hour before which it ends; over midnight when the first is not below the second.
    """

    weekdays: tuple[int, ...] | None = None
    hours: tuple[int, int] | None = None


@dataclass(frozen=True)
class State:
    """One tile column.

    Attributes
    ----------
    column : str or None
        Event column that is read; None for the state of the rows themselves.
    where : str or None
        SQL predicate over event columns; only rows where it is true take part.
    tie : str or None
        Event column that orders events of the same instant.
    during : PartOfWeek or None
        Only events of these local times take part.
    """

    column: str | None = None
    where: str | None = None
    tie: str | None = None
    during: PartOfWeek | None = None

    suffix: ClassVar[str]
    merge: ClassVar[Merge]
    sql: ClassVar[str]
    derive: ClassVar[str] = "{value}"

    @property
    def name(self) -> str:
        """Name of the tile column: column, suffix, and a short hash of `where`, `tie` and `during` where there are any."""
        stem = f"{self.column}_{self.suffix}" if self.column else self.suffix
        if self.where is None and self.tie is None and self.during is None:
            return stem
        part = "" if self.during is None else f"\0{self.during.weekdays}\0{self.during.hours}"
        told = hashlib.sha256(f"{self.where}\0{self.tie}{part}".encode()).hexdigest()[:8]
        return f"{stem}__{told}"

    def check(self, dtype: str) -> None:
        """Refuse a column type that this state cannot read.

        Raises
        ------
        ColumnError
            With the types that are allowed.
        """

    def tile_type(self, dtype: str) -> str:
        """Spark type of the tile column for an event column of type `dtype`."""
        raise TypeError(f"{type(self).__name__} has no tile type")

    def prepared(self, dtype: str) -> str:
        """SQL of the prepared event column from ``{value}``; the type is settled here."""
        del dtype
        return self.derive


@dataclass(frozen=True)
class Rows(State):
    """Number of events."""

    suffix: ClassVar[str] = "rows"
    merge: ClassVar[Merge] = "add"
    sql: ClassVar[str] = "count_if({rows})"

    def tile_type(self, dtype: str) -> str:
        return "bigint"


@dataclass(frozen=True)
class Values(State):
    """Number of events with a value: not null, not NaN, not infinite."""

    suffix: ClassVar[str] = "n"
    merge: ClassVar[Merge] = "add"
    sql: ClassVar[str] = "count({value})"

    def tile_type(self, dtype: str) -> str:
        return "bigint"


@dataclass(frozen=True)
class Total(State):
    """Sum of the values: exact for whole numbers and decimals, an error when it does not fit."""

    suffix: ClassVar[str] = "total"
    merge: ClassVar[Merge] = "add"
    sql: ClassVar[str] = "try_sum({value})"

    def check(self, dtype: str) -> None:
        _need(is_number(dtype), str(self.column), dtype, "a sum needs a number")

    def tile_type(self, dtype: str) -> str:
        return total_type(dtype)

    def prepared(self, dtype: str) -> str:
        return "cast({value} as bigint)" if dtype in _WHOLE else "{value}"


@dataclass(frozen=True)
class Squares(State):
    """Sum of the squared values."""

    suffix: ClassVar[str] = "squares"
    merge: ClassVar[Merge] = "add"
    sql: ClassVar[str] = "try_sum({value})"

    def check(self, dtype: str) -> None:
        _need(is_number(dtype), str(self.column), dtype, "a sum of squares needs a number")

    def tile_type(self, dtype: str) -> str:
        return squares_type(dtype)

    def prepared(self, dtype: str) -> str:
        if squares_type(dtype) == "double":
            return "cast({value} as double) * cast({value} as double)"
        exact = "cast({value} as decimal(19,0))" if dtype in _WHOLE else "{value}"
        return f"cast({exact} * {exact} as {squares_type(dtype)})"


@dataclass(frozen=True)
class SquaredDeviation(State):
    """Sum of squared deviations from the day's own mean, M2 (a central moment, so days merge without cancellation)."""

    suffix: ClassVar[str] = "m2"
    merge: ClassVar[Merge] = "add"
    sql: ClassVar[str] = "coalesce(var_pop({value}) * count({value}), 0D)"
    derive: ClassVar[str] = "cast({value} as double)"

    def check(self, dtype: str) -> None:
        _need(is_number(dtype), str(self.column), dtype, "a standard deviation needs a number")

    def tile_type(self, dtype: str) -> str:
        return "double"


@dataclass(frozen=True)
class Smallest(State):
    """Smallest value."""

    suffix: ClassVar[str] = "min"
    merge: ClassVar[Merge] = "least"
    sql: ClassVar[str] = "min({value})"

    def check(self, dtype: str) -> None:
        _need(is_number(dtype) or dtype in _ORDINAL, str(self.column), dtype, "min needs a number, date or timestamp")

    def tile_type(self, dtype: str) -> str:
        return dtype


@dataclass(frozen=True)
class Largest(State):
    """Largest value."""

    suffix: ClassVar[str] = "max"
    merge: ClassVar[Merge] = "greatest"
    sql: ClassVar[str] = "max({value})"

    def check(self, dtype: str) -> None:
        _need(is_number(dtype) or dtype in _ORDINAL, str(self.column), dtype, "max needs a number, date or timestamp")

    def tile_type(self, dtype: str) -> str:
        return dtype


@dataclass(frozen=True)
class Earliest(State):
    """Value of the first event of the day that has one; equal instants go by the tie column, then by the value."""

    suffix: ClassVar[str] = "first"
    merge: ClassVar[Merge] = "first"
    sql: ClassVar[str] = "min(case when {value} is not null then named_struct('at', {at}, 'tie', {tie}, 'value', {value}) end).value"

    def tile_type(self, dtype: str) -> str:
        return dtype


@dataclass(frozen=True)
class Latest(State):
    """Value of the last event of the day that has one; equal instants go by the tie column, then by the value."""

    suffix: ClassVar[str] = "last"
    merge: ClassVar[Merge] = "last"
    sql: ClassVar[str] = "max(case when {value} is not null then named_struct('at', {at}, 'tie', {tie}, 'value', {value}) end).value"

    def tile_type(self, dtype: str) -> str:
        return dtype


@dataclass(frozen=True)
class FirstTotal(State):
    """Sum of the values of the first day that has one."""

    suffix: ClassVar[str] = "first_total"
    merge: ClassVar[Merge] = "first"
    sql: ClassVar[str] = "try_sum({value})"

    def check(self, dtype: str) -> None:
        _need(is_number(dtype), str(self.column), dtype, "a sum needs a number")

    def tile_type(self, dtype: str) -> str:
        return total_type(dtype)

    def prepared(self, dtype: str) -> str:
        return "cast({value} as bigint)" if dtype in _WHOLE else "{value}"


@dataclass(frozen=True)
class ActiveDay(State):
    """1 on a day with an event, so that sums count days."""

    suffix: ClassVar[str] = "active_days"
    merge: ClassVar[Merge] = "add"
    sql: ClassVar[str] = "cast(max({rows}) as bigint)"

    def tile_type(self, dtype: str) -> str:
        return "bigint"


@dataclass(frozen=True)
class FirstDay(State):
    """First local day with an event."""

    suffix: ClassVar[str] = "first_day"
    merge: ClassVar[Merge] = "first"
    sql: ClassVar[str] = "min(case when {rows} then {day} end)"

    def tile_type(self, dtype: str) -> str:
        return "date"


@dataclass(frozen=True)
class LastDay(State):
    """Last local day with an event."""

    suffix: ClassVar[str] = "last_day"
    merge: ClassVar[Merge] = "last"
    sql: ClassVar[str] = "max(case when {rows} then {day} end)"

    def tile_type(self, dtype: str) -> str:
        return "date"


@dataclass(frozen=True)
class FirstInstant(State):
    """Instant of the first event."""

    suffix: ClassVar[str] = "first_instant"
    merge: ClassVar[Merge] = "least"
    sql: ClassVar[str] = "timestamp_micros(min(case when {rows} then {at} end))"

    def tile_type(self, dtype: str) -> str:
        return "timestamp"


@dataclass(frozen=True)
class LastInstant(State):
    """Instant of the last event."""

    suffix: ClassVar[str] = "last_instant"
    merge: ClassVar[Merge] = "greatest"
    sql: ClassVar[str] = "timestamp_micros(max(case when {rows} then {at} end))"

    def tile_type(self, dtype: str) -> str:
        return "timestamp"


@dataclass(frozen=True)
class SquaredGaps(State):
    """Sum of the squared times between neighbouring events, in squared microseconds; exact.

    Days merge with the gap from the last instant of one active day to the first of the next. The day's instants are
    gathered and sorted, once per entity and day, so this state is for events that one entity has thousands of a day.
    Where a clock is put back across midnight (St John's until 2011), events of the day before that come later in time are
    taken before those of the day.
    """

    suffix: ClassVar[str] = "squared_gaps"
    merge: ClassVar[Merge] = "gaps"
    sql: ClassVar[str] = (
        "aggregate(sort_array(collect_list(case when {rows} then {at} end)), "
        "named_struct('before', cast(null as bigint), 'total', cast(0 as decimal(38,0))), "
        "(s, x) -> named_struct('before', x, 'total', cast(s.total + coalesce("
        "cast(x - s.before as decimal(19,0)) * cast(x - s.before as decimal(19,0)), 0) as decimal(38,0))), s -> s.total)"
    )

    def tile_type(self, dtype: str) -> str:
        return "decimal(38,0)"


@dataclass(frozen=True)
class Items(State):
    """The set of different values."""

    suffix: ClassVar[str] = "items"
    merge: ClassVar[Merge] = "set"
    sql: ClassVar[str] = "sort_array(collect_set({value}))"

    def check(self, dtype: str) -> None:
        _need(not dtype.startswith(("map", "array", "struct", "variant")), str(self.column), dtype, "distinct needs a plain value")

    def tile_type(self, dtype: str) -> str:
        return f"array<{dtype}>"


@dataclass(frozen=True)
class Registers(State):
    """HyperLogLog registers, sparse: the set of ``register * 64 + rank`` of the values' 64-bit hashes.

    Flajolet et al. 2007; the register is the hash's top `precision` bits, the rank the position of the first one-bit
    in the rest. Hash: Spark's xxhash64 of the value cast to text.
    """

    precision: int = 12
    suffix: ClassVar[str] = "registers"
    merge: ClassVar[Merge] = "set"
    sql: ClassVar[str] = "sort_array(collect_set({value}))"

    @property
    def name(self) -> str:
        """Name of the tile column, with the precision."""
        return super().name.replace("_registers", f"_registers{self.precision}")

    def tile_type(self, dtype: str) -> str:
        return "array<int>"

    def prepared(self, dtype: str) -> str:
        rest = 64 - self.precision
        digest = "xxhash64(cast({value} as string))"
        low = f"({digest} & {(1 << rest) - 1}L)"
        return (
            f"case when {{value}} is not null then cast(shiftrightunsigned({digest}, {rest}) * 64 + {rest + 1} "
            f"- (case when {low} = 0 then 0 else length(bin({low})) end) as int) end"
        )


@dataclass(frozen=True)
class Categories(State):
    """Count of every value, exact in one shuffle.

    Spark has no mergeable map of counts, but ``histogram_numeric`` with more bins than values is one for numbers: the
    values' 52-bit hashes are counted by it and joined with the set of values. Two values of one entity and day
    whose hashes agree (chance below k^2 / 2^53 for k values) would each get both counts.
    """

    suffix: ClassVar[str] = "categories"
    merge: ClassVar[Merge] = "counts"
    digest: ClassVar[str] = "cast(xxhash64(cast({x} as string)) & 4503599627370495L as double)"
    sql: ClassVar[str] = (
        "transform(array_sort(collect_set({value})), c -> named_struct('item', c, 'n', "
        "cast(aggregate(filter(histogram_numeric(" + digest.replace("{x}", "{value}") + ", 1000000), "
        "b -> b.x = " + digest.replace("{x}", "c") + "), 0D, (s, b) -> s + b.y) as bigint)))"
    )

    def check(self, dtype: str) -> None:
        _need(dtype == "string", str(self.column), dtype, "top_category needs a string")

    def tile_type(self, dtype: str) -> str:
        return f"array<struct<item:{dtype},n:bigint>>"


BUCKET_ZERO = 40_000


@dataclass(frozen=True)
class Buckets(State):
    """Counts of the values in buckets of equal relative width, a DDSketch (Masson, Rim and Lee 2019, section 2).

    Bucket i holds ``gamma^(i-1) < |x| <= gamma^i`` with ``gamma = (1 + a) / (1 - a)``; the key is
    ``sign(x) * (i + 40000)``, and 0 for zero.
    """

    relative_accuracy: float = 0.01
    suffix: ClassVar[str] = "buckets"
    merge: ClassVar[Merge] = "counts"
    sql: ClassVar[str] = (
        "transform(array_sort(array_distinct(histogram_numeric({value}, 1000000).x)), k -> named_struct('item', "
        "cast(k as int), 'n', cast(aggregate(filter(histogram_numeric({value}, 1000000), b -> b.x = k), 0D, "
        "(s, b) -> s + b.y) as bigint)))"
    )

    @property
    def name(self) -> str:
        """Name of the tile column, with the relative accuracy in parts per 100 000."""
        return super().name.replace("_buckets", f"_buckets{round(self.relative_accuracy * 100_000)}")

    def check(self, dtype: str) -> None:
        _need(is_number(dtype), str(self.column), dtype, "a quantile needs a number")

    def tile_type(self, dtype: str) -> str:
        return "array<struct<item:int,n:bigint>>"

    @property
    def gamma(self) -> float:
        """Ratio of a bucket's edges."""
        return (1 + self.relative_accuracy) / (1 - self.relative_accuracy)

    def prepared(self, dtype: str) -> str:
        x = "cast({value} as double)"
        size = f"ceil(ln(abs({x})) / ln({self.gamma!r}D)) + {BUCKET_ZERO}"
        return f"case when {x} = 0 then 0D else signum({x}) * ({size}) end"
