"""Gates: what passes, what fails, and what cannot be known."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from sparkds.models.evaluation import EvaluationRow, evaluation_rows
from sparkds.models.gates import (
    DEFAULT_GATES,
    AnyGate,
    CalibrationGate,
    FairnessGate,
    Findings,
    ImportanceGate,
    LatencyGate,
    MetricGate,
    NotWorseGate,
    OverfitGate,
    all_pass,
    judged,
)
from sparkds.models.score_evidence import ScoreEvidence
from sparkds.stats.score_counts import counted, score_edges


def good_rows():
    rng = np.random.default_rng(1)
    n = 20_000
    s = np.concatenate([rng.beta(1, 12, n // 2), rng.beta(12, 1, n // 2)])
    y = (rng.random(n) < s).astype(int)
    g = rng.choice(["a", "b"], n)
    edges = score_edges(2_000, (0.5,))
    counts = {("m", "", ""): counted(y, s, edges=edges), ("old", "", ""): counted(y, np.clip(s + rng.normal(0, 0.3, n), 0, 1), edges=edges)}
    counts[("majority", "", "")] = counted(y, np.full(n, y.mean()), edges=edges)
    counts |= {("m", "g", v): counted(y[g == v], s[g == v], edges=edges) for v in "ab"}
    return evaluation_rows(ScoreEvidence(counts, {}, {}))


ROWS = good_rows()


def known(**more):
    told = {
        "champion": "old",
        "baselines": ("majority",),
        "train": {"auc": 0.97},
        "validation": {"auc": 0.95},
        "importance": {"a": 0.7, "b": 0.25, "c": 0.05},
        "selected": ("a", "b"),
        "retrained_equal": True,
        "batch_seconds": [0.1] * 19 + [3.0],
        "has_signature": True,
        "open_leakage_findings": (),
    }
    return Findings("m", ROWS, **(told | more))


def status(gates, found):
    return {v.gate: v.status for v in judged(gates, found)}


def test_a_good_model_passes_the_default_gates():
    verdicts = judged(DEFAULT_GATES, known())
    assert [v for v in verdicts if v.status != "pass"] == []
    assert all_pass(verdicts)
    assert [v.gate for v in verdicts] == [
        "auc", "brier", "calibration", "overfit_auc", "demographic_parity:g", "equalised_odds:g", "importance", "reproducible",
        "not_worse_than_champion:old", "not_worse_than_baselines:majority", "latency", "signature", "leakage",
    ]  # fmt: skip
    by_name = {v.gate: v for v in verdicts}
    assert by_name["overfit_auc"].figure == pytest.approx(0.02 / 0.97)
    assert by_name["importance"].figure == pytest.approx(0.95)
    assert by_name["latency"].figure == 0.1
    assert by_name["auc"].figure == next(r.value for r in ROWS if (r.name, r.model, r.group) == ("auc", "m", ""))


def test_what_is_not_known_does_not_pass():
    verdicts = judged(DEFAULT_GATES, Findings("absent", []))
    assert {v.gate: v.status for v in verdicts if v.status != "not_computable"} == {"not_worse_than_champion": "pass"}
    assert all(v.reason for v in verdicts)
    assert all(math.isnan(v.figure) for v in verdicts)
    assert not all_pass(verdicts)
    assert not all_pass([])


@pytest.mark.parametrize(
    ("more", "gate", "wanted"),
    [
        ({"validation": {"auc": 0.90}}, "overfit_auc", "fail"),
        ({"validation": {"auc": 0.99}}, "overfit_auc", "pass"),
        ({"train": {"auc": math.nan}}, "overfit_auc", "not_computable"),
        ({"selected": ("a",)}, "importance", "fail"),
        ({"selected": ("a", "x")}, "importance", "not_computable"),
        ({"importance": {"a": 1.0, "b": -0.1}}, "importance", "not_computable"),
        ({"retrained_equal": False}, "reproducible", "fail"),
        ({"batch_seconds": [0.1] * 18 + [3.0] * 2}, "latency", "fail"),
        ({"batch_seconds": [0.1] * 19}, "latency", "not_computable"),
        ({"has_signature": False}, "signature", "fail"),
        ({"open_leakage_findings": ("'total' is made of the label",)}, "leakage", "fail"),
        ({"champion": "nobody"}, "not_worse_than_champion:nobody", "not_computable"),
    ],
)
def test_each_finding_moves_its_gate(more, gate, wanted):
    assert status(DEFAULT_GATES, known(**more))[gate] == wanted
    assert wanted != "pass" or all_pass(judged(DEFAULT_GATES, known(**more)))


def test_the_gap_of_a_loss_has_the_other_sign():
    gate = OverfitGate(metric="log_loss", at_most=0.1, relative=False)
    (worse,) = judged([gate], Findings("m", [], train={"log_loss": 0.2}, validation={"log_loss": 0.35}))
    assert worse.figure == pytest.approx(0.15)
    assert worse.status == "fail"
    assert status([gate], Findings("m", [], train={"log_loss": 0.35}, validation={"log_loss": 0.2})) == {"overfit_log_loss": "pass"}
    (zero,) = judged([OverfitGate(metric="log_loss")], Findings("m", [], train={"log_loss": 0.0}, validation={"log_loss": 0.2}))
    assert "relative gap is undefined" in zero.reason


def test_a_metric_nearer_to_the_threshold_than_the_bins_can_tell_is_not_computable():
    rows = [
        EvaluationRow("metric", "m", "auc", value=0.8501, low=0.84, high=0.86, n=10),
        EvaluationRow("metric", "m", "auc_hidden_by_bins", value=0.001),
    ]
    (verdict,) = judged([MetricGate(metric="auc", at_least=0.85)], Findings("m", rows))
    assert verdict.status == "not_computable"
    assert "use more bins" in verdict.reason
    assert status([MetricGate(metric="auc", at_least=0.84)], Findings("m", rows)) == {"auc": "pass"}
    assert status([MetricGate(metric="auc", at_least=0.85, end="interval")], Findings("m", rows)) == {"auc": "fail"}
    assert status([MetricGate(metric="auc", at_most=0.85, end="interval")], Findings("m", rows)) == {"auc": "fail"}


def test_calibration_names_the_groups_outside():
    rows = [EvaluationRow("calibration", "m", "gap", at=i, value=v, n=100) for i, v in enumerate([0.01, -0.07, 0.06], 1)]
    (verdict,) = judged([CalibrationGate(within=0.05)], Findings("m", rows))
    assert (verdict.status, verdict.figure) == ("fail", 0.07)
    assert verdict.reason == "largest gap -0.0700 in group 2 of 3 (100 rows); outside: 2, 3"


def test_fairness_is_judged_by_group_column_and_undefined_is_told():
    rows = [
        EvaluationRow("fairness", "m", "equal_opportunity_difference", group="sex", value=0.2),
        EvaluationRow("fairness", "m", "equal_opportunity_difference", group="age", reason="recall is defined in 1 of 2 groups"),
    ]
    gate = FairnessGate(criterion="equal_opportunity")
    assert status([gate], Findings("m", rows)) == {"equal_opportunity:age": "not_computable", "equal_opportunity:sex": "fail"}
    named = FairnessGate(criterion="equal_opportunity", groups=("region",))
    (verdict,) = judged([named], Findings("m", rows))
    assert verdict.reason == "group 'region' was not evaluated"


def test_not_worse_by_interval_needs_the_paired_difference():
    gate = NotWorseGate(than="champion", by="interval", margin=0.01)
    row = EvaluationRow("comparison", "m", "auc_difference", other_model="old", value=0.0, low=-0.005, high=0.005)
    assert status([gate], Findings("m", [row], champion="old")) == {"not_worse_than_champion:old": "pass"}
    assert status([gate], Findings("m", [row, *ROWS], champion="older")) == {"not_worse_than_champion:older": "not_computable"}
    loss = NotWorseGate(than="champion", by="interval", metric="brier", margin=0.001)
    row = EvaluationRow("comparison", "m", "brier_difference", other_model="old", value=0.0, low=-0.005, high=0.005)
    (verdict,) = judged([loss], Findings("m", [row], champion="old"))
    assert (verdict.figure, verdict.status) == (-0.005, "fail")
    rows = [EvaluationRow("metric", "m", "brier", value=0.2), EvaluationRow("metric", "old", "brier", value=0.1)]
    assert status([NotWorseGate(than="champion", metric="brier")], Findings("m", rows, champion="old")) == {
        "not_worse_than_champion:old": "fail"
    }


def test_gates_are_written_like_any_declaration():
    made = TypeAdapter(tuple[AnyGate, ...]).validate_python(
        [{"kind": "metric", "metric": "recall", "at": 0.5, "at_least": 0.4}, {"kind": "importance"}, {"kind": "latency", "seconds": 2}]
    )
    assert made == (MetricGate(metric="recall", at=0.5, at_least=0.4), ImportanceGate(), LatencyGate(seconds=2))
    assert status(made[:1], known()) == {"recall": "pass"}
    for bad in ({"kind": "metric", "metric": "auc"}, {"kind": "metric", "metric": "auc", "at_least": 0.5, "at_most": 0.6}, {"kind": "auk"}):
        with pytest.raises(ValidationError, match=r"at_least or at_most|auk"):
            TypeAdapter(AnyGate).validate_python(bad)
    assert TypeAdapter(tuple[AnyGate, ...]).validate_json(TypeAdapter(tuple[AnyGate, ...]).dump_json(DEFAULT_GATES)) == DEFAULT_GATES
