"""Leakage: what in a training table cannot be known when a model acts, and what differs between its parts."""

from sparkds.features.leakage.finding import Finding, counts, found, stopping
from sparkds.features.leakage.leakage_check import Accepted, FeatureWindow, Instant, Lag, LeakageCheck, Split, Thresholds

__all__ = [
    "Accepted",
    "FeatureWindow",
    "Finding",
    "Instant",
    "Lag",
    "LeakageCheck",
    "Split",
    "Thresholds",
    "counts",
    "found",
    "stopping",
]
