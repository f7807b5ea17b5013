"""Stages of the feature job, one module a stage."""
