"""Designs: what an experiment measures, how noisy it is, and which claim its test makes.

Takes baselines, variances and correlations as numbers and gives the standard error of a difference between two arms before any
unit has been exposed; `sparkds.stats.power` asks its questions of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from sparkds.errors import ConfigError
from sparkds.stats.arguments import between, one_of

Kind = Literal["two-sided", "larger", "smaller", "non-inferiority", "equivalence"]
Correction = Literal["none", "bonferroni", "sidak"]
ProportionTest = Literal["pooled", "unpooled", "arcsine"]
MeanTest = Literal["t", "z"]
COVARIANCE_SLACK: Final = 1e-9
"""How far rounding may carry a covariance past the product of the standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """The claim that a test makes about the effect, treatment minus control.

    Attributes
    ----------
    kind : str
        What is shown when the null is rejected: "two-sided" (effect ≠ 0), "larger" (> 0), "smaller" (< 0), "non-inferiority"
        (> −margin, or < margin where smaller is better), "equivalence" (−margin < effect < margin, by two one-sided tests).
    alpha : float
        Error of the whole family of comparisons, in (0, 1). Two-sided tests spend half on each side; each of the two
        tests of an equivalence is made at `alpha`, so the matching interval has level 1 − 2 alpha.
    margin : float
        In the metric's own units, not relative; positive for the last two kinds, 0 for the others.
    better : {"larger", "smaller"}
        Direction of improvement; only non-inferiority looks at it.
    correction : {"none", "bonferroni", "sidak"}, optional
        How `alpha` is shared between comparisons; must be said once there are several.
    n_comparisons : int, optional
        Size of the family. As many as treatment arms if absent.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> Hypothesis(kind="two-sided", alpha=0.05, correction="bonferroni").alpha_per_comparison(2)
    0.025
    """

    kind: Kind
    alpha: float
    margin: float = 0.0
    better: Literal["larger", "smaller"] = "larger"
    correction: Correction | None = None
    n_comparisons: int | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, Kind)
        between("alpha", self.alpha, 0, 1)
        one_of("better", self.better, Literal["larger", "smaller"])
        if self.correction is not None:
            one_of("correction", self.correction, Correction)
        if self.n_comparisons is not None and self.n_comparisons < 1:
            raise ConfigError(f"n_comparisons is {self.n_comparisons}; give 1 or more")
        if self.has_margin:
            between(f"margin of {self.kind}", self.margin, 0, math.inf)
        elif self.margin != 0:
            raise ConfigError(f"margin is {self.margin} for kind {self.kind!r}; only 'non-inferiority' and 'equivalence' have one")

    @property
    def has_margin(self) -> bool:
        """Whether the null is an effect other than zero."""
        return self.kind in ("non-inferiority", "equivalence")

    @property
    def shows_smaller(self) -> bool:
        """Whether a one-sided claim is shown by a small effect."""
        return self.kind == "smaller" or (self.kind == "non-inferiority" and self.better == "smaller")

    def nulls(self, margin: float | None = None) -> tuple[float, float]:
        """Effects that a larger one is tested against, and that a smaller one is tested against.

        Parameters
        ----------
        margin : float, optional
            In place of the hypothesis's own.
        """
        chosen = self.margin if margin is None else margin
        return (-chosen, chosen) if self.has_margin else (0.0, 0.0)

    def holds(self, effect: float) -> bool:
        """Whether the claim is true of an effect."""
        above, below = self.nulls()
        larger, smaller = effect > above, effect < below
        if self.kind == "two-sided":
            return larger or smaller
        if self.kind == "equivalence":
            return larger and smaller
        return smaller if self.shows_smaller else larger

    def alpha_per_comparison(self, n_treatments: int) -> float:
        """Level of one comparison: ``alpha / m`` (Bonferroni) or ``1 − (1 − alpha)^(1/m)`` (Šidák 1967).

        Parameters
        ----------
        n_treatments : int
            Arms compared with the control; the family's size unless `n_comparisons` says otherwise.

        Raises
        ------
        ConfigError
            For several comparisons without a word on the correction.
        """
        m = n_treatments if self.n_comparisons is None else self.n_comparisons
        if m == 1:
            return self.alpha
        if self.correction is None:
            raise ConfigError(f"{m} comparisons share alpha {self.alpha}: say correction='none', 'bonferroni' or 'sidak'")
        if self.correction == "sidak":
            return -math.expm1(math.log1p(-self.alpha) / m)
        return self.alpha / m if self.correction == "bonferroni" else self.alpha


def cuped_factor(correlation: float) -> float:
    """What regression on a pre-period covariate leaves of the variance: ``1 − rho²``.

    Parameters
    ----------
    correlation : float
        Of metric and covariate over units, in [−1, 1]; the multiple correlation for several covariates.

    Raises
    ------
    ConfigError

    References
    ----------
    Deng, Xu, Kohavi, Walker (2013), "Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data", eq. 5.

    Examples
    --------
    >>> cuped_factor(0.5)
    0.75
    """
    between("correlation", correlation, -1, 1, closed="both")
    return (1 - correlation) * (1 + correlation)


def design_effect(*, cluster_size: float, icc: float, cluster_size_cv: float = 0.0) -> float:
    """By how much clusters inflate the variance of a mean of units: ``1 + ((1 + cv²) m − 1) icc``.

    Parameters
    ----------
    cluster_size : float
        Mean number m of units in a cluster, at least 1.
    icc : float
        Intracluster correlation in [0, 1].
    cluster_size_cv : float
        Standard deviation of the cluster sizes over their mean; 0 for equal clusters, where the factor is
        ``1 + (m − 1) icc`` (Kish 1965).

    Raises
    ------
    ConfigError

    References
    ----------
    Eldridge, Ashby, Kerry (2006), "Sample size for cluster randomized trials", Int. J. Epidemiology 35, eq. 4.

    Examples
    --------
    >>> design_effect(cluster_size=21, icc=0.05)
    2.0
    """
    between("cluster_size", cluster_size, 1, math.inf, closed="low")
    between("icc", icc, 0, 1, closed="both")
    between("cluster_size_cv", cluster_size_cv, 0, math.inf, closed="low")
    return 1 + ((1 + cluster_size_cv**2) * cluster_size - 1) * icc


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What changes the variance of an effect against independent units without covariates.

    Attributes
    ----------
    covariate_correlation : float
        Of the metric and its pre-period covariate (CUPED); see `cuped_factor`.
    cluster_size, icc, cluster_size_cv : float
        Randomised clusters of units; see `design_effect`. Sample sizes still count units.
    inflation : float
        Maximal sample size of a group sequential plan over that of a fixed one (`sparkds.stats.sequential`), 1 or more.

    Raises
    ------
    ConfigError
    """

    covariate_correlation: float = 0.0
    cluster_size: float = 1.0
    icc: float = 0.0
    cluster_size_cv: float = 0.0
    inflation: float = 1.0

    def __post_init__(self) -> None:
        between("inflation", self.inflation, 1, math.inf, closed="low")
        _ = self.variance_factor

    @property
    def variance_factor(self) -> float:
        """Variance of the effect over that of the same number of independent units at one look."""
        clusters = design_effect(cluster_size=self.cluster_size, icc=self.icc, cluster_size_cv=self.cluster_size_cv)
        return cuped_factor(self.covariate_correlation) * clusters * self.inflation

    def signal(self, effect: float) -> float:
        """Distance between the arms on the scale of the test."""
        return effect

    def shift(self, n_control: float, n_treatment: float) -> float:
        """Distance by which the statistic is moved towards the null."""
        return 0.0

    def df(self, n_control: float, n_treatment: float) -> float:
        """Degrees of freedom; infinite for a z-test."""
        return math.inf


@dataclass(frozen=True, kw_only=True)
class ProportionDesign(Sampling):
    """Share of units that did something.

    Attributes
    ----------
    baseline : float
        Share in [0, 1] under control.
    test : {"pooled", "unpooled", "arcsine"}
        "pooled": the statistic has the pooled variance of the null, the alternative its own (Fleiss, Levin, Paik 2003,
        eq. 4.14, unequal arms 4.18; R's `power.prop.test`). "unpooled": own variances in both (Chow, Shao, Wang 2008,
        sec. 4.2). "arcsine": variance-stabilised difference ``2 asin √p`` (Cohen 1988, ch. 6).
    continuity : bool
        Whether the statistic is moved towards the null by ``(1/n_control + 1/n_treatment) / 2`` (Casagrande, Pike, Smith 1978;
        Fleiss, Tytun, Ury 1980 for unequal arms).
    """

    baseline: float
    test: ProportionTest
    continuity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("test", self.test, ProportionTest)
        if not math.isnan(self.baseline):
            between("baseline", self.baseline, 0, 1, closed="both")
        if self.test == "arcsine" and self.continuity:
            raise ConfigError("continuity is not defined for test='arcsine'; choose 'pooled' or 'unpooled'")

    @property
    def method(self) -> str:
        """Name of the formula."""
        return f"z {self.test}" + (" with continuity" if self.continuity else "")

    def trouble(self, effect: float) -> str:
        """Why nothing can be computed at this effect; empty if something can."""
        if math.isnan(self.baseline):
            return "the baseline is not known; measure it or type it"
        if not 0 <= self.baseline + effect <= 1:
            return f"baseline {self.baseline:g} with effect {effect:g} is not a share in [0, 1]; choose a smaller effect"
        if self.variance_factor == 0 or (effect == 0 and self.baseline in (0, 1)):
            return "the metric does not vary between units; use another metric"
        return ""

    def signal(self, effect: float) -> float:
        """Distance between the arms on the scale of the test."""
        if self.test != "arcsine":
            return effect
        return 2 * (math.asin(math.sqrt(self.baseline + effect)) - math.asin(math.sqrt(self.baseline)))

    def std_errors(self, effect: float, n_control: float, n_treatment: float) -> tuple[float, float]:
        """Standard error of the difference as the test takes it under the null, and as it is under the alternative."""
        p, t = self.baseline, self.baseline + effect
        each = 1 / n_control + 1 / n_treatment
        if self.test == "arcsine":
            error = math.sqrt(self.variance_factor * each)
            return error, error
        own = math.sqrt(self.variance_factor * (p * (1 - p) / n_control + t * (1 - t) / n_treatment))
        if self.test == "unpooled":
            return own, own
        pooled = (n_control * p + n_treatment * t) / (n_control + n_treatment)
        return math.sqrt(self.variance_factor * pooled * (1 - pooled) * each), own

    def shift(self, n_control: float, n_treatment: float) -> float:
        """Distance by which the statistic is moved towards the null."""
        return (1 / n_control + 1 / n_treatment) / 2 if self.continuity else 0.0


@dataclass(frozen=True, kw_only=True)
class MeanDesign(Sampling):
    """Mean of a measurement over units.

    Attributes
    ----------
    std : float
        Standard deviation between units under control, in the metric's units.
    std_treatment : float, optional
        Under treatment, if another: Welch's test with Satterthwaite's degrees of freedom; else Student's with a pooled one.
    test : {"t", "z"}
        "t": noncentral t (Johnson, Kotz 1970); "z": variance taken as known.
    baseline : float
        Mean under control; only relative effects need it.
    """

    std: float
    test: MeanTest
    std_treatment: float | None = None
    baseline: float = math.nan

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("test", self.test, MeanTest)
        for name, given in (("std", self.std), ("std_treatment", self.std_treatment)):
            if given is not None and not math.isnan(given):
                between(name, given, 0, math.inf, closed="low")

    @property
    def method(self) -> str:
        """Name of the formula."""
        if self.test == "z":
            return "z"
        return "t noncentral" if self.std_treatment is None else "t noncentral, Welch"

    @property
    def _stds(self) -> tuple[float, float]:
        return self.std, self.std if self.std_treatment is None else self.std_treatment

    def trouble(self, effect: float) -> str:
        """Why nothing can be computed at this effect; empty if something can."""
        if math.isnan(sum(self._stds)):
            return "the standard deviation is not known; measure it or type it"
        if max(self._stds) == 0 or self.variance_factor == 0:
            return "the metric does not vary between units; use another metric"
        return ""

    def std_errors(self, effect: float, n_control: float, n_treatment: float) -> tuple[float, float]:
        """Standard error of the difference, the same under null and alternative."""
        control, treatment = self._stds
        error = math.sqrt(self.variance_factor) * math.hypot(control / math.sqrt(n_control), treatment / math.sqrt(n_treatment))
        return error, error

    def df(self, n_control: float, n_treatment: float) -> float:
        """Degrees of freedom, counted in clusters where units come in clusters; infinite for a z-test."""
        if self.test == "z":
            return math.inf
        control, treatment = n_control / self.cluster_size, n_treatment / self.cluster_size
        if self.std_treatment is None:
            return control + treatment - 2
        if min(control, treatment) <= 1:
            return 0.0
        largest = max(self._stds)
        a, b = (self._stds[0] / largest) ** 2 / control, (self._stds[1] / largest) ** 2 / treatment
        return (a + b) ** 2 / (a**2 / (control - 1) + b**2 / (treatment - 1))


@dataclass(frozen=True, kw_only=True)
class RatioDesign(Sampling):
    """Ratio of two means over units, e.g. revenue per order with users as units.

    The ratio is tested by z with the variance of its linearisation ``(numerator − R denominator) / mean_denominator``.

    Attributes
    ----------
    mean_numerator, mean_denominator : float
        Means over units under control.
    variance_numerator, variance_denominator, covariance : float
        Between units under control.

    References
    ----------
    Deng, Knoblich, Lu (2018), "Applying the delta method in metric analytics", eq. 4.
    """

    mean_numerator: float
    mean_denominator: float
    variance_numerator: float
    variance_denominator: float
    covariance: float

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("variance_numerator", "variance_denominator"):
            if not math.isnan(given := getattr(self, name)):
                between(name, given, 0, math.inf, closed="low")
        most = math.sqrt(self.variance_numerator) * math.sqrt(self.variance_denominator)
        if abs(self.covariance) > most * (1 + COVARIANCE_SLACK):
            raise ConfigError(f"covariance is {self.covariance}; with these variances it is at most {most:g} in size")

    @property
    def method(self) -> str:
        """Name of the formula."""
        return "z of the linearised ratio"

    @property
    def baseline(self) -> float:
        """Ratio of the means; NaN where the denominator's mean is 0."""
        return self.mean_numerator / self.mean_denominator if self.mean_denominator else math.nan

    @property
    def variance(self) -> float:
        """Variance between units of the linearised ratio."""
        ratio = self.baseline
        numerator = self.variance_numerator - 2 * ratio * self.covariance + ratio**2 * self.variance_denominator
        return numerator if math.isnan(numerator) else max(numerator, 0.0) / self.mean_denominator**2

    def trouble(self, effect: float) -> str:
        """Why nothing can be computed at this effect; empty if something can."""
        if self.mean_denominator == 0:
            return "the denominator's mean is 0; use another denominator"
        if math.isnan(self.variance):
            return "means, variances or covariance are not known; measure them or type them"
        if self.variance * self.variance_factor == 0:
            return "the ratio does not vary between units; use another metric"
        return ""

    def std_errors(self, effect: float, n_control: float, n_treatment: float) -> tuple[float, float]:
        """Standard error of the difference, the same under null and alternative."""
        error = math.sqrt(self.variance_factor * self.variance * (1 / n_control + 1 / n_treatment))
        return error, error


Design = ProportionDesign | MeanDesign | RatioDesign
