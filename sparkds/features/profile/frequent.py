"""Frequent: which values a column has most often, with a bound on what was not counted.

Takes hashes of rows and keeps a bounded number of counts; a value occurs at least as often as its count says, and at most
`error` times more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from sparkds.features.profile.distinct import Hashes
from sparkds.features.profile.value_bins import summed

SMALL: Final = 4096
"""Up to so many rows at a time are counted one by one."""
SLOTS: Final = 2**14
_SHIFT: Final = np.uint64(64 - 14)
CROWDED: Final = 0.4
"""Share of slots in use from which a block is taken to have too many different values to count them all."""
LIGHT: Final = 512
"""In a crowded block, a value in at most a row of so many is not counted."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tally:
    """What one block of rows has.

    Attributes
    ----------
    hashes : (k,) uint64
        Without repetition.
    counts : (k,) int64
    rows : (k,) int64
        A row that has the value.
    error : int
        No value that is missing, or in excess of its count, occurs more often than this; 0 when all are counted.
    """

    hashes: Hashes
    counts: Ints
    rows: Ints
    error: int


def tally(hashes: Hashes, *, preferred: Ints | None = None) -> Tally:
    """Count the values of a block, all of them or those that are not light.

    Slots of the leading bits are counted first: a value is at most as frequent as its slot, so that a block without heavy slots
    is done with. Where few slots are in use, a row of each slot stands for its value, and only rows that differ from it are sorted.

    Parameters
    ----------
    hashes : (n,) uint64
    preferred : (m,) int64, optional
        Rows that shall stand for their values where they can.
    """
    n = len(hashes)
    if n <= SMALL:
        return _sorted(hashes, preferred)
    slot = (hashes >> _SHIFT).view(np.int64)
    load = np.bincount(slot, minlength=SLOTS)
    if np.count_nonzero(load) > CROWDED * SLOTS:
        light = n // LIGHT
        heavy = load > light
        if not heavy.any():
            nothing = np.zeros(0, np.int64)
            return Tally(np.zeros(0, np.uint64), nothing, nothing, light)
        at = np.flatnonzero(heavy[slot])
        found = _sorted(hashes[at], None if preferred is None else np.flatnonzero(np.isin(at, preferred)))
        kept = found.counts > light
        return Tally(found.hashes[kept], found.counts[kept], at[found.rows[kept]], light)
    standing = np.zeros(SLOTS, np.int64)
    standing[slot] = np.arange(n)
    if preferred is not None:
        standing[slot[preferred]] = preferred
    of_slot = hashes[standing]
    other = np.flatnonzero(of_slot[slot] != hashes)
    used = np.flatnonzero(load)
    if not len(other):
        return Tally(of_slot[used], load[used], standing[used], 0)
    counts = load - np.bincount(slot[other], minlength=SLOTS)
    rest = _sorted(hashes[other], None if preferred is None else np.flatnonzero(np.isin(other, preferred)))
    return Tally(
        np.concatenate((of_slot[used], rest.hashes)),
        np.concatenate((counts[used], rest.counts)),
        np.concatenate((standing[used], other[rest.rows])),
        0,
    )


def _sorted(hashes: Hashes, preferred: Ints | None) -> Tally:
    found, first, into, counts = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    if preferred is not None:
        first[into[preferred]] = preferred
    return Tally(found, counts.astype(np.int64), first, 0)


@dataclass(frozen=True, eq=False)
class Frequent:
    """Counts of the most frequent values.

    Attributes
    ----------
    size : int
        At most so many are kept.
    hashes : (k,) uint64
        Ascending, without repetition.
    counts : (k,) int64
    error : int
        A value occurs at most this many times more than its count, or than 0 where it has none.
    texts : mapping of hash to str
        Values that their hashes do not give back; a few may be unknown.
    """

    size: int
    hashes: Hashes
    counts: Ints
    error: int = 0
    texts: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def none(cls, size: int) -> Frequent:
        """No values."""
        return cls(size, np.zeros(0, np.uint64), np.zeros(0, np.int64))

    def add(self, hashes: Hashes, counts: Ints, error: int, texts: Mapping[int, str]) -> Frequent:
        """Take in counts of other rows, each value once."""
        if not len(hashes) and not error:
            return self
        found, total = summed(np.concatenate((self.hashes, hashes)), np.concatenate((self.counts, counts)))
        whole = Frequent(self.size, found, total, self.error + error, {**self.texts, **texts} if texts else self.texts)
        return whole.pruned(self.size)

    def __add__(self, other: Frequent) -> Frequent:
        """Counts of disjoint rows together; without loss while there are no more than `size` values."""
        return self.pruned(min(self.size, other.size)).add(other.hashes, other.counts, other.error, other.texts)

    def pruned(self, size: int) -> Frequent:
        """Keep the largest counts; what the largest lost one had is added to the error."""
        if len(self.hashes) <= size:
            return self if size == self.size else Frequent(size, self.hashes, self.counts, self.error, self.texts)
        by_count = np.lexsort((self.hashes, -self.counts))
        kept = np.sort(by_count[:size])
        lost = int(self.counts[by_count[size]])
        hashes = self.hashes[kept]
        known = set(hashes.tolist()) if self.texts else set()
        texts = {value: text for value, text in self.texts.items() if value in known}
        return Frequent(size, hashes, self.counts[kept], self.error + lost, texts)

    def largest(self, n: int) -> tuple[Hashes, Ints]:
        """The n largest counts, descending; ties by hash."""
        at = np.lexsort((self.hashes, -self.counts))[:n]
        return self.hashes[at], self.counts[at]
