"""Experiments: design, assignment, metrics, analysis and checks."""
