"""The plan as the analysis reads it, and as people do."""

import pytest

from sparkds import config
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.plan import plan_of
from sparkds.experiments.plan_document import analysis_of, markdown
from tests.experiments.designs import DESIGN, REVENUE, design, of_mean
from tests.experiments.test_plan import HISTORY, measured

SEQUENTIAL = {"kind": "group_sequential", "looks": [0.25, 1], "spending": "obrien_fleming"}
WITH_GUARDRAIL = {
    "metrics": [*DESIGN["metrics"], REVENUE],
    "baselines": {**DESIGN["baselines"], "revenue": {"kind": "mean", "mean": 20, "std": 40}},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**WITH_GUARDRAIL, "looks": SEQUENTIAL, "name": "no: 'yes' # é", "hypothesis": "null"},
        {"looks": {"kind": "always_valid", "method": "msprt"}, "alpha": 1e-5},
        {
            "arms": {"on": 0.2, "control": 0.5, "017": 0.3},
            "correction": "holm",
            "claim": {"kind": "equivalence", "margin": {"relative": 0.3}},
        },
        {"claim": {"kind": "noninferiority", "margin": {"absolute": 0.005}}},
    ],
)
def test_the_analysis_reads_back_the_document_that_was_written(changes, tmp_path):
    plan = plan_of(design(**changes))
    path = tmp_path / "plan.yml"
    path.write_text(config.as_yaml(analysis_of(plan)), encoding="utf-8")
    read = config.load(ExperimentSet, path, environ={})
    assert read == analysis_of(plan)
    assert read.experiments[0].peeking.planned_n == plan.n_total
    assert read.experiments[0].name == plan.design.name


def test_a_non_inferior_primary_metric_has_its_margin_as_a_share():
    told = analysis_of(plan_of(design(claim={"kind": "noninferiority", "margin": {"absolute": 0.005}})))
    assert (told.metrics[0].role, told.metrics[0].margin) == ("guardrail", pytest.approx(0.1))


def test_the_text_says_what_how_many_how_long_and_when_to_look():
    plan = plan_of(design(**WITH_GUARDRAIL, looks=SEQUENTIAL))
    told = markdown(plan)
    assert told.startswith("# Plan of experiment button\n\na green button makes more visitors buy\n")
    assert "- **bought** (primary): differs from the control; an effect of +0.005 (+10 %) is not missed with probability 80 %." in told
    assert "- **revenue** (guardrail): not worse than the control by more than 0.4 (2 % of the baseline)." in told
    assert f"| all |  | 1 | {plan.n_total:,} |" in told
    assert f"| control | control | 0.5 | {plan.n['control']:,} |" in told
    assert (
        "revenue needs the most units. They come within **8 whole weeks**, from 2026-06-01 00:00 to 2026-07-27 00:00 (Europe/Berlin)"
        in told
    )
    assert f"| 1 | {plan.looks[0].n_total:,} | 2 | z ≤ −4.3326 or z ≥ 4.3326 |" in told
    assert "Ship if bought is shown as claimed and revenue is shown not to be worse by the margin." in told
    assert "`arm:button`" in told


def test_looks_at_any_time_and_one_look_have_their_rules():
    assert "Every look is allowed: intervals and p-values are those of an mSPRT" in markdown(
        plan_of(design(looks={"kind": "always_valid", "method": "msprt"}))
    )
    assert "Nothing is concluded before 62,468 units" in markdown(plan_of(design()))


def test_corrections_windows_coverage_and_notes_are_told():
    arms = {"control": 0.5, "b": 0.25, "c": 0.25}
    told = markdown(plan_of(of_mean(40.0, arms=arms, correction="bonferroni", coverage=0.5, metric={"window": {"days": 7}})))
    assert "2 arms are compared with control: correction bonferroni, level of one comparison 0.025." in told
    assert "with 50 % of the eligible units in the experiment" in told
    assert "The last unit's window is complete on" in told
    assert "## Notes" not in told
    notes = markdown(plan_of(design(claim={"kind": "equivalence", "margin": {"relative": 0.3}})))
    assert "has its interval at level 0.9 within the margin" in notes
    assert "## Notes\n\n- equivalence is shown if" in notes


def test_a_measured_plan_says_from_when_and_units_that_never_come_are_told():
    declared = design(history=HISTORY, traffic_per_day=None)
    assert "as from 2026-05-01 to 2026-05-28" in markdown(plan_of(declared, measured()))
    assert "They never come at the present traffic." in markdown(plan_of(declared, measured(by_week=(900, 900))))
