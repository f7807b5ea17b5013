"""Figures: results as matplotlib figures. Takes small pandas frames; no Spark, no global state of matplotlib."""

from sparkds.figures.experiments import cumulative_effect, forest, sample_ratio_by_day
from sparkds.figures.labels import shares_over_time
from sparkds.figures.power import power_curves
from sparkds.figures.rfm import recency_frequency_heatmap, segments_over_time

__all__ = [
    "cumulative_effect",
    "forest",
    "power_curves",
    "recency_frequency_heatmap",
    "sample_ratio_by_day",
    "segments_over_time",
    "shares_over_time",
]
