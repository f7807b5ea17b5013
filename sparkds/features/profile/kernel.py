"""Kernel: blocks of rows of one slice, as arrays, folded into the states of all columns at once.

Takes numbers, hashes and lengths as two matrices and gives one state a column; no Spark and no Arrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from typing import Final

import numpy as np
import numpy.typing as npt

from sparkds.features.profile.column_state import NUMERIC, TEMPORAL, TEXTUAL, ColumnState, Kind, day_bins
from sparkds.features.profile.distinct import Distinct, Hashes, hashes_of
from sparkds.features.profile.frequent import SMALL, Frequent, tally
from sparkds.features.profile.moments import Central, Pairs, comoments, merged_pairs
from sparkds.features.profile.row_sample import RowSample, priorities_of
from sparkds.features.profile.value_bins import BinCounts, bins_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


ROW_FACTOR: Final = np.uint64(0x5851F42D4C957F2D)


@dataclass(frozen=True)
class Channel:
    """Where a column's values stand in a block.

    Attributes
    ----------
    name, dtype : str
    kind : Kind
    position : int
        Of the column in its table.
    in_floats : int, optional
        Row of the values in the matrix of doubles.
    in_wholes : int, optional
        Row in the matrix of whole numbers: of the values (of decimals unscaled), of their hashes (texts, and decimals of more than
        18 digits), or of what is only null or not.
    hashed : bool
        Whether these are hashes.
    lengths : int, optional
        Row of the lengths of texts.
    text : int, optional
        Number of its texts.
    exact : int, optional
        Number of its exact bounds.
    scale : int
        Digits after the point of a decimal.
    correlated : bool
    """

    name: str
    dtype: str
    kind: Kind
    position: int
    in_floats: int | None = None
    in_wholes: int | None = None
    hashed: bool = False
    lengths: int | None = None
    text: int | None = None
    exact: int | None = None
    scale: int = 0
    correlated: bool = False

    @property
    def number(self) -> int:
        """Number that names the column in the states of others: the first 8 bytes of the SHA-256 of its name."""
        return int.from_bytes(sha256(self.name.encode()).digest()[:8], "big", signed=True)


@dataclass(frozen=True)
class Sizes:
    """How much is kept."""

    distinct: int
    counters: int
    sample: int
    seed: int


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one slice.

    Attributes
    ----------
    floats : (n_floats, r)
    has_float : (n_floats, r) bool, optional
        Whether there is a value; everywhere if absent.
    wholes : (n_wholes, r) int64
    has_whole : (n_wholes, r) bool, optional
    text_rows : (t,) int64
        Rows of which the texts are known, ascending.
    text_at : callable
        ``text_at(text, i)``: text of the i-th of these rows.
    exact : sequence of (low, high)
        Exact bounds of the block, by `Channel.exact`.
    """

    floats: Floats
    has_float: Bools | None
    wholes: Ints
    has_whole: Bools | None
    text_rows: Ints
    text_at: Callable[[int, int], str | None]
    exact: Sequence[tuple[Decimal | None, Decimal | None]] = ()

    @property
    def n(self) -> int:
        """Rows."""
        return int(max(self.floats.shape[1], self.wholes.shape[1]))


@dataclass
class SliceFold:
    """States of all columns of one slice, and what is kept of them together."""

    channels: Sequence[Channel]
    sizes: Sizes
    states: list[ColumnState] = field(default_factory=list)
    pairs: Floats | None = None
    sample: RowSample | None = None
    blocks: int = 0

    def __post_init__(self) -> None:
        self.states = [
            ColumnState(kind=c.kind, distinct=Distinct.none(self.sizes.distinct), frequent=Frequent.none(max(SMALL, self.sizes.counters)))
            for c in self.channels
        ]
        self.correlated = [i for i, c in enumerate(self.channels) if c.correlated]
        self.sampling = bool(self.correlated) and self.sizes.sample > 0

    def add(self, block: Block) -> None:
        """Take in a block of rows."""
        row_hash = np.zeros(block.n, np.uint64) if self.sampling else None
        for i, channel in enumerate(self.channels):
            self.states[i] = _folded(self.states[i], channel, block, row_hash)
        self.blocks += 1
        if self.correlated:
            self._together(block, row_hash)

    def _together(self, block: Block, row_hash: Hashes | None) -> None:
        x = np.empty((len(self.correlated), block.n))
        for at, i in enumerate(self.correlated):
            x[at] = _numbers(self.channels[i], block)
        with np.errstate(over="ignore", invalid="ignore"):
            shift = x.mean(axis=1)
        holed = np.flatnonzero(~np.isfinite(shift))
        missing = ~np.isfinite(x[holed])
        if row_hash is not None:
            priorities = priorities_of(row_hash, seed=self.sizes.seed, block=self.blocks)
            held = self.sample or RowSample.none(self.sizes.sample, len(x))
            if len(held.priorities) >= held.size:
                near = np.flatnonzero(priorities < held.below)
            elif block.n > held.size:
                near = np.argpartition(priorities, held.size)[: held.size + 1]
            else:
                near = np.arange(block.n)
            near = near[np.argsort(priorities[near], kind="stable")]
            values = x[:, near].T
            values[~np.isfinite(values)] = np.nan
            new = RowSample.none(held.size, len(x))
            self.sample = held + replace(new, priorities=priorities[near], values=values).cut(held.size)
        for row, none in zip(holed, missing, strict=True):
            x[row, none] = 0
            n = block.n - np.count_nonzero(none)
            shift[row] = x[row].sum() / n if n else 0.0
        z = x - shift[:, None]
        for row, none in zip(holed, missing, strict=True):
            z[row, none] = 0
        with np.errstate(over="ignore", invalid="ignore"):
            found = comoments(z, shift, holed, ~missing)
        self.pairs = found if self.pairs is None else merged_pairs(self.pairs, found)

    def result(self) -> list[ColumnState]:
        """States with what is known of pairs and of the sampled rows, cut to their sizes."""
        found = [replace(state, frequent=state.frequent.pruned(self.sizes.counters)) for state in self.states]
        numbers = np.array([self.channels[i].number for i in self.correlated], np.int64)
        for at, i in enumerate(self.correlated):
            if self.pairs is not None:
                later = np.flatnonzero(numbers > numbers[at])
                later = later[np.argsort(numbers[later])]
                found[i] = replace(found[i], pairs=Pairs(numbers[later], self.pairs[:, at, later]))
            if self.sample is not None:
                found[i] = replace(found[i], sample=replace(self.sample, values=self.sample.values[:, [at]]))
        return found


def _numbers(channel: Channel, block: Block) -> Floats:
    """Values of a numeric column, NaN where there is none."""
    if channel.in_floats is not None:
        x, has = block.floats[channel.in_floats], block.has_float
        return x if has is None else np.where(has[channel.in_floats], x, np.nan)
    assert channel.in_wholes is not None
    x, has = _scaled(block.wholes[channel.in_wholes], channel), block.has_whole
    return x if has is None else np.where(has[channel.in_wholes], x, np.nan)


def _scaled(whole: Ints, channel: Channel) -> Floats:
    x = whole.astype(np.float64)
    return x / 10.0**channel.scale if channel.scale else x


def _folded(state: ColumnState, channel: Channel, block: Block, row_hash: Hashes | None) -> ColumnState:
    n = block.n
    has = None
    if channel.in_floats is not None:
        has = None if block.has_float is None else block.has_float[channel.in_floats]
    elif channel.in_wholes is not None:  # the hash of a null text is a hash like others
        has = None if block.has_whole is None else block.has_whole[channel.in_wholes if channel.lengths is None else channel.lengths]
    rows = None if has is None or has.all() else np.flatnonzero(has)
    nulls = 0 if rows is None else n - len(rows)
    state = replace(state, n=state.n + n, nulls=state.nulls + nulls)
    if channel.kind == "other" or nulls == n:
        return state
    hashes: Hashes
    if channel.hashed:
        assert channel.in_wholes is not None
        hashes = block.wholes[channel.in_wholes].view(np.uint64)
    elif channel.in_floats is not None:
        hashes = hashes_of(block.floats[channel.in_floats] + 0.0)  # so that -0 is 0
    else:
        assert channel.in_wholes is not None
        hashes = hashes_of(block.wholes[channel.in_wholes])
    if row_hash is not None:
        row_hash += hashes  # where there is no value, the hash of 0
        row_hash *= ROW_FACTOR
    if rows is not None:
        hashes = hashes[rows]
    if channel.in_floats is not None:
        return _numbers_folded(state, channel, block, rows, hashes)
    assert channel.in_wholes is not None
    whole = block.wholes[channel.in_wholes if channel.lengths is None else channel.lengths]
    state = _wholes_folded(state, channel, whole if rows is None else whole[rows])
    return _counted(state, channel, block, rows, hashes)


def _numbers_folded(state: ColumnState, channel: Channel, block: Block, rows: Ints | None, hashes: Hashes) -> ColumnState:
    x = block.floats[channel.in_floats or 0]
    x = x if rows is None else x[rows]
    if not math.isfinite(x.min()) or not math.isfinite(x.max()):
        finite = np.isfinite(x)
        nan = np.isnan(x)
        nans = int(nan.sum())
        state = replace(state, nans=state.nans + nans, infinities=state.infinities + len(x) - int(finite.sum()) - nans)
        hashes, x = hashes[~nan], x[finite]
        rows = np.flatnonzero(~nan) if rows is None else rows[~nan]
    state = _counted(state, channel, block, rows, hashes)
    if not len(x):
        return state
    low: float | Decimal = float(x.min())
    high: float | Decimal = float(x.max())
    bins = _bins(x, float(low), float(high))
    if channel.exact is not None:
        exact_low, exact_high = block.exact[channel.exact]
        assert exact_low is not None
        assert exact_high is not None
        low, high = exact_low, exact_high
    return _merged(state, x, low, high, bins)


def _wholes_folded(state: ColumnState, channel: Channel, whole: Ints) -> ColumnState:
    kind = channel.kind
    x = _scaled(whole, channel)
    low: int | Decimal = int(whole.min())
    high: int | Decimal = int(whole.max())
    bins = BinCounts.of(day_bins(whole, kind)) if kind in TEMPORAL else _bins(x, float(x.min()), float(x.max()))
    if kind == "decimal":
        low, high = Decimal(low).scaleb(-channel.scale), Decimal(high).scaleb(-channel.scale)
    return _merged(state, x, low, high, bins, signed=kind in (*NUMERIC, *TEXTUAL))


def _bins(x: Floats, low: float, high: float) -> BinCounts:
    first, last = bins_of(np.array([low, high])).tolist()
    return BinCounts.of(bins_of(x, signed=low < 0), first=first, last=last)


def _merged(
    state: ColumnState, x: Floats, low: float | Decimal, high: float | Decimal, bins: BinCounts, *, signed: bool = True
) -> ColumnState:
    zeros = len(x) - int(np.count_nonzero(x)) if signed and low <= 0 <= high else 0
    negatives = int(np.count_nonzero(x < 0)) if signed and low < 0 else 0
    return replace(
        state,
        zeros=state.zeros + zeros,
        negatives=state.negatives + negatives,
        low=low if state.low is None else min(state.low, low),
        high=high if state.high is None else max(state.high, high),
        moments=state.moments + Central.of(x),
        bins=state.bins + bins,
    )


def _counted(state: ColumnState, channel: Channel, block: Block, rows: Ints | None, hashes: Hashes) -> ColumnState:
    preferred = None
    known = np.zeros(block.n if channel.text is not None else 0, bool)
    if channel.text is not None:
        known[block.text_rows] = True
        preferred = np.flatnonzero(known if rows is None else known[rows])
    told = tally(hashes, preferred=preferred)
    candidates = hashes if told.error else told.hashes
    frequent = state.frequent.add(told.hashes, told.counts, told.error, {})
    if channel.text is not None and len(told.hashes):
        at = told.rows if rows is None else rows[told.rows]
        wanted = np.flatnonzero(known[at] & np.isin(told.hashes, frequent.hashes))
        places = np.searchsorted(block.text_rows, at[wanted])
        texts = dict(frequent.texts)
        for value, place in zip(told.hashes[wanted].tolist(), places.tolist(), strict=True):
            if value not in texts:
                text = block.text_at(channel.text, place)
                if text is not None:
                    texts[value] = text
        frequent = replace(frequent, texts=texts)
    return replace(state, distinct=state.distinct.add(candidates), frequent=frequent)
