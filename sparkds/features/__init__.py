"""Rolling RFM and aggregation features: declaration, daily tiles, windows, snapshots."""

from sparkds.features.aggregations import (
    ActiveDays,
    ApproxDistinct,
    Count,
    DaysSinceFirst,
    DaysSinceLast,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Quantile,
    Std,
    Sum,
    SumOfSquares,
    TopCategory,
)
from sparkds.features.feature_set import Deduplication, FeatureSet, Refunds
from sparkds.features.rfm import RFM, SEGMENTS, Edges, SegmentRule

__all__ = [
    "RFM",
    "SEGMENTS",
    "ActiveDays",
    "ApproxDistinct",
    "Count",
    "DaysSinceFirst",
    "DaysSinceLast",
    "Deduplication",
    "Distinct",
    "Edges",
    "FeatureSet",
    "First",
    "Last",
    "Max",
    "Mean",
    "Min",
    "Quantile",
    "Refunds",
    "SegmentRule",
    "Std",
    "Sum",
    "SumOfSquares",
    "TopCategory",
]
