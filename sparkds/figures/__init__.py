"""Figures: results as matplotlib figures. Takes small pandas frames; no Spark, no global state of matplotlib."""

from sparkds.figures.rfm import recency_frequency_heatmap, segments_over_time

__all__ = ["recency_frequency_heatmap", "segments_over_time"]
