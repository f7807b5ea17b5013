"""Model figures: what is drawn where, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from sparkds.errors import ColumnError, DataError
from sparkds.figures import models as figures
from sparkds.models.evaluation import evaluation_rows
from sparkds.models.score_evidence import ScoreEvidence
from sparkds.stats.score_counts import counted, score_edges


@pytest.fixture(scope="module")
def evaluation():
    rng = np.random.default_rng(1)
    n = 6_000
    s = rng.beta(0.8, 2.4, n)
    y = (rng.random(n) < s).astype(int)
    edges = score_edges(2_000, (0.5, 0.3))
    noisy = np.clip(s + rng.normal(0, 0.25, n), 0, 1)
    group = rng.choice(["north", "south", "west"], n, p=[0.6, 0.35, 0.05])
    counts = {("boosted trees", "", ""): counted(y, s, edges=edges), ("baseline", "", ""): counted(y, noisy, edges=edges)}
    counts |= {("boosted trees", "region", v): counted(y[group == v], s[group == v], edges=edges) for v in ("north", "south", "west")}
    counts["boosted trees", "region", "sea"] = counted([0, 0], [0.1, 0.6], edges=edges)
    return pd.DataFrame([row.as_dict() for row in evaluation_rows(ScoreEvidence(counts, {}, {}), thresholds=(0.5, 0.3))])


def saved(figure, folder, name):
    figure.savefig(folder / f"{name}.png")
    assert (folder / f"{name}.png").stat().st_size > 5_000
    return figure.axes


def test_curves_name_their_models_with_their_figure(evaluation, tmp_path):
    (axes,) = saved(figures.roc(evaluation, models=["boosted trees", "baseline"]), tmp_path, "roc")
    auc = evaluation.query("name == 'auc' and model == 'boosted trees' and group == ''")["value"].iloc[0]
    assert axes.get_legend().get_texts()[0].get_text() == f"boosted trees  AUC {auc:.3f}"
    assert axes.lines[1].get_xdata()[-1] == 100
    (axes,) = saved(figures.precision_recall(evaluation), tmp_path, "pr")
    assert len(axes.get_legend().get_texts()) == 2
    (axes,) = saved(figures.gain(evaluation), tmp_path, "gain")
    assert [line.get_xdata()[0] for line in axes.lines] == [0, 0, 0]
    assert axes.lines[1].get_ydata()[-1] == pytest.approx(100)


def test_calibration_has_a_point_and_an_interval_per_group_of_scores(evaluation, tmp_path):
    (axes,) = saved(figures.calibration(evaluation, model="boosted trees"), tmp_path, "calibration")
    assert len(axes.lines[1].get_xdata()) == 10
    assert len(axes.collections[0].get_segments()) == 10


def test_score_distribution_holds_all_of_both_classes(evaluation, tmp_path):
    (axes,) = saved(figures.score_distribution(evaluation, model="boosted trees"), tmp_path, "scores")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["negatives", "positives"]
    assert axes.patches[0].get_data().values.sum() == pytest.approx(100)


def test_confusion_writes_the_counts(evaluation, tmp_path):
    (axes,) = saved(figures.confusion(evaluation, model="boosted trees", threshold=0.3), tmp_path, "confusion")
    right = evaluation.query("name == 'true_positive' and model == 'boosted trees' and group == '' and at == 0.3")["value"].iloc[0]
    assert f"{right:,.0f}" in {text.get_text() for text in axes.texts}
    with pytest.raises(DataError, match=r"no counts at the threshold 0.4"):
        figures.confusion(evaluation, model="boosted trees", threshold=0.4)


def test_a_rate_that_is_undefined_is_written_and_not_drawn(evaluation, tmp_path):
    axes = saved(figures.fairness(evaluation, model="boosted trees", group="region"), tmp_path, "fairness")
    assert [label.get_text().split("  ")[0] for label in axes[0].get_yticklabels()] == ["north", "sea", "south", "west"]
    assert [len([line for line in panel.lines if line.get_marker() == "o"]) for panel in axes] == [4, 3, 4]
    assert any("there are no positives" in text.get_text() for text in axes[1].texts)
    with pytest.raises(DataError, match="no rates by 'age'"):
        figures.fairness(evaluation, model="boosted trees", group="age")


def test_importances_are_ranked_and_the_coverage_is_told(tmp_path):
    table = pd.DataFrame({"feature": ["c", "a", "b", "d"], "importance": [0.1, 0.6, 0.3, -0.01], "std": [0.01, 0.02, 0.02, 0.01]})
    (axes,) = saved(figures.importances(table, model="m"), tmp_path, "importance")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d"]
    assert "the first 2 hold 90 % of the importance" in axes.get_title(loc="left")
    with pytest.raises(DataError, match="no importances"):
        figures.importances(table.head(0), model="m")
    with pytest.raises(ColumnError, match="'importance' not found"):
        figures.importances(table.drop(columns="importance"), model="m")


def test_missing_columns_and_unknown_models_are_told(evaluation):
    with pytest.raises(ColumnError, match="'at' not found in the evaluation rows to draw"):
        figures.roc(evaluation.drop(columns="at"))
    with pytest.raises(DataError, match="no model of nobody has rows of curve 'roc'"):
        figures.roc(evaluation, models=["nobody"])
    with pytest.raises(DataError, match="no model of nobody"):
        figures.calibration(evaluation, model="nobody")
