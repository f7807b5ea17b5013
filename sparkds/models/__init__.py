"""Models: splits, training, evaluation with gates, registry and scoring of tables."""
