"""Design: what an experiment shall show, on which metrics, at which errors and with which traffic, before it starts.

One declaration, the same in Python and YAML, from which the plan follows (`sparkds.experiments.plan`); it holds the exposures, facts
and metrics of the analysis too, so that what was planned is what is analysed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, ValidationError, field_validator, model_validator

from sparkds.declaration import Declaration
from sparkds.errors import closest
from sparkds.experiments.assignment import Assignment
from sparkds.experiments.experiment import AlwaysValid, Experiment, ExperimentSet, Exposures, Facts, FixedHorizon, GroupSequential, Trigger
from sparkds.experiments.metrics import AnyMetric, Metric, Quantile, RatioOfMeans
from sparkds.stats.designs import MeanTest, ProportionTest

BaselineKind = Literal["proportion", "mean", "ratio"]


class Size(Declaration):
    """Size of an effect or margin, above 0: in the metric's units, or as a share of the baseline; one of the two.

    Examples
    --------
    >>> Size(relative=0.1).of(-20.0)
    2.0
    """

    absolute: float | None = Field(default=None, gt=0, description="in the metric's units")
    relative: float | None = Field(default=None, gt=0, description="share of the baseline, e.g. 0.1 for 10 %")

    @model_validator(mode="after")
    def _one(self) -> Size:
        if (self.absolute is None) == (self.relative is None):
            raise ValueError(f"absolute is {self.absolute} and relative is {self.relative}; give exactly one of the two")
        return self

    def of(self, baseline: float) -> float:
        """Size in the metric's units; 0 or NaN where it is relative to a baseline that is."""
        return self.absolute if self.absolute is not None else abs(baseline) * (self.relative or 0.0)


class Superiority(Declaration):
    """The treatment changes the primary metric."""

    kind: Literal["superiority"] = "superiority"
    mde: Size = Field(description="smallest effect that must not be missed, towards the metric's better direction")


class NonInferiority(Declaration):
    """The treatment is not worse than the control by the margin; planned at a true effect of 0."""

    kind: Literal["noninferiority"] = "noninferiority"
    margin: Size = Field(description="largest accepted change for the worse")


class Equivalence(Declaration):
    """The treatment is neither better nor worse than the control by the margin; planned at a true effect of 0."""

    kind: Literal["equivalence"] = "equivalence"
    margin: Size = Field(description="largest accepted change in both directions")


Claim = Annotated[Superiority | NonInferiority | Equivalence, Field(discriminator="kind")]


class FixedLook(Declaration):
    """One look, at the planned number of units."""

    kind: Literal["fixed"] = "fixed"

    def peeking(self, planned_n: int) -> FixedHorizon:
        """What the analysis is told."""
        return FixedHorizon(planned_n=planned_n)


class PlannedLooks(Declaration):
    """Looks at shares of the planned number of units, with a spending function."""

    kind: Literal["group_sequential"] = "group_sequential"
    looks: tuple[float, ...] = Field(min_length=1, description="information fractions, ascending, the last 1")
    spending: Literal["obrien_fleming", "pocock", "power"] = Field(description="spending function")
    rho: float = Field(default=2.0, gt=0, description="exponent of the power spending function")

    def peeking(self, planned_n: int) -> GroupSequential:
        """What the analysis is told."""
        return GroupSequential(planned_n=planned_n, looks=self.looks, spending=self.spending, rho=self.rho)


class AnyLook(Declaration):
    """A look whenever one likes, by a confidence sequence or mSPRT that is tightest at the planned number of units."""

    kind: Literal["always_valid"] = "always_valid"
    method: Literal["confidence_sequence", "msprt"] = Field(default="confidence_sequence", description="asymptotic sequence or mSPRT")

    def peeking(self, planned_n: int) -> AlwaysValid:
        """What the analysis is told."""
        return AlwaysValid(planned_n=planned_n, method=self.method)


LookPlan = Annotated[FixedLook | PlannedLooks | AnyLook, Field(discriminator="kind")]


class Baseline(Declaration):
    """Metric under control, typed: what all kinds have.

    Attributes
    ----------
    covariate_correlation : float
        Correlation of the metric with what its declared covariates predict; CUPED leaves ``1 - correlation²`` of the variance.
    """

    kind: str
    covariate_correlation: float = Field(default=0.0, ge=-1, le=1, description="of the metric with its declared covariates")


class ProportionBaseline(Baseline):
    """Share of the units under control."""

    kind: Literal["proportion"] = "proportion"
    share: float = Field(ge=0, le=1, description="share of the units, in [0, 1]")


class MeanBaseline(Baseline):
    """Mean over units and standard deviation between them under control."""

    kind: Literal["mean"] = "mean"
    mean: float = Field(description="mean over the units")
    std: float = Field(ge=0, description="standard deviation between units")


class RatioBaseline(Baseline):
    """Means and standard deviations over units of a ratio's two parts, and their correlation."""

    kind: Literal["ratio"] = "ratio"
    numerator_mean: float = Field(description="mean of the numerator over the units")
    numerator_std: float = Field(ge=0, description="its standard deviation between units")
    denominator_mean: float = Field(description="mean of the denominator over the units")
    denominator_std: float = Field(ge=0, description="its standard deviation between units")
    correlation: float = Field(ge=-1, le=1, description="of numerator and denominator between units")


AnyBaseline = Annotated[ProportionBaseline | MeanBaseline | RatioBaseline, Field(discriminator="kind")]


class History(Declaration):
    """Where baselines that are not typed are measured: as if the experiment had begun `days` before, without any treatment.

    A unit enters at its first row that meets `eligible`, as it would be exposed then; its metrics follow as in the analysis, with
    their windows, absolute caps and pre-periods.

    Attributes
    ----------
    days : int
        Length, up to and including the day asked for; for metrics without ``window.days`` also how long facts count.
    eligible : Trigger
        Rows that would expose a unit.
    balance_alpha : float, optional
        Level of an A/A test of the planned arms on the history: over all metrics, their pre-periods and arms together. Not made if
        absent.
    """

    days: int = Field(ge=1, description="days of history")
    eligible: Trigger = Field(description="fact rows that would expose a unit")
    balance_alpha: float | None = Field(default=None, gt=0, lt=0.5, description="level of an A/A test of the arms; none if absent")


class Clusters(Declaration):
    """Units that are randomised together, e.g. the members of a household; numbers of units stay numbers of units."""

    size: float = Field(ge=1, description="mean units of a cluster")
    icc: float = Field(ge=0, le=1, description="intraclass correlation")
    size_cv: float = Field(default=0.0, ge=0, description="coefficient of variation of the sizes")


class Design(Declaration):
    """Design of one experiment.

    Attributes
    ----------
    name, hypothesis : str
        Name as it will stand in the exposures, and what is expected, in words.
    time_zone, exposures, facts, metrics
        As in `sparkds.experiments.experiment.ExperimentSet`. One metric has the role primary; guardrails have their margin, as a
        share of the baseline; secondary metrics take no part in the plan.
    arms : dict of str to float
        Arm to its share of the units; above 0, sum 1.
    control : str
    start : datetime
    claim : Superiority, NonInferiority or Equivalence
        Of the primary metric; superiority with its minimum detectable effect, the others with their margin.
    alpha, power : float
        Of the primary metric over all arms; each guardrail is tested at `alpha` by itself.
    sides : {"two", "one"}
        Of a superiority claim; one: towards the metric's better direction.
    correction : str
        Over the treatment arms; planned at the strictest step of those that have steps.
    looks : FixedLook, PlannedLooks or AnyLook
    baselines : dict of str to baseline
        Primary metric or guardrail to its typed baseline; those that are left out are measured from the history.
    history : History, optional
    traffic_per_day : float, optional
        New eligible units per day; measured from the history if absent.
    coverage : float
        Share of the eligible units that enter the experiment.
    clusters : Clusters, optional
    proportion_test, continuity, mean_test
        Formula, see `sparkds.stats.designs`; shares with a margin are always planned unpooled.
    exact : bool
        Whether the power of a proportion between two arms is also found over all pairs of counts.

    Examples
    --------
    >>> design = Design.model_validate(
    ...     {
    ...         "name": "button",
    ...         "hypothesis": "a green button makes more visitors buy",
    ...         "time_zone": "UTC",
    ...         "exposures": {"table": "exposures"},
    ...         "facts": [{"name": "orders", "table": "orders"}],
    ...         "metrics": [{"kind": "proportion", "name": "bought", "fact": "orders", "role": "primary"}],
    ...         "baselines": {"bought": {"kind": "proportion", "share": 0.05}},
    ...         "arms": {"a": 0.5, "b": 0.5},
    ...         "control": "a",
    ...         "start": "2026-06-01T00:00Z",
    ...         "claim": {"kind": "superiority", "mde": {"relative": 0.1}},
    ...         "alpha": 0.05,
    ...         "power": 0.8,
    ...         "sides": "two",
    ...         "correction": "none",
    ...         "looks": {"kind": "fixed"},
    ...         "traffic_per_day": 5_000,
    ...     }
    ... )
    >>> design.primary.name, design.measured_metrics
    ('bought', ())
    """

    name: str = Field(min_length=1, description="name of the experiment, as it will stand in the exposures")
    hypothesis: str = Field(min_length=1, description="what is expected, in words")
    time_zone: str = Field(description="IANA time zone of the days")
    exposures: Exposures = Field(description="who will see which arm when")
    facts: tuple[Facts, ...] = Field(min_length=1, description="what units do when")
    metrics: tuple[AnyMetric, ...] = Field(min_length=1, description="metrics: one primary, guardrails, secondary ones")
    arms: dict[str, float] = Field(min_length=2, description="arm: share of the units")
    control: str = Field(description="arm that the others are compared with")
    start: AwareDatetime = Field(description="first instant of the experiment, with its zone")
    claim: Claim = Field(description="what shall be shown of the primary metric")
    alpha: float = Field(gt=0, lt=0.5, description="level of the tests")
    power: float = Field(gt=0, lt=1, description="chance to show what is claimed")
    sides: Literal["two", "one"] = Field(description="two-sided, or one-sided towards the better")
    correction: Literal["none", "bonferroni", "holm", "hochberg", "sidak", "holm_sidak", "bh", "by"] = Field(
        description="correction over the treatment arms"
    )
    looks: LookPlan = Field(description="when the results are looked at")
    baselines: dict[str, AnyBaseline] = Field(default={}, description="metric: typed baseline; measured from the history if absent")
    history: History | None = Field(default=None, description="where baselines are measured")
    traffic_per_day: float | None = Field(default=None, gt=0, description="new eligible units per day; measured if absent")
    coverage: float = Field(default=1.0, gt=0, le=1, description="share of the eligible units in the experiment")
    clusters: Clusters | None = Field(default=None, description="units that are randomised together")
    segments: tuple[str, ...] = Field(default=(), description="columns of the exposures, for the analysis")
    proportion_test: ProportionTest = Field(default="pooled", description="formula for proportions without a margin")
    continuity: bool = Field(default=False, description="continuity correction for proportions")
    mean_test: MeanTest = Field(default="t", description="formula for means")
    exact: bool = Field(default=False, description="power of proportions over all pairs of counts, too")

    @field_validator("arms")
    @classmethod
    def _arms_have_units(cls, arms: dict[str, float]) -> dict[str, float]:
        empty = [arm for arm, share in arms.items() if share <= 0]
        if empty:
            raise ValueError(f"arm '{empty[0]}' has share {arms[empty[0]]:g}; leave arms without units out of a design")
        return arms

    @model_validator(mode="after")
    def _analysable(self) -> Design:
        try:
            _ = self.experiment_set(1), self.assignment
        except ValidationError as error:
            told = [str(problem.get("ctx", {}).get("error", problem["msg"])) for problem in error.errors()]
            raise ValueError("; ".join(told)) from None
        return self

    @model_validator(mode="after")
    def _can_be_planned(self) -> Design:
        primary = [m.name for m in self.metrics if m.role == "primary"]
        if len(primary) != 1:
            raise ValueError(f"{len(primary)} metrics have the role primary ({', '.join(primary) or 'none'}); a design has exactly one")
        if self.power <= self.alpha:
            raise ValueError(f"power {self.power:g} is not above alpha {self.alpha:g}; ask for more")
        if self.continuity and self.proportion_test == "arcsine":
            raise ValueError("continuity is not defined for proportion_test arcsine; choose pooled or unpooled")
        names = [m.name for m in self.planned]
        for metric in self.planned:
            if isinstance(metric, Quantile):
                raise ValueError(f"metric '{metric.name}': a quantile has no sample size formula; give it the role secondary")
        for name, baseline in self.baselines.items():
            if name not in names:
                raise ValueError(f"baselines: no primary metric or guardrail '{name}'{closest(name, names)} (metrics: {', '.join(names)})")
            metric = next(m for m in self.planned if m.name == name)
            if baseline.kind != kind_of(metric):
                raise ValueError(f"baseline of '{name}' is of kind {baseline.kind}; a metric of kind {metric.kind} needs {kind_of(metric)}")
            if baseline.covariate_correlation and not metric.covariates:
                raise ValueError(f"baseline of '{name}' has a covariate_correlation; declare the metric's covariates, or leave it out")
        return self

    @model_validator(mode="after")
    def _history_is_there(self) -> Design:
        if self.history is None:
            if self.measured_metrics:
                name = self.measured_metrics[0].name
                raise ValueError(f"metric '{name}' has no baseline; type it below baselines, or declare a history to measure it from")
            if self.traffic_per_day is None:
                raise ValueError("traffic_per_day is required without a history to measure it from")
            return self
        facts = [fact.name for fact in self.facts]
        if self.history.eligible.fact not in facts:
            fact = self.history.eligible.fact
            raise ValueError(f"history: no fact table '{fact}'{closest(fact, facts)} (tables: {', '.join(facts)})")
        for metric in self.planned if self.history.balance_alpha is not None else self.measured_metrics:
            end = metric.stretch.end
            days = 0.0 if end is None else end / 86_400e6
            if days > self.history.days:
                raise ValueError(
                    f"metric '{metric.name}' needs {days:g} days after the exposure and the history has {self.history.days}; lengthen it"
                )
        return self

    @property
    def primary(self) -> Metric:
        """The metric that the claim is about."""
        return next(m for m in self.metrics if m.role == "primary")

    @property
    def planned(self) -> tuple[Metric, ...]:
        """Primary metric, then the guardrails."""
        return (*(m for m in self.metrics if m.role == "primary"), *(m for m in self.metrics if m.role == "guardrail"))

    @property
    def measured_metrics(self) -> tuple[Metric, ...]:
        """Planned metrics without a typed baseline."""
        return tuple(m for m in self.planned if m.name not in self.baselines)

    @property
    def needs_history(self) -> bool:
        """Whether something must be measured before the plan can be made."""
        return self.history is not None and (bool(self.measured_metrics) or self.traffic_per_day is None)

    @property
    def treatments(self) -> tuple[str, ...]:
        """Arms other than the control."""
        return tuple(arm for arm in self.arms if arm != self.control)

    @property
    def weights(self) -> tuple[float, ...]:
        """Shares of the arms, control first."""
        return (self.arms[self.control], *(self.arms[arm] for arm in self.treatments))

    @property
    def assignment(self) -> Assignment:
        """How units come into the experiment and its arms."""
        return Assignment(experiment=self.name, arms=self.arms, coverage=self.coverage)

    def experiment_set(self, planned_n: int, *, margin: float | None = None) -> ExperimentSet:
        """What the analysis is told, once the number of units is known.

        Parameters
        ----------
        planned_n : int
            Units over all arms.
        margin : float, optional
            Of a non-inferiority claim, as a share of the baseline: the primary metric is then analysed as a guardrail.
        """
        experiment: dict[str, Any] = {
            "name": self.name,
            "hypothesis": self.hypothesis,
            "arms": self.arms,
            "control": self.control,
            "start": self.start,
            "metrics": tuple(m.name for m in self.metrics),
            "segments": self.segments,
            "alpha": self.alpha,
            "sides": self.sides,
            "correction": self.correction,
            "peeking": self.looks.peeking(planned_n),
        }
        as_guardrail = {} if margin is None else {"role": "guardrail", "margin": margin}
        metrics = tuple(m.model_copy(update=as_guardrail) if m.role == "primary" else m for m in self.metrics)
        return ExperimentSet(
            time_zone=self.time_zone,
            exposures=self.exposures,
            facts=self.facts,
            metrics=metrics,
            experiments=(Experiment(**experiment),),
        )


def kind_of(metric: Metric) -> BaselineKind:
    """Which baseline a metric needs."""
    if isinstance(metric, RatioOfMeans):
        return "ratio"
    return "proportion" if metric.binary else "mean"
