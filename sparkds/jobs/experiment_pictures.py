"""Experiment pictures: which figures a readout has, and where they are.

Takes result rows and counts of one day and writes PNG files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ConfigError, DataError
from sparkds.experiments.experiment import Experiment
from sparkds.experiments.metrics import Metric
from sparkds.experiments.result_rows import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame as PandasFrame
    from pyspark.sql import DataFrame

LOG = logging.getLogger("sparkds")
SERIES = ("experiment", "name", "arm", "scale", "as_of", "value", "low", "high")


def file_name(experiment: str) -> str:
    """Name of an experiment as the stem of a file."""
    return re.sub(r"[^\w.-]+", "_", experiment)


def series_frame(results: DataFrame, day: date) -> list[dict[str, Any]]:
    """Overall effects of primary metrics on every day up to `day`: experiment, name, arm, scale, as_of, value, low, high."""
    seen = results.where(
        (F.col("as_of") <= F.lit(day)) & (F.col("kind") == "effect") & (F.col("variant") == "declared") & (F.col("segment") == "")
    )
    primary = seen.where((F.col("role") == "primary") & ~F.isnan("value"))
    return [row.asDict() for row in collect.small_rows(primary.select(*SERIES))]


def draw(
    experiment: Experiment,
    metrics: Sequence[Metric],
    results: Sequence[Result],
    counts: Sequence[Any],
    folder: Path,
    *,
    series: Sequence[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """Draw effects, their course over the days and the sample ratio of an experiment.

    Parameters
    ----------
    experiment, metrics, results, counts
    folder : Path
        Where the pictures go.
    series : sequence of mappings
        From `series_frame`; an effect that is known on one day only has no course.

    Returns
    -------
    dict of str to str
        Caption to file name in `folder`; without what has nothing to show.
    """
    import pandas as pd

    from sparkds.figures import cumulative_effect, forest, sample_ratio_by_day

    rows = pd.DataFrame([asdict(row) for row in results if row.experiment == experiment.name])
    by_day = [row for row in counts if row["experiment"] == experiment.name and row["segment"] == "(day)"]
    days = pd.DataFrame([(row["segment_value"], row["arm"], row["exposed"]) for row in by_day], columns=["day", "arm", "n"])
    margins = {m.name: -m.margin if m.direction == "increase" else m.margin for m in metrics if m.margin is not None}
    pictures: dict[str, tuple[str, Callable[[], Figure]]] = {
        "Effects": ("effects", lambda: forest(rows, margins=margins)),
        "Sample ratio by day": ("sample_ratio", lambda: sample_ratio_by_day(days, weights=experiment.arms)),
    }
    for metric in metrics:
        for arm in experiment.treatments:
            course = _course(series, experiment.name, metric.name, arm)
            if len(course) > 1:
                caption = f"Effect on {metric.name} of {arm} by day"
                pictures[caption] = f"course_{metric.name}_{arm}", partial(cumulative_effect, course, name=metric.name, arm=arm)
    found = {}
    for caption, (stem, make) in pictures.items():
        try:
            figure = make()
        except (ConfigError, DataError) as error:  # no matplotlib, or nothing to show
            LOG.info("no picture of %s: %s", caption.lower(), error)
            continue
        name = f"{file_name(experiment.name)}_{file_name(stem)}.png"
        figure.savefig(folder / name)
        found[caption] = name
    return found


def _course(series: Sequence[Mapping[str, Any]], experiment: str, metric: str, arm: str) -> PandasFrame:
    """Days of one effect: relative where it is known on every day, else absolute."""
    import pandas as pd

    mine = [row for row in series if (row["experiment"], row["name"], row["arm"]) == (experiment, metric, arm)]
    by_scale = {scale: [row for row in mine if row["scale"] == scale] for scale in ("relative", "absolute")}
    chosen = by_scale["relative"] if len(by_scale["relative"]) >= len(by_scale["absolute"]) else by_scale["absolute"]
    return pd.DataFrame(chosen, columns=list(SERIES))
