"""Row sample: the rows with the smallest priorities, where a priority is a seeded hash of the row; uniform, and mergeable.

The same rows are chosen under any partitioning as long as rows differ; equal rows of one block are told apart by their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sparkds.features.profile.distinct import Hashes, hashes_of

ALL: Final = np.uint64(2**64 - 1)
SOME: Final = np.uint64(2**60)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowSample:
    """Values of some columns in sampled rows.

    Attributes
    ----------
    size : int
        At most so many rows are kept.
    below : uint64
        Every row with at most this priority is in the sample.
    priorities : (k,) uint64
        Ascending.
    values : (k, q)
        NaN where there is no value.
    """

    size: int
    below: np.uint64
    priorities: Hashes
    values: Floats

    @classmethod
    def none(cls, size: int, q: int = 1) -> RowSample:
        """No rows."""
        return cls(size, ALL, np.zeros(0, np.uint64), np.zeros((0, q)))

    def __add__(self, other: RowSample) -> RowSample:
        """Sample of disjoint rows together: those that are sure to be known of both."""
        size = max(self.size, other.size)
        below = min(self.below, other.below)
        priorities = np.concatenate((self.priorities, other.priorities))
        values = np.concatenate((self.values, other.values))
        order = np.argsort(priorities, kind="stable")
        order = order[: int(np.count_nonzero(priorities <= below))]
        return RowSample(size, below, priorities[order], values[order]).cut(size)

    def cut(self, size: int) -> RowSample:
        """Sample of at most so many rows, or one that may grow to so many."""
        if len(self.priorities) <= size:
            return RowSample(size, self.below, self.priorities, self.values)
        return RowSample(size, self.priorities[size - 1], self.priorities[:size], self.values[:size])


def priorities_of(row_hashes: Hashes, *, seed: int, block: int) -> Hashes:
    """Priority of each row of a block.

    Parameters
    ----------
    row_hashes : (n,) uint64
        Equal for equal rows.
    seed : int
    block : int
        Number of the block; decides between equal rows only.
    """
    salt = hashes_of(np.array([seed], np.int64))[0]
    found = hashes_of(row_hashes ^ salt)
    in_order = np.sort(found[found < SOME])  # where equal rows are common, they are so among these
    if (in_order[1:] == in_order[:-1]).any():
        order = np.argsort(found, kind="stable")
        again = np.zeros(len(found), bool)
        again[order[1:]] = found[order[1:]] == found[order[:-1]]
        at = np.flatnonzero(again)
        found[at] = hashes_of((found[at] ^ hashes_of(np.array([block], np.int64))[0]) + at.astype(np.uint64) + np.uint64(1))
    return found
