"""Group sequential tests: when may one stop at a look, and what may then be said about the effect.

Takes estimates with standard errors at the looks made so far, their information fractions and a spending function; gives boundaries,
repeated confidence intervals, p-values that allow for the looks, and the price of looking in units.

Information is what the estimate's variance is the inverse of; its fraction at a look is ``n / n planned`` in most experiments. At
looks with fractions t_1 < t_2 < … the statistics Z_k are jointly normal with ``cov(Z_j, Z_k) = √(t_j / t_k)``, and the probability
of every path is found by recursive numerical integration (Armitage, McPherson, Rowe 1969; Jennison, Turnbull 2000, ch. 19).
Boundaries depend on the looks that were made, not on those that were planned, so that a look may come at any time for any
reason but the estimate itself. All of alpha is spent when the planned information is reached; a look past it is the last
that may reject, its boundary found with the true information, and one after that rejects nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from sparkds.errors import ConfigError
from sparkds.stats.arguments import between, one_of
from sparkds.stats.paths import NEGLIGIBLE, Path, check_times, start

Array = npt.NDArray[np.float64]
SpendingKind = Literal["obrien-fleming", "pocock", "power", "hwang-shih-decani"]
Sides = Literal[1, 2]
Decision = Literal["continue", "reject", "accept", ""]
LN10: Final = math.log(10)
FAR: Final = 8.0
"""Beyond this z, having come through the earlier looks is no longer reckoned with: the p-value is a little too large."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """How much of alpha may have been used by an information fraction.

    Attributes
    ----------
    kind : str
        For one side at level a and fraction t:
        "obrien-fleming": ``2 (1 − Φ(z_{a/2} / √t))`` (Lan, DeMets 1983, eq. for alpha*_1), little early on;
        "pocock": ``a ln(1 + (e − 1) t)`` (alpha*_2), nearly constant boundaries;
        "power": ``a t^rho`` (Kim, DeMets 1987);
        "hwang-shih-decani": ``a (1 − exp(−gamma t)) / (1 − exp(−gamma))``, ``a t`` for gamma 0 (Hwang, Shih, DeCani 1990).
    parameter : float, optional
        rho > 0, or gamma; the other kinds have none.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> round(Spending(kind="power", parameter=2.0).spent(0.5, alpha=0.05), 4)
    0.0125
    """

    kind: SpendingKind
    parameter: float | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, SpendingKind)
        if self.kind in ("obrien-fleming", "pocock"):
            if self.parameter is not None:
                raise ConfigError(f"parameter is {self.parameter}; kind {self.kind!r} has none")
        elif self.parameter is None:
            raise ConfigError(f"kind {self.kind!r} needs a parameter ({'rho > 0' if self.kind == 'power' else 'gamma'})")
        elif self.kind == "power":
            between("parameter rho", self.parameter, 0, math.inf)
        else:
            between("parameter gamma", self.parameter, -math.inf, math.inf)

    def spent(self, fraction: float, *, alpha: float) -> float:
        """Error that one side may have used by an information fraction.

        Parameters
        ----------
        fraction : float
            0 or more; from 1 on all of alpha.
        alpha : float
            Of the side: half of a two-sided level.
        """
        if fraction <= 0:
            return 0.0
        if fraction >= 1:
            return alpha
        if self.kind == "obrien-fleming":
            return float(2 * special.ndtr(special.ndtri(alpha / 2) / math.sqrt(fraction)))
        if self.kind == "pocock":
            return alpha * math.log1p(math.expm1(1) * fraction)
        parameter = self.parameter or 0.0
        if self.kind == "power":
            return float(alpha * fraction**parameter)
        if parameter == 0:
            return alpha * fraction
        if parameter < 0:  # the same without overflow
            return alpha * math.exp(parameter * (1 - fraction)) * math.expm1(parameter * fraction) / math.expm1(parameter)
        return alpha * math.expm1(-parameter * fraction) / math.expm1(-parameter)


@dataclass(frozen=True)
class Boundary:
    """Values that the statistic must reach at each look.

    Attributes
    ----------
    information : (n_looks,) tuple of float
        Fractions of the planned information.
    z : (n_looks,) tuple of float
        Upper boundary; the lower one of a two-sided test is its negative. Infinite where nothing may be spent.
    spent : (n_looks,) tuple of float
        Error used by each look and those before, both sides together.
    sides : {1, 2}
    """

    information: tuple[float, ...]
    z: tuple[float, ...]
    spent: tuple[float, ...]
    sides: Sides

    def crossing(self, *, drift: float = 0.0) -> tuple[Array, Array]:
        """Probability that each look is the first to cross, above and below.

        Parameters
        ----------
        drift : float
            Expectation of the statistic at information fraction 1: the effect over its standard error there.

        Returns
        -------
        (n_looks,), (n_looks,) arrays
            Above; below (zeros for a one-sided test).
        """
        return _crossing(self.information, self.z, self.sides, drift)


def _crossing(times: Sequence[float], z: Sequence[float], sides: Sides, drift: float) -> tuple[Array, Array]:
    above, below = np.zeros(len(times)), np.zeros(len(times))
    path = start(times, drift=drift)
    for k, bound in enumerate(z):
        low = -bound if sides == 2 else -math.inf
        above[k], below[k] = path.above(bound), path.below(low)
        path = path.through(low, bound)
    return above, below


def boundaries(information: Sequence[float], *, alpha: float, sides: Sides, spending: Spending, final: bool = False) -> Boundary:
    """Boundaries that use up alpha as the spending function allows.

    Parameters
    ----------
    information : (n_looks,) sequence of float
        Fractions of the planned information, increasing; may be past 1.
    alpha : float
        In (0, 1); a two-sided test spends half on each side.
    sides : {1, 2}
    spending : Spending
    final : bool
        Whether the last look is the last of all, and uses what is left of alpha though the planned information is not reached.

    Returns
    -------
    Boundary
        An increment below 1e-14 gets the boundary of a look by itself, a little wide; none gets an infinite one.

    Raises
    ------
    ConfigError

    References
    ----------
    Lan, DeMets (1983), "Discrete sequential boundaries for clinical trials", Biometrika 70.

    Examples
    --------
    >>> found = boundaries([0.5, 1.0], alpha=0.05, sides=2, spending=Spending(kind="obrien-fleming"))
    >>> [round(z, 3) for z in found.z]
    [2.963, 1.969]
    """
    between("alpha", alpha, 0, 1)
    _check_sides(sides)
    times = check_times(information)
    side = alpha / sides
    path = start(times)
    z: list[float] = []
    before, spent = 0.0, []
    for k, time in enumerate(times, 1):
        allowed = side if final and k == len(times) else spending.spent(time, alpha=side)
        bound = path.quantile_above(max(0.0, allowed - before))
        z.append(bound)
        path = path.through(-bound if sides == 2 else -math.inf, bound)
        before = max(before, allowed)
        spent.append(sides * before)
    return Boundary(times, tuple(z), tuple(spent), sides)


def wang_tsiatis(n_looks: int, *, alpha: float, sides: Sides, shape: float) -> Boundary:
    """Classical boundaries ``C (k / K)^(shape − 1/2)`` at K equally spaced looks: Pocock's for shape 1/2, O'Brien and Fleming's for 0.

    Parameters
    ----------
    n_looks : int
    alpha : float
        In (0, 1).
    sides : {1, 2}
    shape : float
        The paper's delta, at most 1/2.

    Returns
    -------
    Boundary
        Its last `z` is the constant C.

    Raises
    ------
    ConfigError

    References
    ----------
    Wang, Tsiatis (1987), "Approximately optimal one-parameter boundaries for group sequential trials", Biometrics 43;
    Jennison, Turnbull (2000), tables 2.1, 2.3 and 2.9.

    Examples
    --------
    >>> round(wang_tsiatis(5, alpha=0.05, sides=2, shape=0.5).z[-1], 3)
    2.413
    """
    between("alpha", alpha, 0, 1)
    _check_sides(sides)
    between("shape", shape, -math.inf, 0.5, closed="high")
    if n_looks < 1:
        raise ConfigError(f"n_looks is {n_looks}; give 1 or more")
    times = check_times([k / n_looks for k in range(1, n_looks + 1)])
    curve = np.array(times) ** (shape - 0.5)

    def excess(constant: float) -> float:
        return float(_crossing(times, tuple(constant * curve), sides, 0.0)[0].sum()) - alpha / sides

    alone = -float(special.ndtri(alpha / sides))
    shared = -float(special.ndtri(alpha / sides / n_looks))
    constant = alone if n_looks == 1 else float(optimize.brentq(excess, alone - 1e-9, shared + 1e-9, xtol=1e-12))
    z = tuple(float(value) for value in constant * curve)
    spent = sides * np.cumsum(_crossing(times, z, sides, 0.0)[0])
    return Boundary(times, z, tuple(float(value) for value in spent), sides)


def inflation_factor(boundary: Boundary, *, alpha: float, power: float) -> float:
    """Largest number of units of a group sequential plan over that of a fixed one with the same power.

    The drift D at which the boundary is crossed on the right side with probability `power` gives
    ``(D / (z_alpha + z_power))²``; a crossing on the wrong side does not count (Jennison, Turnbull 2000, sec. 2.3).

    Parameters
    ----------
    boundary : Boundary
        Planned looks, the last one at fraction 1.
    alpha : float
        That the boundary was made for.
    power : float
        In (alpha, 1).

    Returns
    -------
    float
        For `inflation` of a design (`sparkds.stats.designs`).

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> plan = wang_tsiatis(5, alpha=0.05, sides=2, shape=0.0)
    >>> round(inflation_factor(plan, alpha=0.05, power=0.9), 3)
    1.026
    """
    between("alpha", alpha, 0, 1)
    between("power", power, alpha, 1)
    if abs(boundary.information[-1] - 1) > 1e-9:
        raise ConfigError(f"the last look is at information fraction {boundary.information[-1]:g}; a plan ends at 1")
    fixed = float(special.ndtri(power) - special.ndtri(alpha / boundary.sides))

    def missing(drift: float) -> float:
        return float(boundary.crossing(drift=drift)[0].sum()) - power

    high = fixed
    while missing(high) < 0:
        high *= 1.5
    drift = float(optimize.brentq(missing, fixed * 0.99, high, xtol=1e-10)) if high > fixed else fixed
    return (drift / fixed) ** 2


@dataclass(frozen=True)
class Look:
    """What one look says.

    Attributes
    ----------
    information : float
        Fraction of the planned information.
    z, boundary, spent : float
        Statistic, what it had to reach, and the error used by this look and those before.
    decision : {"continue", "reject", "accept", ""}
        "reject" from the first look that reaches its boundary on; "accept" (the null is not rejected) once all of alpha is
        spent without; "" where nothing is computable.
    low, high : float
        Repeated confidence interval: all looks' intervals hold together with probability 1 − alpha, whether or not one
        stops (Jennison, Turnbull 2000, ch. 9). One-sided tests have an infinite `high`.
    pvalue, log10_pvalue : float
        Under the stage-wise ordering, as if stopped here; from the rejecting look on, that look's (Jennison, Turnbull 2000,
        sec. 8.4).
    reason : str
        Not empty where the look is not computable or rejects nothing any more.
    """

    information: float
    z: float
    boundary: float
    spent: float
    decision: Decision
    low: float
    high: float
    pvalue: float
    log10_pvalue: float
    reason: str = ""


def group_sequential(
    estimate: Sequence[float],
    std_error: Sequence[float],
    *,
    information: Sequence[float],
    alpha: float,
    sides: Sides,
    spending: Spending,
    null: float = 0.0,
    final: bool = False,
) -> list[Look]:
    """What each of the looks made so far says about the effect.

    Parameters
    ----------
    estimate, std_error : (n_looks,) sequences of float
        Of the effect, from all data up to the look.
    information : (n_looks,) sequence of float
        Fractions of the planned information, increasing: ``n / n planned``, or the planned over the reached variance.
    alpha : float
        In (0, 1).
    sides : {1, 2}
        One-sided tests show a larger effect; turn the sign for a smaller one.
    spending : Spending
    null : float
        Effect under the null, e.g. −margin.
    final : bool
        As for `boundaries`; an experiment that ended short of its plan has it.

    Returns
    -------
    list of Look
        A look without a standard error is not counted as one and spends nothing.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> looks = group_sequential(
    ...     [0.8, 0.7], [0.4, 0.2], information=[0.25, 1.0], alpha=0.05, sides=2, spending=Spending(kind="obrien-fleming")
    ... )
    >>> [look.decision for look in looks]
    ['continue', 'reject']
    """
    values, errors = [float(v) for v in estimate], [float(v) for v in std_error]
    if not len(values) == len(errors) == len(information):
        raise ConfigError(f"{len(values)} estimates, {len(errors)} standard errors, {len(information)} fractions; give as many of each")
    if any(error < 0 for error in errors):
        raise ConfigError(f"std_error is {min(errors)}; give 0 or more")
    known = [math.isfinite(v) and math.isfinite(e) and e > 0 for v, e in zip(values, errors, strict=True)]
    times = check_times([t for t, counts in zip(information, known, strict=True) if counts]) if any(known) else ()
    plan = boundaries(times, alpha=alpha, sides=sides, spending=spending, final=final) if times else Boundary((), (), (), sides)
    path, earlier = start(times or (1.0,)), 0.0
    looks: list[Look] = []
    counted: list[Look] = []
    for value, error, time, counts in zip(values, errors, information, known, strict=True):
        if not counts:
            reason = "no estimate with a standard error yet; wait for more units"
            nan = math.nan
            looks.append(Look(time, nan, nan, nan, "", nan, nan, nan, nan, reason))
            continue
        k = len(counted)
        bound, z = plan.z[k], (value - null) / error
        last = counted[-1] if counted else None
        if last is not None and last.decision in ("reject", "accept"):
            reason = f"decided at information {_decided(counted):g}; this look changes nothing"
        else:
            reason = ""
        low = value - bound * error
        high = value + bound * error if sides == 2 else math.inf
        if last is not None and math.isinf(bound):  # nothing to spend: what held before still holds
            low, high = last.low, last.high
        decision: Decision
        if last is not None and last.decision == "reject":
            decision, log_p = last.decision, last.log10_pvalue * LN10
        else:
            reached = (abs(z) if sides == 2 else z) >= bound
            decision = "reject" if reached else "accept" if plan.spent[k] >= alpha * (1 - NEGLIGIBLE) else "continue"
            log_p = _log_pvalue(path, earlier, z, sides)
        looks.append(Look(time, z, bound, plan.spent[k], decision, low, high, math.exp(log_p), log_p / LN10, reason))
        counted.append(looks[-1])
        earlier += path.above(bound)
        path = path.through(-bound if sides == 2 else -math.inf, bound)
    return looks


def _decided(looks: Sequence[Look]) -> float:
    return next(look.information for look in looks if look.decision in ("reject", "accept"))


def _log_pvalue(path: Path, earlier: float, z: float, sides: Sides) -> float:
    """Log of the probability of stopping earlier, or of coming this far and being as extreme as z."""
    far = abs(z) if sides == 2 else z
    log_tail = float(special.log_ndtr(-far)) if far > FAR else math.log(max(path.above(far), math.ulp(0.0)))
    log_one = float(np.logaddexp(math.log(earlier), log_tail)) if earlier > 0 else log_tail
    return min(0.0, log_one + math.log(sides))


def _check_sides(sides: int) -> None:
    if sides not in (1, 2):
        raise ConfigError(f"sides is {sides}; allowed are 1, 2")
