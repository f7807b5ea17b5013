"""The declaration of a design: what it holds, and what each mistake is told."""

import doctest

import pytest
from pydantic import ValidationError

from sparkds.experiments import design as module
from sparkds.experiments.experiment import AlwaysValid, FixedHorizon, GroupSequential
from tests.experiments.designs import DESIGN, PER_VISIT, REVENUE, design

SEQUENTIAL = {"kind": "group_sequential", "looks": [0.5, 1], "spending": "obrien_fleming"}


def test_examples_of_the_declaration():
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_the_analysis_is_told_what_was_planned():
    declared = design(looks=SEQUENTIAL, correction="holm", segments=["country"])
    told = declared.experiment_set(62_468)
    (experiment,) = told.experiments
    assert told.metrics == declared.metrics
    assert experiment.hypothesis == declared.hypothesis
    assert (experiment.name, experiment.arms, experiment.control, experiment.start) == ("button", declared.arms, "control", declared.start)
    assert (experiment.alpha, experiment.sides, experiment.correction) == (0.05, "two", "holm")
    assert (experiment.metrics, experiment.segments) == (("bought",), ("country",))
    assert experiment.peeking == GroupSequential(planned_n=62_468, looks=(0.5, 1.0), spending="obrien_fleming")


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        ({"kind": "fixed"}, FixedHorizon(planned_n=10)),
        ({"kind": "always_valid", "method": "msprt"}, AlwaysValid(planned_n=10, method="msprt")),
        ({**SEQUENTIAL, "spending": "power", "rho": 3}, GroupSequential(planned_n=10, looks=(0.5, 1.0), spending="power", rho=3.0)),
    ],
)
def test_every_look_plan_becomes_its_way_of_peeking(looks, wanted):
    assert design(looks=looks).experiment_set(10).experiments[0].peeking == wanted


def test_a_non_inferior_primary_metric_is_analysed_as_a_guardrail_and_the_declaration_stays():
    declared = design()
    (metric,) = declared.experiment_set(10, margin=0.03).metrics
    assert (metric.role, metric.margin) == ("guardrail", 0.03)
    assert declared.primary.role == "primary"


def test_metrics_without_a_typed_baseline_are_the_measured_ones():
    history = {"days": 14, "eligible": {"fact": "visits", "where": "true"}}
    declared = design(metrics=[*DESIGN["metrics"], REVENUE], history=history)
    assert [m.name for m in declared.measured_metrics] == ["revenue"]
    assert declared.needs_history
    assert not design(history=history).needs_history
    assert design(history=history, traffic_per_day=None).needs_history


SECONDARY = {**REVENUE, "role": "secondary", "margin": None}
HISTORY = {"days": 14, "eligible": {"fact": "visits", "where": "true"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claim": {"kind": "superiority", "mde": {"relative": 0.1, "absolute": 0.005}}}, "give exactly one of the two"),
        ({"claim": {"kind": "superiority", "mde": {}}}, "give exactly one of the two"),
        ({"claim": {"kind": "superiority", "mde": {"relative": 0}}}, "greater than 0"),
        ({"claim": {"kind": "equivalence"}}, "margin"),
        ({"arms": {"control": 0.5, "green": 0.4}}, "sum to 1; they sum to 0.9"),
        ({"arms": {"control": 1.0, "green": 0.0}}, "arm 'green' has share 0; leave arms without units out"),
        ({"control": "contol"}, "control 'contol' is no arm; did you mean 'control'"),
        ({"time_zone": "Europe/Berln"}, "'Europe/Berln' is not an IANA time zone; did you mean 'Europe/Berlin'"),
        ({"looks": {**SEQUENTIAL, "looks": [0.5, 0.9]}}, "must ascend from above 0 to 1"),
        ({"metrics": [DESIGN["metrics"][0], {**REVENUE, "fact": "order"}]}, "no fact table 'order'; did you mean 'orders'"),
        ({"metrics": [SECONDARY], "baselines": {}}, "0 metrics have the role primary (none); a design has exactly one"),
        ({"metrics": [*DESIGN["metrics"], {**REVENUE, "role": "primary", "margin": None}]}, "(bought, revenue); a design has exactly one"),
        ({"metrics": [DESIGN["metrics"][0]] * 2}, "metric 'bought' is declared twice"),
        ({"baselines": {}}, "metric 'bought' has no baseline; type it below baselines, or declare a history"),
        ({"baselines": {**DESIGN["baselines"], "bougt": {"kind": "proportion", "share": 0.1}}}, "guardrail 'bougt'; did you mean 'bought'"),
        ({"baselines": {"bought": {"kind": "mean", "mean": 1, "std": 1}}}, "is of kind mean; a metric of kind proportion needs proportion"),
        ({"baselines": {"bought": {"kind": "proportion", "share": 0.1, "covariate_correlation": 0.5}}}, "declare the metric's covariates"),
        ({"baselines": {"bought": {"kind": "proportion", "share": 1.1}}}, "less than or equal to 1"),
        ({"traffic_per_day": None}, "traffic_per_day is required without a history"),
        ({"power": 0.04}, "power 0.04 is not above alpha 0.05"),
        ({"continuity": True, "proportion_test": "arcsine"}, "continuity is not defined for proportion_test arcsine"),
        ({"history": {**HISTORY, "eligible": {"fact": "visit", "where": "true"}}}, "no fact table 'visit'; did you mean 'visits'"),
        (
            {"history": HISTORY, "baselines": {}, "metrics": [{**DESIGN["metrics"][0], "window": {"delay_days": 1, "days": 14}}]},
            "metric 'bought' needs 15 days after the exposure and the history has 14; lengthen it",
        ),
        (
            {
                "metrics": [
                    {"kind": "quantile", "name": "median", "of": PER_VISIT["numerator"], "share": 0.5, "role": "guardrail", "margin": 0.1},
                    *DESIGN["metrics"],
                ]
            },
            "metric 'median': a quantile has no sample size formula",
        ),
    ],
)
def test_a_mistake_is_told_with_what_to_do(changes, message):
    with pytest.raises(ValidationError) as caught:
        design(**changes)
    assert message in str(caught.value)
