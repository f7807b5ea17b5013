"""Metrics: what is compared between the arms of an experiment, as declarations.

Each kind says of which values of a unit it is made and how they are compared. To add a kind, write one class here and
name it in the union at the foot of the file; no other file changes unless it needs a new unit value.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.experiments.measures import Measure, Stretch
from sparkds.experiments.unit_values import OfAny, OfCount, OfDistinct, OfEvents, OfMean, OfSteps, OfSum, UnitValue, Value


class Window(Declaration):
    """Stretch of time after a unit's exposure in which its facts count: ``delay_days <= age < delay_days + days``.

    Attributes
    ----------
    delay_days : float
    days : float, optional
        Until the experiment ends if absent.
    """

    delay_days: float = Field(default=0, ge=0, description="days after the exposure at which the window opens")
    days: float | None = Field(default=None, gt=0, description="length in days; until the experiment ends if absent")


class AbsoluteCap(Declaration):
    """Values above `upper` count as `upper`."""

    kind: Literal["absolute"] = "absolute"
    upper: float = Field(description="largest value of a unit that counts")


class PercentileCap(Declaration):
    """Values above a percentile, pooled over the arms, count as that percentile.

    Attributes
    ----------
    share : float
        Share of the units below the cap, e.g. 0.999.
    of : {"all", "nonzero"}
        Units whose values make the percentile.
    """

    kind: Literal["percentile"] = "percentile"
    share: float = Field(gt=0, lt=1, description="share of units below the cap")
    of: Literal["all", "nonzero"] = Field(default="nonzero", description="units that make the percentile")


Cap = Annotated[AbsoluteCap | PercentileCap, Field(discriminator="kind")]


class PrePeriod(Declaration):
    """Covariate: the metric itself in the days before the exposure.

    Units without any fact there have 0, and 1 in an indicator that is a covariate of its own.
    """

    kind: Literal["pre_period"] = "pre_period"
    days: float = Field(gt=0, description="days before the exposure")


class Attribute(Declaration):
    """Covariate: a numeric column of the exposures, e.g. a model's prediction; null gives 0 and 1 in an indicator."""

    kind: Literal["attribute"] = "attribute"
    column: str = Field(description="numeric column of the exposures, known before the exposure")


Covariate = Annotated[PrePeriod | Attribute, Field(discriminator="kind")]


class Metric(Declaration):
    """Fields that every kind has.

    Attributes
    ----------
    name : str
    window : Window
        Which facts count; all from the first exposure to the experiment's end if absent.
    complete_only : bool
        Only units whose whole window has passed. Needs ``window.days``.
    absent : {"zero", "not_observed"}
        What a unit without any row or value means: the value 0, or no observation, so that the unit takes no part.
        Leaving units out after the exposure can bias the comparison; the results say how many were left out.
    cap : AbsoluteCap or PercentileCap, optional
        The result without the cap is shown beside.
    covariates : tuple of PrePeriod or Attribute
        For CUPED; the result without them is shown beside.
    direction : {"increase", "decrease"}
        Which way is better.
    role : {"primary", "secondary", "guardrail"}
    margin : float, optional
        For a guardrail: the largest relative change for the worse that is accepted (non-inferiority).
    equivalence : float, optional
        For the other roles: the largest relative change, either way, that counts as none; rows of the variant ``equivalence`` then hold
        two one-sided tests.
    """

    kind: str
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name of the metric")
    window: Window = Field(default=Window(), description="which facts count")
    complete_only: bool = Field(default=False, description="only units whose whole window has passed")
    absent: Literal["zero", "not_observed"] = Field(default="zero", description="what a unit without a row means")
    cap: Cap | None = Field(default=None, description="largest value that counts")
    covariates: tuple[Covariate, ...] = Field(default=(), description="covariates for CUPED")
    direction: Literal["increase", "decrease"] = Field(default="increase", description="which way is better")
    role: Literal["primary", "secondary", "guardrail"] = Field(default="secondary", description="part it plays in the decision")
    margin: float | None = Field(default=None, gt=0, description="guardrail: accepted relative change for the worse")

    equivalence: float | None = Field(default=None, gt=0, lt=1, description="relative change, either way, that counts as none")

    binary: ClassVar[bool] = False
    """Whether the value of a unit is 0 or 1, so that tests of proportions apply."""

    @model_validator(mode="after")
    def _consistent(self) -> Metric:
        if self.complete_only and self.window.days is None and not isinstance(self, Retention):
            raise ValueError(f"metric '{self.name}': complete_only needs window.days, else no window is ever complete")
        if (self.margin is None) == (self.role == "guardrail"):
            raise ValueError(
                f"metric '{self.name}': a guardrail has a margin, the other roles have none (role {self.role}, margin {self.margin})"
            )
        if self.equivalence is not None and (self.role == "guardrail" or self.kind in ("quantile", "event_quantile")):
            raise ValueError(
                f"metric '{self.name}': equivalence is of relative changes of means and shares that are no guardrails; leave it out"
            )
        if self.cap is not None and self.binary:
            raise ValueError(f"metric '{self.name}': a value of 0 or 1 cannot be capped; leave cap out")
        return self

    @property
    def values(self) -> tuple[Value, ...]:
        """Values of a unit: one, or numerator and denominator."""
        raise TypeError(f"{type(self).__name__} has no values")

    @property
    def stretch(self) -> Stretch:
        """Window as time relative to the exposure."""
        return Stretch.after(self.window.delay_days, self.window.days)

    @property
    def pre_periods(self) -> tuple[Stretch, ...]:
        """Pre-periods of the covariates."""
        return tuple(Stretch.before(c.days) for c in self.covariates if isinstance(c, PrePeriod))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All measures that the metric needs, without repetition."""
        found = list(self.measures_in(self.stretch))
        for value in self.values:
            for before in self.pre_periods:  # an indicator says who was there
                found += value.measures(before)
        return tuple(dict.fromkeys(found))

    def measures_in(self, stretch: Stretch) -> tuple[Measure, ...]:
        """Measures of the values inside a stretch after the exposure; rows are counted only where their absence means something."""
        wanted = [value.measures(stretch) if self.absent == "not_observed" else value.value_measures(stretch) for value in self.values]
        return tuple(dict.fromkeys(m for measures in wanted for m in measures))

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the parts of the vector whose moments are kept: the values, then the covariates with their indicators."""
        names = ["value"] if len(self.values) == 1 else ["numerator", "denominator"]
        for covariate in self.covariates:
            if isinstance(covariate, PrePeriod):
                stem = f"pre_{covariate.days:g}d"
                names += (
                    [stem, f"{stem}_absent"] if len(self.values) == 1 else [f"{stem}_numerator", f"{stem}_denominator", f"{stem}_absent"]
                )
            else:
                names += [covariate.column, f"{covariate.column}_absent"]
        return tuple(names)


class _OfFact(Metric):
    """Metric over the rows of one fact table."""

    fact: str = Field(description="fact table")
    where: str | None = Field(default=None, min_length=1, description="SQL predicate over fact columns")


class Count(_OfFact):
    """Number of a unit's rows."""

    kind: Literal["count"] = "count"

    @property
    def values(self) -> tuple[Value, ...]:
        """Number of rows."""
        return (OfCount(fact=self.fact, where=self.where),)


class Sum(_OfFact):
    """Total of a column over a unit's rows, e.g. revenue per user."""

    kind: Literal["sum"] = "sum"
    column: str = Field(description="numeric column")

    @property
    def values(self) -> tuple[Value, ...]:
        """Total."""
        return (OfSum(fact=self.fact, where=self.where, column=self.column),)


class Mean(_OfFact):
    """Mean of a column over a unit's rows, then over units; each unit counts once."""

    kind: Literal["mean"] = "mean"
    column: str = Field(description="numeric column")
    absent: Literal["zero", "not_observed"] = Field(default="not_observed", description="what a unit without a row means")

    @property
    def values(self) -> tuple[Value, ...]:
        """Mean of the unit."""
        return (OfMean(fact=self.fact, where=self.where, column=self.column),)


class Proportion(_OfFact):
    """Share of units with at least one row."""

    kind: Literal["proportion"] = "proportion"
    binary: ClassVar[bool] = True

    @property
    def values(self) -> tuple[Value, ...]:
        """Whether there is a row."""
        return (OfAny(fact=self.fact, where=self.where),)


class Distinct(_OfFact):
    """Number of different values of a column, e.g. products bought per user."""

    kind: Literal["distinct"] = "distinct"
    column: str = Field(description="column of any type")

    @property
    def values(self) -> tuple[Value, ...]:
        """Number of different values."""
        return (OfDistinct(fact=self.fact, where=self.where, column=self.column),)


class Retention(_OfFact):
    """Share of units with a row in days `first_day` … `last_day` after the exposure, both included; day 0 is its first 24 hours."""

    kind: Literal["retention"] = "retention"
    first_day: int = Field(ge=0, description="first day after the exposure")
    last_day: int = Field(ge=0, description="last day after the exposure, included")
    complete_only: bool = Field(default=True, description="only units whose whole window has passed")
    binary: ClassVar[bool] = True

    @model_validator(mode="after")
    def _days(self) -> Retention:
        if self.first_day > self.last_day:
            raise ValueError(f"metric '{self.name}': first_day {self.first_day} is after last_day {self.last_day}")
        if self.window != Window():
            raise ValueError(f"metric '{self.name}': retention has its own days; leave window out")
        return self

    @property
    def stretch(self) -> Stretch:
        """The days after the exposure."""
        return Stretch.after(self.first_day, self.last_day - self.first_day + 1)

    @property
    def values(self) -> tuple[Value, ...]:
        """Whether there is a row."""
        return (OfAny(fact=self.fact, where=self.where),)


class Funnel(Metric):
    """Share of units that did all steps in order, each at or after the one before."""

    kind: Literal["funnel"] = "funnel"
    fact: str = Field(description="fact table")
    steps: tuple[str, ...] = Field(min_length=2, description="SQL predicate of each step, in order")
    step: int | None = Field(default=None, ge=1, description="step whose conversion is meant; the last if absent")
    binary: ClassVar[bool] = True

    @model_validator(mode="after")
    def _step(self) -> Funnel:
        if self.step is not None and self.step > len(self.steps):
            raise ValueError(f"metric '{self.name}': step {self.step} of {len(self.steps)} steps")
        return self

    @property
    def values(self) -> tuple[Value, ...]:
        """Whether the step was reached."""
        return (OfSteps(fact=self.fact, steps=self.steps[: self.step or len(self.steps)]),)


class RatioOfMeans(Metric):
    """Sum of a numerator over units by the sum of a denominator, e.g. clicks per view; by the delta method."""

    kind: Literal["ratio_of_means"] = "ratio_of_means"
    numerator: UnitValue = Field(description="value of a unit")
    denominator: UnitValue = Field(description="value of a unit; may be of another fact table")

    @property
    def values(self) -> tuple[Value, ...]:
        """Numerator and denominator."""
        return (self.numerator, self.denominator)


class Quantile(Metric):
    """Quantile of a unit's value over the units of an arm, e.g. the median revenue."""

    kind: Literal["quantile"] = "quantile"
    of: UnitValue = Field(description="value of a unit")
    share: float = Field(gt=0, lt=1, description="share of units below, e.g. 0.5 for the median")

    @model_validator(mode="after")
    def _plain(self) -> Quantile:
        if self.covariates or self.cap is not None:
            raise ValueError(f"metric '{self.name}': a quantile takes neither covariates nor a cap; leave them out")
        return self

    @property
    def values(self) -> tuple[Value, ...]:
        """Value of a unit."""
        return (self.of,)


class EventQuantile(_OfFact):
    """Quantile of a column over all rows of an arm's units, e.g. the 95 % quantile of load times; rows of a unit belong together."""

    kind: Literal["event_quantile"] = "event_quantile"
    column: str = Field(description="numeric column")
    share: float = Field(gt=0, lt=1, description="share of rows below, e.g. 0.95")

    @model_validator(mode="after")
    def _plain(self) -> EventQuantile:
        if self.covariates or self.cap is not None:
            raise ValueError(f"metric '{self.name}': a quantile takes neither covariates nor a cap; leave them out")
        return self

    @property
    def values(self) -> tuple[Value, ...]:
        """All values of the unit."""
        return (OfEvents(fact=self.fact, where=self.where, column=self.column),)


AnyMetric = Annotated[
    Count | Sum | Mean | Proportion | Distinct | Retention | Funnel | RatioOfMeans | Quantile | EventQuantile, Field(discriminator="kind")
]
"""Every kind of metric; the registry."""


class Variant(NamedTuple):
    """One way to compute a metric beside the declared one.

    Attributes
    ----------
    name : str
        ``declared``, ``uncapped``, or ``day_<n>`` for the n-th day since exposure.
    stretch : Stretch
    capped : bool
    """

    name: str
    stretch: Stretch
    capped: bool


def variants(metric: Metric, novelty_days: int) -> tuple[Variant, ...]:
    """The declared metric, the one without its cap, and for a primary metric one per day since exposure."""
    found = [Variant("declared", metric.stretch, metric.cap is not None)]
    if metric.cap is not None:
        found.append(Variant("uncapped", metric.stretch, False))
    if metric.role == "primary" and not isinstance(metric, Quantile | EventQuantile):
        found += [Variant(f"day_{day}", Stretch.after(day, 1), metric.cap is not None) for day in range(novelty_days)]
    return tuple(found)
