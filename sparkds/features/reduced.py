"""Reduced states: what an aggregation sees of the tiles - each state merged over one window, an entry a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sparkds.features.states import State
from sparkds.features.windows import Array, Window

Mask = npt.NDArray[np.bool_]
TileTypes = Callable[[State], str]


class Reduced(NamedTuple):
    """A state merged over one window: one entry a cell.

    Attributes
    ----------
    values : (n_cells,)
        Whole numbers for decimals (in units of the last digit), days for dates, microseconds for timestamps, row
        numbers for states that pick a row.
    valid : (n_cells,) bool
        False where the window holds nothing; as a feature, null.
    dictionary : object, optional
        What `values` are positions in; the values themselves if absent.
    """

    values: Array
    valid: Mask
    dictionary: Any = None


class Merged(Protocol):
    """States of a block merged over one window, computed when first asked for."""

    @property
    def as_of(self) -> Array:
        """Day number of every cell: (n_cells,)."""

    @property
    def window(self) -> Window:
        """Days of the window; None for all days."""

    def within(self, window: Window) -> Merged:
        """The states of the same cells over another window, which must be one that was asked."""

    def __call__(self, state: State) -> Reduced:
        """Sum, extreme or first/last value, as the state merges."""

    def scale(self, state: State) -> int | None:
        """Digits after the point when the state is a decimal, whose values come as whole numbers; None otherwise."""

    def distinct(self, state: State) -> Array:
        """Number of different items: (n_cells,)."""

    def registers(self, state: State) -> tuple[Array, Array]:
        """Filled registers and the sum over them of ``1 - 2^-rank``: two of (n_cells,)."""

    def most_common(self, state: State) -> Reduced:
        """Item with the largest count."""

    def ranked(self, state: State, q: float) -> Reduced:
        """Item at rank ``floor(q (n - 1))``."""

    def periodic(self, state: State, period: int, half_width: int) -> Array:
        """Sum over the days of the window that are a multiple of `period` before `as_of`, give or take `half_width`."""
