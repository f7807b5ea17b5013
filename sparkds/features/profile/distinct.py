"""Distinct: how many different values a column has, from the smallest hashes; exact while they are few.

Takes values to 64-bit hashes and keeps a bounded number of them; sketches of disjoint rows merge exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_FIRST: Final = 0x9E3779B97F4A7C15
_SECOND: Final = 0xD6E8FEB86659FD93
_M: Final = 2**64
_UNDO_FIRST: Final = np.uint64(pow(_FIRST, -1, _M))
_UNDO_SECOND: Final = np.uint64(pow(_SECOND, -1, _M))
_UNDO_P1: Final = np.uint64(pow(0x9E3779B185EBCA87, -1, _M))
_UNDO_P2: Final = np.uint64(pow(0xC2B2AE3D27D4EB4F, -1, _M))
_UNDO_P3: Final = np.uint64(pow(0x165667B19E3779F9, -1, _M))
_32: Final = np.uint64(32)
_29: Final = np.uint64(29)
_58: Final = np.uint64(58)


def hashes_of(bits: npt.NDArray[np.generic]) -> Hashes:
    """Hash of each 64-bit value: (n,) uint64; one to one, so that `bits_of` gives the value back.

    The leading bits are well mixed; only they are compared and used as slots.
    """
    z = bits.view(np.uint64) * np.uint64(_FIRST)
    z ^= z >> _32
    z *= np.uint64(_SECOND)
    return z


def bits_of(hashes: Hashes) -> Hashes:
    """Values whose hashes these are.

    Examples
    --------
    >>> bits_of(hashes_of(np.array([-7, 12]))).view(np.int64).tolist()
    [-7, 12]
    """
    z = hashes * _UNDO_SECOND
    z ^= z >> _32
    z *= _UNDO_FIRST
    return z


def longs_of_xxhash64(hashes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Long whose XXH64 (seed 42, as Spark's `xxhash64` of one column) each hash is: (n,) int64.

    The hash of 64 bits is one to one; Spark takes a decimal of at most 18 digits as its unscaled long, which it gives out no cheaper way.

    References
    ----------
    xxHash fast digest algorithm, specification 0.1.1, XXH64, steps for one lane of 8 bytes, each undone.
    """
    h = hashes.view(np.uint64).copy()
    h ^= h >> _32
    h *= _UNDO_P3
    h ^= (h >> _29) ^ (h >> _58)
    h *= _UNDO_P2
    h ^= h >> np.uint64(33)
    h -= np.uint64(0x85EBCA77C2B2AE63)
    h *= _UNDO_P1
    h = (h >> np.uint64(27)) | (h << np.uint64(37))
    h ^= np.uint64((42 + 0x27D4EB2F165667C5 + 8) % _M)
    h *= _UNDO_P1
    h = (h >> np.uint64(31)) | (h << np.uint64(33))
    h *= _UNDO_P2
    return h.view(np.int64)


def different(hashes: Hashes) -> Hashes:
    """Hashes ascending and without repetition; for blocks of this size a sort is faster than `numpy.unique`."""
    in_order = np.sort(hashes)
    return in_order[np.concatenate(([True], in_order[1:] != in_order[:-1]))] if len(in_order) else in_order


@dataclass(frozen=True, eq=False)
class Distinct:
    """The smallest different hashes.

    Attributes
    ----------
    size : int
        At most so many are kept.
    hashes : (k,) uint64
        Ascending, without repetition.

    References
    ----------
    Bar-Yossef et al. (2002), Counting distinct elements in a data stream, algorithm 1; Beyer et al. (2007), On synopses for
    distinct-value estimation under multiset operations, eq. 1 (the unbiased estimate and its error).
    """

    size: int
    hashes: Hashes

    @classmethod
    def none(cls, size: int) -> Distinct:
        """No values."""
        return cls(size, np.zeros(0, np.uint64))

    @property
    def below(self) -> np.uint64:
        """Hashes that are not below cannot be kept."""
        return self.hashes[-1] if self.exceeded else np.uint64(_M - 1)

    @property
    def exceeded(self) -> bool:
        """Whether there may be more values than are kept."""
        return len(self.hashes) >= self.size

    def add(self, hashes: Hashes) -> Distinct:
        """Take in hashes, in any order and with repetition."""
        near = hashes[hashes < self.below] if self.exceeded else hashes
        if not len(near):
            return self
        for times in (4, 16):  # the smallest of many hashes are among those below a guess, unless most are repeated
            if len(near) > 2 * times * self.size:
                smallest = different(near[near < np.uint64(_M // len(near) * times * self.size)])
                if len(smallest) >= self.size:
                    near = smallest
        return Distinct(self.size, different(np.concatenate((self.hashes, near)))[: self.size])

    def __add__(self, other: Distinct) -> Distinct:
        """Values of both; associative and commutative, without loss."""
        size = min(self.size, other.size)
        return Distinct(size, different(np.concatenate((self.hashes, other.hashes)))[:size])

    @property
    def estimate(self) -> float:
        """Number of different values: exact unless `exceeded`."""
        if not self.exceeded:
            return float(len(self.hashes))
        return (self.size - 1) / (float(self.hashes[-1]) / _M)

    @property
    def relative_error(self) -> float:
        """Relative standard error of the estimate; 0 where it is exact."""
        return 1 / float(np.sqrt(self.size - 2)) if self.exceeded else 0.0
