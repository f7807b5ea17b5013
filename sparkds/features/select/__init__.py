"""Selection of features: declaration, rules, and decisions; `sparkds.features.select.selection` runs it on Spark."""

from sparkds.features.select.decisions import ColumnDecision, selected_columns
from sparkds.features.select.declaration import FeatureSelection, Importance, Rules

__all__ = ["ColumnDecision", "FeatureSelection", "Importance", "Rules", "selected_columns"]
