"""Leak findings: planted leaks of each kind are found, and honest features are not."""

import numpy as np
import pandas as pd
import pytest

from sparkds.models.estimators import FeatureColumns
from sparkds.models.leak_findings import leak_findings
from sparkds.models.training import TrainingRows


def rows(label, columns, texts=()):
    n = len(label)
    part = np.array(["train", "validation"] * (n // 2), dtype=object)
    names = tuple(name for name in columns if name not in texts)
    return TrainingRows(pd.DataFrame(columns), np.asarray(label, float), part, FeatureColumns(names, tuple(texts)))


def binary(n=400):
    rng = np.random.default_rng(5)
    y = (rng.random(n) < 0.3).astype(float)
    columns = {
        "honest": y + rng.normal(size=n),
        "reversed": -y + rng.normal(size=n) / 100,
        "filled_later": np.where(y == 1, rng.normal(size=n), np.nan),
        "status": np.where(y == 1, "refund", "open").astype(object),
        "city": rng.choice(["a", "b", "c"], n).astype(object),
    }
    return y, columns


def test_a_number_in_either_direction_a_hole_and_a_text_that_give_the_label_away_are_found():
    y, columns = binary()
    found = leak_findings(rows(y, columns, texts=("status", "city")), "binary")
    assert list(found) == ["reversed", "filled_later", "status"]
    assert "AUC 1.0000" in found["status"]


def test_a_text_that_is_another_in_every_row_is_no_leak_of_this_kind():
    y, _ = binary()
    columns = {"id": np.array([f"id{i}" for i in range(len(y))], dtype=object)}
    assert leak_findings(rows(y, columns, texts=("id",)), "binary") == {}


def test_a_copy_of_a_number_is_found_whatever_its_scale():
    rng = np.random.default_rng(6)
    y = rng.normal(size=200)
    columns = {"exponential": np.exp(y), "noisy": y + rng.normal(size=200), "constant": np.ones(200)}
    assert list(leak_findings(rows(y, columns), "regression")) == ["exponential"]


@pytest.mark.parametrize("n_positive", [19, 20])
def test_too_few_rows_of_a_class_say_nothing(n_positive):
    n = 400
    y = np.zeros(n)
    y[1 : 2 * n_positive : 2] = 1
    assert bool(leak_findings(rows(y, {"copy": y.copy()}), "binary")) == (n_positive == 20)
