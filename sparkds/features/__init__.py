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
from sparkds.features.labels import Cutoffs, EventCount, EventSum, EventWithin
from sparkds.features.point_in_time import FeatureTable, Spine, TrainingSet
from sparkds.features.rfm import RFM, SEGMENTS, Edges, SegmentRule
from sparkds.features.rhythm import InterEventMean, InterEventSd, SeasonalityRatio, Share, Trend

__all__ = [
    "RFM",
    "SEGMENTS",
    "ActiveDays",
    "ApproxDistinct",
    "Count",
    "Cutoffs",
    "DaysSinceFirst",
    "DaysSinceLast",
    "Deduplication",
    "Distinct",
    "Edges",
    "EventCount",
    "EventSum",
    "EventWithin",
    "FeatureSet",
    "FeatureTable",
    "First",
    "InterEventMean",
    "InterEventSd",
    "Last",
    "Max",
    "Mean",
    "Min",
    "Quantile",
    "Refunds",
    "SeasonalityRatio",
    "SegmentRule",
    "Share",
    "Spine",
    "Std",
    "Sum",
    "SumOfSquares",
    "TopCategory",
    "TrainingSet",
    "Trend",
]
