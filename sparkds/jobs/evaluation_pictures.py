"""Evaluation pictures: which figures a report has, and where they are.

Takes evaluation rows and the trainer's rows and writes PNG files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparkds.document import Picture
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.models.evaluation import EvaluationRow
from sparkds.models.evaluation_plan import EvaluationPlan
from sparkds.models.training import CANDIDATE, RANKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG = logging.getLogger("sparkds")
Wanted = list[tuple[str, str, "Callable[[], Figure]"]]


def draw(
    plan: EvaluationPlan,
    rows: Sequence[EvaluationRow],
    thresholds: Sequence[float],
    *,
    training: Sequence[Any],
    importance: Sequence[Any],
    folder: Path,
) -> dict[str, list[Picture]]:
    """Draw what the rows have.

    Parameters
    ----------
    plan : EvaluationPlan
    rows : sequence of EvaluationRow
    thresholds : sequence of float
    training, importance : sequence of mappings
        Rows of the trainer's tables; may be empty.
    folder : Path
        Where the pictures go.

    Returns
    -------
    dict of section to list of Picture
        Without what has nothing to show.
    """
    import pandas as pd

    evaluation = pd.DataFrame([row.as_dict() for row in rows])
    found: dict[str, list[Picture]] = {}
    for section, caption, make in [
        *(_binary if plan.task == "binary" else _regression)(plan, evaluation, thresholds),
        *_trained(plan, pd.DataFrame(training), pd.DataFrame(importance)),
    ]:
        try:
            figure = make()
        except (ColumnError, ConfigError, DataError) as error:  # no matplotlib, or nothing to show
            LOG.info("no picture of %s: %s", caption.lower(), error)
            continue
        name = re.sub(r"[^\w.-]+", "_", caption.lower()) + ".png"
        figure.savefig(folder / name)
        found.setdefault(section, []).append(Picture(caption, name))
    return found


def _binary(plan: EvaluationPlan, evaluation: Any, thresholds: Sequence[float]) -> Wanted:
    from sparkds.figures import models as figures

    judged = plan.name_judged
    others = [name for name in dict.fromkeys(evaluation["model"]) if name != judged]
    names = [judged, *others][: len(figures.COLOURS)]
    wanted: Wanted = [
        ("ranking", "ROC curves", lambda: figures.roc(evaluation, models=names)),
        ("ranking", "Precision by recall", lambda: figures.precision_recall(evaluation, models=names)),
        ("ranking", "Gain", lambda: figures.gain(evaluation, models=names)),
        ("calibration", "Calibration", lambda: figures.calibration(evaluation, model=judged)),
        ("decisions", "Scores of both classes", lambda: figures.score_distribution(evaluation, model=judged)),
        ("decisions", "Confusion matrix", lambda: figures.confusion(evaluation, model=judged, threshold=thresholds[0])),
    ]
    groups = [group for group in dict.fromkeys(evaluation["group"]) if group not in ("", "period")]
    wanted += [
        ("fairness", f"Rates by {group}", partial(figures.fairness, evaluation, model=judged, group=group))
        for group in groups
        if ((evaluation["kind"] == "fairness") & (evaluation["group"] == group)).any()
    ]
    if plan.period is not None:
        wanted.append(("period", "AUC over time", lambda: figures.by_period(evaluation, model=judged, name="auc")))
    return wanted


def _regression(plan: EvaluationPlan, evaluation: Any, thresholds: Sequence[float]) -> Wanted:
    from sparkds.figures import models as figures

    judged = plan.name_judged
    wanted: Wanted = [("errors", "Labels by prediction", lambda: figures.residuals(evaluation, model=judged))]
    if plan.period is not None:
        wanted.append(("period", "RMSE over time", lambda: figures.by_period(evaluation, model=judged, name="rmse")))
    return wanted


def _trained(plan: EvaluationPlan, training: Any, importance: Any) -> Wanted:
    from sparkds.figures import models as of_models
    from sparkds.figures import training as of_training

    metric = RANKING[plan.task]
    return [
        ("importance", "Importance", lambda: of_models.importances(importance, model=plan.name_judged)),
        ("training", "Cross-validation", lambda: of_training.cross_validation(training, metric=metric, model=CANDIDATE)),
        ("training", "Learning curve", lambda: of_training.learning_curve(training, metric=metric, model=CANDIDATE)),
    ]
