"""Models: splits, training, evaluation with gates, and scoring."""
