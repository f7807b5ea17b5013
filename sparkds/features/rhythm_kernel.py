"""Rhythm kernel: gaps between events and activity at periodic distances, for every window of every entity, on arrays.

Takes a `Block` and one value per row and gives one value per cell; like the kernels of `windows`, a cell's result hangs
on the rows of its own window only, whichever other days are asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sparkds.features.windows import Array, Block, IntArray, Window, range_fold


def squared_gaps(
    block: Block, first: IntArray, last: IntArray, valid: npt.NDArray[np.bool_], inside: Array, windows: Sequence[Window]
) -> dict[Window, Array]:
    """Sum of the squared gaps between neighbouring events of every window, exactly.

    Parameters
    ----------
    block : Block
    first, last : (n_rows,)
        Instants of the row's first and last event.
    valid : (n_rows,) bool
        False for a row without an event.
    inside : (n_rows,) of Python ints
        Sum of the squared gaps between the row's own events.
    windows : sequence of days or ``LIFETIME``

    Returns
    -------
    dict of window to (n_cells,) of Python ints
        Zero below two events; the gap before the window's first event is not in it.
    """
    row = np.flatnonzero(valid)
    before, after = row[:-1], row[1:]
    same = block.entity[before] == block.entity[after]
    gap = np.zeros(len(valid), dtype=object)
    gap[after[same]] = (first[after] - last[before])[same]
    between = gap * gap
    summed = block.add(inside + between, windows)
    for window in windows:
        opening = block.first_row(valid, window)
        summed[window] = summed[window] - np.where(opening >= 0, between[opening], 0)
    return summed


def periodic_lags(window: int, period: int, half_width: int) -> list[tuple[int, int]]:
    """Ranges of lags, both ends included, inside ``0 … window - 1`` and within `half_width` of a multiple of `period`.

    Examples
    --------
    >>> periodic_lags(16, 7, 1)
    [(0, 1), (6, 8), (13, 15)]
    """
    ranges = ((max(0, near - half_width), min(window - 1, near + half_width)) for near in range(0, window + half_width, period))
    return [(low, high) for low, high in ranges if low <= high]


def periodic_sum(block: Block, values: Array, window: int, period: int, half_width: int) -> Array:
    """Sum of ``values`` over the window's days whose distance from ``as_of`` is near a multiple of a period.

    Parameters
    ----------
    block : Block
    values : (n_rows,)
        Zero where there is nothing to add. Whole numbers go by prefix differences, floats by disjoint ranges.
    window : int
        Days.
    period, half_width : int
        Days ``as_of - j * period - half_width … as_of - j * period + half_width`` for j = 0, 1, … count.

    Returns
    -------
    (n_cells,)
    """
    whole = values.dtype.kind != "f"
    prefix = np.concatenate((np.zeros(1, dtype=values.dtype), np.cumsum(values))) if whole else values
    summed: Array = np.zeros(len(block.cell), dtype=values.dtype)
    for near, far in periodic_lags(window, period, half_width):
        high, low = block.after_lag(near), block.after_lag(far + 1)
        summed = summed + (prefix[high] - prefix[low] if whole else range_fold(np.add, values, low, high, 0.0))
    return summed
