"""Paths: with what probability a standardised statistic has stayed between boundaries at several looks.

Takes information times, boundaries and a drift, look by look, and gives probabilities of leaving above or below, found by
integrating the density of the paths that are still inside over the increment to the next look.

With ``B(t) = Z √t`` the increments are independent normals, so the density g of Z_k on the paths still inside follows from
that of Z_{k−1} by ``g_k(z) = ∫ g_{k−1}(u) φ((z − m(u)) / s) / s du`` with ``m(u) = (u √t_{k−1} + D (t_k − t_{k−1})) / √t_k`` and
``s = √((t_k − t_{k−1}) / t_k)`` (Jennison, Turnbull 2000, eq. 19.2–19.6), by Gauss-Legendre over pieces no wider than s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from sparkds.errors import ConfigError

Array = npt.NDArray[np.float64]

REACH: Final = 8.5
"""Standard deviations of a normal that are integrated: 1e-17 is left out at each end."""
NEGLIGIBLE: Final = 1e-14
PIECE: Final = 1.25
"""Width of a piece in standard deviations of the narrowest increment beside it; with 8 nodes a piece, 1e-11 is reached."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
CLOSEST: Final = 1e-5
"""Smallest relative step of information between two looks; closer ones need too fine a grid."""
CELLS: Final = 4_000_000


def check_times(information: Sequence[float]) -> tuple[float, ...]:
    """Information fractions of looks, positive and increasing.

    Raises
    ------
    ConfigError
    """
    times = tuple(float(time) for time in information)
    if not times or not all(0 < time < math.inf for time in times):
        raise ConfigError(f"information is {list(times)}; give a positive fraction for each look")
    for before, time in pairwise(times):
        if time - before < CLOSEST * time:
            raise ConfigError(f"information goes from {before:g} to {time:g}; each look must have more by at least 0.001 %")
    return times


@dataclass(frozen=True)
class Path:
    """Paths that are still inside after some looks.

    Attributes
    ----------
    times : (n_looks,) tuple of float
        Information of all looks.
    drift : float
        Expectation of the statistic at information 1.
    done : int
        Looks behind.
    at : (n_nodes,) array
        Values of Z at the last look behind.
    mass : (n_nodes,) array
        Probability of being inside and there.
    """

    times: tuple[float, ...]
    drift: float
    done: int
    at: Array = field(repr=False)
    mass: Array = field(repr=False)

    def _step(self, look: int) -> float:
        """Standard deviation of Z at a look, given the one before."""
        if look == 0:
            return 1.0
        return math.sqrt((self.times[look] - self.times[look - 1]) / self.times[look])

    @property
    def _centre(self) -> Array:
        """Expectation of Z at the next look from each node."""
        now = self.times[self.done - 1] if self.done else 0.0
        then = self.times[self.done]
        centre: Array = (self.at * math.sqrt(now) + self.drift * (then - now)) / math.sqrt(then)
        return centre

    def above(self, bound: float) -> float:
        """Probability of being inside so far and at `bound` or above at the next look."""
        return float(self.mass @ special.ndtr((self._centre - bound) / self._step(self.done)))

    def below(self, bound: float) -> float:
        """Probability of being inside so far and at `bound` or below at the next look."""
        return float(self.mass @ special.ndtr((bound - self._centre) / self._step(self.done)))

    def quantile_above(self, probability: float) -> float:
        """Bound that is reached at the next look, and at none before, with a probability.

        Returns
        -------
        float
            Infinite for 0. Below 1e-14, where the grid says nothing, the quantile of Z by itself: the bound is then a
            little high, never too low.
        """
        if probability <= 0:
            return math.inf
        if probability < NEGLIGIBLE or self.done == 0:
            return -float(special.ndtri(probability))
        centre, step = self._centre, self._step(self.done)

        def excess(bound: float) -> float:
            return math.log(max(float(self.mass @ special.ndtr((centre - bound) / step)), math.ulp(0.0))) - math.log(probability)

        low = -REACH
        if excess(low) <= 0:  # all that is left may be spent
            return low
        return float(optimize.brentq(excess, low, 2 * REACH, xtol=1e-12))

    def through(self, low: float, high: float) -> Path:
        """Paths that are inside (low, high) at the next look too; unchanged after the last look."""
        look = self.done
        if look + 1 >= len(self.times):
            return self
        middle = self.drift * math.sqrt(self.times[look])
        begin, end = max(low, middle - REACH), min(high, middle + REACH)
        if begin >= end:
            return Path(self.times, self.drift, look + 1, np.zeros(1), np.zeros(1))
        finest = min(self._step(look), self._step(look + 1))
        edges = np.linspace(begin, end, 2 + int((end - begin) / (PIECE * finest)))
        half = np.diff(edges)[:, None] / 2
        at = (edges[:-1, None] + half + half * NODES).ravel()
        mass = self._density(at) * (half * WEIGHTS).ravel()
        return Path(self.times, self.drift, look + 1, at, mass)

    def _density(self, z: Array) -> Array:
        """Density at the next look of the paths inside so far; each value looks at the nodes within reach of it only."""
        centre, step = self._centre, self._step(self.done)
        first = np.searchsorted(centre, z - REACH * step)
        beyond = np.searchsorted(centre, z + REACH * step)
        width = max(1, int((beyond - first).max()))
        density = np.empty(len(z))
        rows = max(1, CELLS // width)
        for start in range(0, len(z), rows):
            chosen = slice(start, start + rows)
            node = first[chosen, None] + np.arange(width)
            near = node < beyond[chosen, None]
            node = np.minimum(node, len(centre) - 1)
            distance = (z[chosen, None] - centre[node]) / step
            density[chosen] = (np.exp(-distance * distance / 2) * self.mass[node] * near).sum(axis=1)
        return density / (step * math.sqrt(2 * math.pi))


def start(times: Sequence[float], *, drift: float = 0.0) -> Path:
    """Paths before the first look.

    Parameters
    ----------
    times : (n_looks,) sequence of float
        Increasing.
    drift : float
    """
    return Path(tuple(times), drift, 0, np.zeros(1), np.ones(1))
