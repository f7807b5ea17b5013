"""Experiment pictures: which figures a readout has, and where they are.

Takes result rows and counts of one day and writes PNG files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparkds.errors import ConfigError, DataError
from sparkds.experiments.experiment import Experiment
from sparkds.experiments.metrics import Metric
from sparkds.experiments.result_rows import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG = logging.getLogger("sparkds")


def file_name(experiment: str) -> str:
    """Name of an experiment as the stem of a file."""
    return re.sub(r"[^\w.-]+", "_", experiment)


def draw(
    experiment: Experiment, metrics: Sequence[Metric], results: Sequence[Result], counts: Sequence[Any], folder: Path
) -> dict[str, str]:
    """Draw effects and sample ratio of an experiment.

    Returns
    -------
    dict of str to str
        Caption to file name in `folder`; without what has nothing to show.
    """
    import pandas as pd

    from sparkds.figures import forest, sample_ratio_by_day

    rows = pd.DataFrame([asdict(row) for row in results if row.experiment == experiment.name])
    by_day = [row for row in counts if row["experiment"] == experiment.name and row["segment"] == "(day)"]
    days = pd.DataFrame([(row["segment_value"], row["arm"], row["exposed"]) for row in by_day], columns=["day", "arm", "n"])
    margins = {m.name: -m.margin if m.direction == "increase" else m.margin for m in metrics if m.margin is not None}
    pictures: dict[str, tuple[str, Callable[[], Figure]]] = {
        "Effects": ("effects", lambda: forest(rows, margins=margins)),
        "Sample ratio by day": ("sample_ratio", lambda: sample_ratio_by_day(days, weights=experiment.arms)),
    }
    found = {}
    for caption, (stem, make) in pictures.items():
        try:
            figure = make()
        except (ConfigError, DataError) as error:  # no matplotlib, or nothing to show
            LOG.info("no picture of %s: %s", caption.lower(), error)
            continue
        name = f"{file_name(experiment.name)}_{stem}.png"
        figure.savefig(folder / name)
        found[caption] = name
    return found
