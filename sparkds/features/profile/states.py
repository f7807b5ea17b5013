"""Profile states: one scan of a frame, folded on the workers to one small row for each slice and column; and the profile of such rows.

Takes frames and gives lazy frames of states; the profile that comes to the driver has a row a column and a bounded sample.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.blocks import map_blocks
from sparkds.features.profile.arrow import BLOCK_ROWS, KEYS, STATE_SCHEMA, Layout, MergeKernel, PartitionFold
from sparkds.features.profile.column_state import NUMERIC, Kind
from sparkds.features.profile.declaration import Profile
from sparkds.features.profile.finished import FINISHED_SCHEMA, FinishKernel, table_profile
from sparkds.features.profile.kernel import Channel, Sizes
from sparkds.features.profile.results import LONG_DIGITS
from sparkds.instants import instant_column
from sparkds.sql import quoted

if TYPE_CHECKING:
    from sparkds.features.profile.results import TableProfile

TEXT_LENGTH: Final = 100
"""Characters that are kept of a frequent text."""
TEXT_EVERY: Final = 16
"""After the first block of a partition, texts come along for one row in so many; hashes always do."""
ROW_BITS: Final = 33
"""Bits of a row's number within its partition, in `monotonically_increasing_id`."""
KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), "integer"),
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "timestamp_ntz": "timestamp_ntz",
    "binary": "binary",
}


def kind_of(dtype: str) -> Kind:
    """What is measured of a column of a Spark type.

    Examples
    --------
    >>> kind_of("decimal(10,2)"), kind_of("array<int>")
    ('decimal', 'other')
    """
    if re.match(r"(string|varchar|char)\b", dtype):
        return "string"
    return "decimal" if dtype.startswith("decimal") else KINDS.get(dtype, "other")


def profile_states_frame(frame: DataFrame, spec: Profile) -> DataFrame:
    """States of all columns by slice, in one scan.

    Columns come to the workers as two arrays of numbers (Arrow costs by column, hardly by element), texts as their hashes and lengths.

    Parameters
    ----------
    frame : DataFrame
    spec : Profile

    Returns
    -------
    DataFrame
        Lazy; a row for each ``day`` and ``column``. ``day`` is null without `Profile.time`; rows whose time is null are in 9999-12-31.
        One scan of `frame` and one exchange of states.

    Raises
    ------
    ColumnError, ConfigError
        As `Profile.check`.

    Examples
    --------
    >>> states = profile_states_frame(events, Profile(time="bought_at", time_zone="Europe/Berlin"))  # doctest: +SKIP
    """
    dtypes = dict(frame.dtypes)
    spec.check(dtypes, "the frame")
    columns, layout = _columns(dtypes, spec)
    partial = frame.select(*columns).mapInArrow(PartitionFold(layout), STATE_SCHEMA)
    return merged_states_frame(partial)


def merged_states_frame(states: DataFrame) -> DataFrame:
    """States with one row for each slice and column, whatever rows of them there are."""
    return map_blocks(states, keys=KEYS, order=("n",), kernel=MergeKernel(), schema=STATE_SCHEMA, block_rows=256, block_keys=256)


def profile_of(states: DataFrame, spec: Profile) -> TableProfile:
    """Profile of all slices in a frame of states; the action that runs what the frame needs.

    Parameters
    ----------
    states : DataFrame
        From `profile_states_frame`, or a stored table of such rows; filter its days for the profile of a range.
    spec : Profile
        How it is shown; another one than that of the states may differ in what does not decide states.

    Returns
    -------
    TableProfile
        Without columns when there are no states.
    """
    finished = map_blocks(
        states, keys=("column",), order=("day",), kernel=FinishKernel(spec), schema=FINISHED_SCHEMA, block_rows=256, block_keys=16
    )
    return table_profile(collect.small_table(finished), spec)


def _columns(dtypes: dict[str, str], spec: Profile) -> tuple[list[Column], Layout]:
    """Columns that go to the workers, and where each profiled one stands in them."""
    floats: list[Column] = []
    wholes: list[Column] = []
    texts: list[Column] = []
    exact: list[Column] = []
    xxhashed: list[int] = []
    channels: list[Channel] = []
    wanted = spec.columns or tuple(dtypes)
    left = spec.correlated
    time_at: int | None = None
    for position, name in enumerate(dtypes):
        if name not in wanted:
            continue
        dtype, c = dtypes[name], F.col(quoted(name))
        kind = kind_of(dtype)
        place: dict[str, Any] = {}
        long_decimal = False
        if kind == "decimal":
            precision, scale = map(int, re.findall(r"\d+", dtype))
            long_decimal = precision > LONG_DIGITS
            place["scale"] = scale
        if kind == "number" or long_decimal:
            place["in_floats"] = len(floats)
            floats.append(c.cast("double"))
        if kind in ("string", "binary") or long_decimal:
            place |= {"in_wholes": len(wholes), "hashed": True, "text": len(texts)}
            wholes.append(F.xxhash64(c))
            texts.append(F.hex(F.substring(c, 1, TEXT_LENGTH // 4)) if kind == "binary" else F.substring(c.cast("string"), 1, TEXT_LENGTH))
        if long_decimal:
            place["exact"] = len(exact)
            exact.append(c.alias(f"exact_{len(exact)}"))
        elif kind in ("string", "binary"):
            place["lengths"] = len(wholes)
            wholes.append((F.char_length(c) if kind == "string" else F.octet_length(c)).cast("bigint"))
        elif "in_floats" not in place:
            place["in_wholes"] = len(wholes)
            if name == spec.time and kind in ("date", "timestamp"):
                time_at = len(wholes)
            if kind == "decimal":
                xxhashed.append(len(wholes))
            wholes.append(_whole(name, c, kind))
        correlated = kind in NUMERIC and left > 0
        left -= correlated
        channels.append(Channel(name, dtype, kind, position, correlated=correlated, **place))
    if spec.time is not None and time_at is None:
        time_at = len(wholes)
        of_time = dtypes[spec.time]
        by_day = F.unix_date(F.col(quoted(spec.time))).cast("bigint")
        wholes.append(by_day if of_time == "date" else instant_column(spec.time, of_time, spec.event_time_zone))
    columns = [F.array(*parts).alias(name) for name, parts in (("floats", floats), ("wholes", wholes)) if parts]
    if texts:
        row = F.monotonically_increasing_id().bitwiseAND(F.lit(2**ROW_BITS - 1))
        shown = (row < F.lit(BLOCK_ROWS)) | (row % F.lit(TEXT_EVERY) == F.lit(0))
        columns.append(F.when(shown, F.array(*texts)).alias("texts"))
    of_slice = spec.sample_rows if spec.time else min(spec.sample_rows, 1) * spec.most_sampled
    sizes = Sizes(spec.distinct_size, spec.counters, of_slice, spec.seed)
    days = spec.time is not None and dtypes[spec.time] == "date"
    layout = Layout(
        tuple(channels), sizes, len(floats), len(wholes), len(texts), len(exact), time_at, days, spec.time_zone, tuple(xxhashed)
    )
    return [*columns, *exact], layout


def _whole(name: str, c: Column, kind: Kind) -> Column:
    """Column as bigint."""
    if kind == "date":
        return F.unix_date(c).cast("bigint")
    if kind == "timestamp":
        return F.unix_micros(c)
    if kind == "timestamp_ntz":
        return F.expr(f"timestampdiff(MICROSECOND, timestamp_ntz'1970-01-01', {quoted(name)})")
    if kind == "decimal":  # the cast to a number goes by way of an object for each value, the hash does not
        return F.when(c.isNotNull(), F.xxhash64(c))
    return F.when(c.isNotNull(), F.lit(0).cast("bigint")) if kind == "other" else c.cast("bigint")
