"""Small worlds for leakage tests: clean columns of many shapes, and figures of them without Spark."""

import numpy as np

from sparkds.features.relevance import frequent_values, number_edges
from sparkds.stats.relevance import FeatureCounts


def feature_counts(name, values, classes, n_classes, n_bins=50, sample=None):
    """Counts of a column by class as the pass gives them; bins from the rows of `sample`. None and NaN are null."""
    text = any(isinstance(value, str) for value in values)
    null = np.array([value is None or value != value for value in values])
    known = np.flatnonzero(~null)
    of_bins = known if sample is None else known[sample[known]]
    if text:
        own = frequent_values([values[i] for i in of_bins], n_bins)
        place = {value: i for i, value in enumerate(own)}
        size = len(own) + 1
        bins = np.array([size if null[i] else place.get(values[i], size - 1) for i in range(len(values))])
    else:
        x = np.array([np.nan if value is None else value for value in values], dtype=float)
        edges = number_edges(x[of_bins], n_bins)
        size = len(edges) + 1
        bins = np.where(null, size, np.searchsorted(edges, x, side="right"))
    n = np.zeros((size + 1, n_classes))
    np.add.at(n, (bins, classes), 1)
    return FeatureCounts(name, n, np.zeros(size + 1), np.zeros(size + 1), is_ordered=not text, other=size - 1 if text else -1)


def clean_columns(rng, n):
    """Columns of many shapes that have nothing to do with anything."""
    return {
        "normal": rng.normal(size=n).tolist(),
        "heavy": rng.standard_cauchy(n).tolist(),
        "zeros": np.where(rng.random(n) < 0.7, 0.0, rng.lognormal(size=n)).tolist(),
        "visits": rng.poisson(2, n).tolist(),
        "rare flag": (rng.random(n) < 0.01).astype(int).tolist(),
        "holes": [None if gone else float(x) for gone, x in zip(rng.random(n) < 0.3, rng.normal(size=n), strict=True)],
        "letter": rng.choice(list("abcde"), n).tolist(),
        "long tail": [f"v{i}" for i in rng.zipf(1.6, n)],
        "constant": [1.0] * n,
        "empty": [None] * n,
    }
