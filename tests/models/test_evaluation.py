"""Evaluation rows against scikit-learn and against the states that they are made of."""

import math
from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as sk

from sparkds.models.evaluation import COLUMNS, EvaluationRow, evaluation_rows
from sparkds.models.score_evidence import ScoreEvidence
from sparkds.stats.score_counts import counted, score_edges


def world(n=2_000, seed=1):
    rng = np.random.default_rng(seed)
    s = rng.beta(1, 2, n)
    y = (rng.random(n) < s).astype(int)
    g = rng.choice(["a", "b"], n)
    return y, s, g


def evidence(edges=None):
    y, s, g = world()
    counts = {("m", "", ""): counted(y, s, edges=edges), ("dull", "", ""): counted(y, np.full(len(y), 0.3), edges=edges)}
    counts |= {("m", "g", v): counted(y[g == v], s[g == v], edges=edges) for v in "ab"}
    return ScoreEvidence(counts, {("m", "", ""): {"label_missing": 3}, ("m", "g", "gone"): {"score_missing": 2}}, {})


def one(rows, **wanted):
    found = [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("edges", [None, score_edges(2_000, (0.5, 0.3))])
def test_rows_hold_what_scikit_learn_gives(edges):
    y, s, g = world()
    rows = evaluation_rows(evidence(edges), thresholds=(0.5, 0.3))
    tell = {"kind": "metric", "model": "m", "group": ""}
    assert one(rows, name="brier", **tell).value == pytest.approx(sk.brier_score_loss(y, s), rel=1e-12)
    assert one(rows, name="log_loss", **tell).value == pytest.approx(sk.log_loss(y, s), rel=1e-12)
    auc = one(rows, name="auc", **tell)
    hidden = one(rows, name="auc_hidden_by_bins", **tell)
    assert abs(auc.value - sk.roc_auc_score(y, s)) <= hidden.value + 1e-12
    assert auc.low < auc.value < auc.high
    assert auc.n == len(y)
    in_a = one(rows, kind="threshold", model="m", group="g", group_value="a", name="recall", at=0.3)
    assert in_a.value == pytest.approx(sk.recall_score(y[g == "a"], s[g == "a"] >= 0.3), rel=1e-12)
    assert one(rows, kind="threshold", model="m", group="", name="true_positive", at=0.5).value == ((s >= 0.5) & (y == 1)).sum()
    rates = {v: sk.recall_score(y[g == v], s[g == v] >= 0.5) for v in "ab"}
    told = one(rows, kind="fairness", model="m", group="g", name="equal_opportunity_difference")
    assert told.value == pytest.approx(abs(rates["a"] - rates["b"]), rel=1e-9)
    assert len([r for r in rows if (r.kind, r.name, r.model, r.group) == ("calibration", "gap", "m", "")]) == 10
    gap = one(rows, kind="calibration", name="gap", model="m", group="", at=10)
    top = np.argsort(s)[-200:]
    assert gap.value == pytest.approx(y[top].mean() - s[top].mean(), abs=0.01 if edges is not None else 1e-12)
    assert one(rows, kind="lift", name="gain", model="m", group="", at=10).value == 1


def test_rows_that_are_in_no_metric_are_counted():
    rows = evaluation_rows(evidence())
    assert one(rows, kind="rows", model="m", group="", name="label_missing").value == 3
    assert one(rows, kind="rows", model="m", group="", name="scored").value == 2_000
    assert one(rows, kind="rows", model="m", group_value="gone", name="score_missing").value == 2
    assert one(rows, kind="rows", model="m", group_value="gone", name="scored").value == 0


def test_a_constant_score_has_no_skill_and_one_group_of_scores():
    rows = evaluation_rows(evidence())
    assert one(rows, kind="metric", model="dull", group="", name="auc").value == 0.5
    assert len([r for r in rows if (r.kind, r.name, r.model) == ("calibration", "gap", "dull")]) == 1


def test_one_class_gives_reasons_and_no_crash():
    rows = evaluation_rows(ScoreEvidence({("m", "", ""): counted([0, 0], [0.1, 0.2])}, {}, {}), costs=(1, 1))
    auc = one(rows, kind="metric", name="auc")
    assert math.isnan(auc.value)
    assert "all labels are 0" in auc.reason
    assert "all labels are 0" in one(rows, kind="metric", name="auc_hidden_by_bins").reason
    assert one(rows, kind="metric", name="brier").value == pytest.approx(0.025)
    assert all(r.reason == "there are no positives" for r in rows if r.kind == "lift" and r.name == "gain")
    assert not [r for r in rows if r.kind == "curve"]
    assert one(rows, name="best_threshold").value == math.inf


def test_every_number_that_is_missing_has_a_reason_and_every_reason_no_number():
    for row in evaluation_rows(evidence(), costs=(1, 5)):
        assert math.isnan(row.value) == bool(row.reason), row
        assert list(row.as_dict()) == list(COLUMNS)


def test_curves_keep_their_ends_and_few_points():
    rows = [r for r in evaluation_rows(evidence()) if r.kind == "curve" and r.model == "m"]
    roc = [(r.at, r.value) for r in rows if r.name == "roc"]
    assert roc[0] == (0, 0)
    assert roc[-1] == (1, 1)
    assert len(roc) <= 202
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(roc))
    y, s, _ = world()
    assert area == pytest.approx(sk.roc_auc_score(y, s), abs=0.003)
    for name in ("score_share_negative", "score_share_positive"):
        assert sum(r.value for r in rows if r.name == name) == pytest.approx(1)
    assert EvaluationRow("metric", "m", "x").as_dict()["other_model"] == ""
