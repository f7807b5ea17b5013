"""Findings from small states, without Spark: each kind is found where it is planted, and chance finds nothing."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sparkds.document import html, markdown
from sparkds.features.leakage import Lag, LeakageCheck, Split, Thresholds
from sparkds.features.leakage.alignment import alignment_findings, alignment_rows, is_class, target_findings, type_findings
from sparkds.features.leakage.column_findings import id_findings, lag_findings, nameable, skill_findings
from sparkds.features.leakage.finding import Finding, found
from sparkds.features.leakage.report import report, verdict
from sparkds.features.leakage.states import AlignmentRow, Categories, Distinct, LabelMoments, Lagged, Overlap, Overview, TimeCount
from sparkds.features.leakage.time_findings import overlap_findings, time_findings
from sparkds.stats.relevance import relevances
from tests.features.leakage.worlds import clean_columns, feature_counts

CHECK = LeakageCheck(keys=("k",), label="y", task="binary", time="t", split=Split(column="s", by="entity"), lag=Lag())


def severe(findings):
    return [(one.kind, one.severity, one.column) for one in found(findings)]


def skills(columns, y, check=CHECK):
    counts = [feature_counts(name, values, y, 2) for name, values in columns.items()]
    return skill_findings(counts, relevances(counts, task="binary"), check)


def parts_of(columns, of_test, check=CHECK, categories=()):
    counts = [feature_counts(name, values, of_test.astype(int), 2, sample=~of_test) for name, values in columns.items()]
    kinds = {one.column: "number" if one.is_ordered else "text" for one in counts}
    rows = alignment_rows(counts, ("train", "test"), kinds, check, train="train", categories=categories)
    return rows, alignment_findings(rows, categories, check)


def categories_of(name, values, of_test):
    train = [v for v, t in zip(values, of_test, strict=True) if not t and v is not None]
    test = [v for v, t in zip(values, of_test, strict=True) if t and v is not None]
    seen = set(train)
    once, twice = (sum(train.count(v) == times for v in seen) for times in (1, 2))
    new = [v for v in test if v not in seen]
    return Categories(name, "test", len(test), len(new), len(set(new)), min(new, default=""), len(train), once, twice)


def test_a_feature_that_tells_the_label_is_found_with_its_auc():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 2_000)
    leak = (-y + rng.normal(0, 0.2, 2_000)).tolist()
    findings = skills({"leak": leak, **clean_columns(rng, 2_000)}, y)
    assert severe(findings) == [("single_feature", "error", "leak")]
    assert found(findings)[0].figure == pytest.approx(roc_auc_score(1 - y, leak), abs=2e-3)
    assert "leak" in found(findings)[0].what


def test_nulls_that_tell_the_label_are_found_and_nothing_else():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 2_000)
    reason = [
        v if u < (0.9 if told else 0.1) else None for v, u, told in zip(rng.normal(size=2_000).tolist(), rng.random(2_000), y, strict=True)
    ]
    findings = skills({"reason": reason, **clean_columns(rng, 2_000)}, y)
    assert severe(findings) == [("presence", "warning", "reason")]
    assert found(findings)[0].figure == pytest.approx(0.9, abs=0.03)
    assert found(findings)[0].qvalue < 1e-10


def test_few_rows_of_a_class_are_no_evidence():
    y = np.array([1] * 5 + [0] * 500)
    assert severe(skills({"leak": y.astype(float).tolist()}, y)) == []


def test_columns_with_no_more_values_than_bins_are_not_asked_for_distinct_values():
    rng = np.random.default_rng(1)
    columns = {
        "id": rng.permutation(500).tolist(),
        "visits": rng.poisson(2, 500).tolist(),
        "code": [f"x{i}" for i in range(500)],
        "letter": ["a", "b"] * 250,
    }
    counts = [feature_counts(name, values, np.zeros(500, dtype=int), 1) for name, values in columns.items()]
    assert nameable(counts, columns, n_bins=50) == ["id", "code"]
    assert nameable([], columns, n_bins=50) == list(columns)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Distinct("order", 1000, 998.0, 1000.0, 500.0, 1.0, 1000.0), [("id_like", "warning", "order")]),
        (Distinct("uuid", 1000, 1001.0, 1000.0, 500.0), [("id_like", "warning", "uuid")]),
        (Distinct("hash", 1000, 1000.0, 1000.0, 500.0, -9e18, 9e18), [("id_like", "warning", "hash")]),
        (Distinct("email", 1000, 497.0, 501.0, 500.0), [("id_like", "warning", "email")]),
        (Distinct("income", 1000, 990.0, 1000.0, 500.0, 20_000.0, 180_000.0), [("id_like", "info", "income")]),
        (Distinct("city", 1000, 500.0, 960.0, 500.0), []),
        (Distinct("age", 1000, 70.0, 900.0, 500.0, 18.0, 99.0), []),
        (Distinct("few", 50, 50.0, 50.0, 500.0), []),
    ],
)
def test_columns_that_name_rows_or_entities_are_found_and_amounts_are_at_most_info(one, expected):
    assert severe(id_findings([one], CHECK, looked=3)) == expected


def test_a_skill_that_is_gone_one_period_back_is_found_and_one_that_fades_is_not():
    lagged = [
        Lagged("filled in", 1000, 400, 0.9, 0.05),
        Lagged("fades", 1000, 400, 0.9, 0.6),
        Lagged("weak", 1000, 400, 0.3, 0.0),
        Lagged("few", 60, 25, 0.9, 0.0),
        Lagged("nothing", 1000, 400, math.nan, 0.0),
    ]
    findings = lag_findings(lagged, CHECK, looked=5)
    assert severe(findings) == [("lag_collapse", "warning", "filled in")]
    assert found(findings)[0].figure == pytest.approx(1 - 0.05 / 0.9)
    assert "filled in after the label" in found(findings)[0].what
    assert severe(lag_findings(lagged[1:], CHECK, looked=4)) == []


def test_a_rule_about_time_tells_rows_days_and_an_example():
    bad = TimeCount("feature_time", "paid_at", 30, 1000, "2026-01-03", "2026-02-01", 31.0)
    by_type = TimeCount("feature_time", "ends", 1, 1000, "2026-01-03", "2026-01-03", 1.0, declared=False)
    good = TimeCount("known_after_label", "known_at", 0, 1000)
    findings = time_findings(Overview(1000, {"train": 1000}, 0, 0, 0, 0, (bad, by_type, good)), CHECK)
    assert severe(findings) == [("feature_time", "error", "paid_at"), ("feature_time", "warning", "ends")]
    assert found(findings)[0].what == (
        "'paid_at' lies at or after the label's first instant in 30 of 1,000 rows (3.00%), up to 31 days after it; "
        "offending values: 2026-01-03 to 2026-02-01"
    )
    assert {one.kind: one.severity for one in findings if one.kind != "feature_time"} == {
        "known_after_label": "ok", "known_after_time": "skipped", "label_before_time": "skipped", "window_overlap": "skipped",
        "label_reaches_test": "skipped",
    }  # fmt: skip


def test_entities_on_both_sides_are_as_bad_as_the_split_says():
    both = Overlap(100, 50, 5, 12, 0, 0, 0, 800, 200)
    for by, severity in (("entity", "error"), ("row", "warning"), ("time", "info")):
        check = CHECK.model_copy(update={"split": Split(column="s", by=by)})
        assert severe(overlap_findings(both, check)) == [("entity_overlap", severity, "")]


def test_copies_are_held_against_the_share_that_repeats_by_chance():
    names = {"copied": Overlap(100, 50, 0, 0, 0, 20, 0, 800, 200), "sparse": Overlap(100, 50, 0, 0, 0, 120, 470, 800, 200)}
    assert severe(overlap_findings(names["copied"], CHECK)) == [("copied_rows", "warning", "")] or CHECK.level("copied_rows") == "warning"
    assert severe(overlap_findings(names["sparse"], CHECK)) == []
    duplicates = Overlap(100, 50, 0, 0, 3, 0, 0, 800, 200)
    assert severe(overlap_findings(duplicates, CHECK)) == [("duplicate_rows", "error", "")]


def shifted(kind, rng, n, of_test):
    """A column with one planted difference between the parts."""
    if kind == "null_share":
        return [
            None if u < (0.3 if t else 0.05) else x for u, t, x in zip(rng.random(n), of_test, rng.normal(size=n).tolist(), strict=True)
        ]
    if kind == "psi":
        return [str(rng.choice(list("abc"), p=(0.1, 0.3, 0.6) if t else (0.6, 0.3, 0.1))) for t in of_test]
    if kind == "ks":
        return (rng.normal(size=n) + 0.35 * of_test).tolist()
    return ["new" if t and u < 0.03 else str(c) for t, u, c in zip(of_test, rng.random(n), rng.choice(list("abc"), n), strict=True)]


@pytest.mark.parametrize("kind", ["null_share", "psi", "ks", "missing_categories"])
def test_a_planted_difference_of_parts_is_found_and_nothing_else(kind):
    rng = np.random.default_rng(3)
    n = 4_000
    of_test = rng.random(n) < 0.3
    columns = {"planted": shifted(kind, rng, n, of_test), **clean_columns(rng, n)}
    categories = [
        categories_of(name, columns[name], of_test) for name in ("planted", "letter", "long tail") if isinstance(columns[name][0], str)
    ]
    assert severe(parts_of(columns, of_test, categories=categories)[1]) == [(kind, "warning", "planted")]


def test_the_rate_of_the_label_is_judged_by_effect_and_chance():
    def judged(x, n, y, m):
        label = feature_counts("y", ["1"] * x + ["0"] * (n - x) + ["1"] * y + ["0"] * (m - y), np.array([0] * n + [1] * m), 2)
        order = ("0", "1") if (n - x) >= x else ("1", "0")
        return severe(target_findings(label, ("train", "test"), {}, CHECK, train="train", values=order))

    assert judged(100, 1000, 200, 1000) == [("target_rate", "warning", "y")]
    assert judged(100, 1000, 105, 1000) == []
    assert judged(1, 30, 8, 30) == []
    regression = LeakageCheck(keys=("k",), label="y", task="regression", split=Split(column="s"))
    some = feature_counts("y", [1.0, 2.0], np.array([0, 1]), 2)
    for mean, expected in ((10.1, []), (11.0, [("target_rate", "warning", "y")])):
        moments = {"train": LabelMoments(500, 10.0, 4.0), "test": LabelMoments(500, mean, 4.0)}
        assert severe(target_findings(some, ("train", "test"), moments, regression, train="train", values=())) == expected


def test_columns_of_another_type_or_missing_are_errors():
    types, there = {"a": "int", "b": "double", "c": "string"}, {"a": "string", "b": "double"}
    findings = type_findings(types, {"scoring": there}, ("a", "b", "c"), CHECK)
    assert severe(findings) == [("column_missing", "error", "c"), ("type_differs", "error", "a")]
    assert {one.severity for one in type_findings(types, {"scoring": types}, ("a",), CHECK)} == {"ok"}


def test_classes_are_found_by_what_they_mean():
    assert is_class("true", True)
    assert not is_class("1", True)
    assert is_class("1.0", 1)
    assert is_class("yes", "yes")
    assert not is_class("yes", 1)


def looked_for_nothing(seed, n=1_500):
    """What is found above info where there is nothing, from a random world without Spark."""
    rng = np.random.default_rng(seed)
    columns, of_test = clean_columns(rng, n), rng.random(n) < rng.uniform(0.1, 0.5)
    y = (rng.random(n) < rng.choice([0.05, 0.3, 0.5])).astype(int)
    categories = [categories_of(name, columns[name], of_test) for name in ("letter", "long tail")]
    findings = [*skills(columns, y), *parts_of(columns, of_test, categories=categories)[1]]
    return [one for one in found(findings) if one.severity != "info"]


@pytest.mark.parametrize("seed", range(8))
def test_clean_columns_give_no_false_alarm(seed):
    assert looked_for_nothing(seed) == []


@pytest.mark.slow
def test_clean_columns_give_a_false_alarm_in_less_than_one_world_of_a_hundred():
    worlds = [(n, seed) for n in (300, 1_500) for seed in range(100, 400)]
    assert len([world for world in worlds if looked_for_nothing(world[1], world[0])]) <= 5


@pytest.mark.slow
def test_q_values_of_parts_without_a_shift_are_calibrated():
    pvalues = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        of_test = rng.random(1_000) < 0.4
        (row,) = parts_of({"x": rng.normal(size=1_000).tolist()}, of_test)[0]
        pvalues.append((row.psi_qvalue, row.ks_qvalue, row.psi - row.psi_expected))
    psi_p, ks_p, excess = map(np.array, zip(*pvalues, strict=True))
    assert np.mean(psi_p < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(ks_p < 0.05) <= 0.06
    assert abs(np.mean(excess)) < 0.002


def test_thresholds_need_chance_and_effect_both():
    rng = np.random.default_rng(9)
    of_test = rng.random(20_000) < 0.5
    columns = {"slight": (rng.normal(size=20_000) + 0.1 * of_test).tolist()}
    rows, findings = parts_of(columns, of_test)
    assert rows[0].ks_qvalue < 1e-6
    assert severe(findings) == []
    strict = CHECK.model_copy(update={"thresholds": Thresholds(ks=0.03)})
    assert severe(parts_of(columns, of_test, strict)[1]) == [("ks", "warning", "slight")]


def test_the_report_says_what_was_found_what_was_not_and_is_plain_text():
    row = AlignmentRow("a|b", "test", "train", "number", 10, 0.1, 0.0, psi=0.3, psi_expected=0.01, ks=0.2, ks_bound=0.3, n_groups=10)
    findings = [
        Finding("psi", "warning", "a|b", "test", 0.3, "PSI", 0.25, 0.001, 10, "<b>shift</b> of a|b", "look"),
        Finding("feature_time", "skipped", what="not looked at"),
        Finding("ks", "ok", what="the largest is small"),
    ]
    blocks = report("Leakage", findings, [row], [], gate="error", facts={"table": "x"}, warnings=["3 rows left out"])
    told = markdown(blocks)
    assert "Found: 1 warning. None of them stops at gate 'error'." in told
    assert "\\<b\\>shift" in told
    assert "3 rows left out" in told
    assert "&lt;b&gt;shift" in html("t", blocks, folder=None)
    assert verdict(findings, "warning") == "Found: 1 warning. 1 of them stops at gate 'warning'."
