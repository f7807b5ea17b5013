"""The slice pass on Spark against the moments of the same rows on arrays."""

import io
import math
from contextlib import redirect_stdout

import numpy as np
import pytest

from sparkds.errors import ConfigError, DataError
from sparkds.models.evaluation import slice_rows
from sparkds.models.slice_pass import read_worst_slices, slice_losses_frame


def world(n=6_000):
    rng = np.random.default_rng(3)
    region, device, age = rng.choice(["north", "south", "west"], n), rng.choice(["web", "app"], n), rng.integers(0, 4, n)
    true = rng.beta(2, 2, n)
    score = np.where((region == "west") & (device == "app"), 1 - true, true)
    y = (rng.random(n) < true).astype(int)
    rows = [(int(a), float(b), str(r), str(d), int(g)) for a, b, r, d, g in zip(y, score, region, device, age, strict=True)]
    rows[0] = (None, *rows[0][1:])
    rows[1] = (rows[1][0], math.nan, *rows[1][2:])
    return rows


def test_the_planted_pair_is_the_worst_slice(spark):
    rows = world()
    frame = spark.createDataFrame(rows, "y int, s double, region string, device string, age int")
    losses = slice_losses_frame(frame, label="y", score="s", columns=["region", "device", "age"])
    told = io.StringIO()
    with redirect_stdout(told):
        losses.explain()
    assert told.getvalue().count("Exchange") == 1
    kept = [r for r in rows if r[0] is not None and not math.isnan(r[1])]
    x = np.array([-math.log(s if y else 1 - s) for y, s, *_ in kept])
    found = {(r["group"], r["group_value"]): r for r in losses.collect()}
    assert len(found) == 1 + 3 + 2 + 4 + 6 + 12 + 8
    for key, inside in (
        (("", ""), [True] * len(kept)),
        (("age", "2"), [r[4] == 2 for r in kept]),
        (("region × device", "west × app"), [r[2] == "west" and r[3] == "app" for r in kept]),
    ):
        part = x[np.array(inside)]
        assert found[key]["n"] == len(part)
        assert found[key]["mean"] == pytest.approx(part.mean(), rel=1e-12)
        assert found[key]["m2"] == pytest.approx(((part - part.mean()) ** 2).sum(), rel=1e-10)
    worst = read_worst_slices(losses)
    assert (worst[0].group, worst[0].value) == ("region × device", "west × app")
    assert {(s.group, s.value) for s in worst} >= {("region", "west"), ("device", "app")}
    (first, *_) = slice_rows("m", worst)
    assert (first.kind, first.group_value, first.name) == ("slice", "west × app", "loss_difference")
    assert first.value == worst[0].difference
    only = slice_losses_frame(frame, label="y", score="s", columns=["age"], loss="squared_error", shown={"age": ["1"]}, pairs=False)
    assert {(r["group"], r["group_value"]) for r in only.collect()} == {("", ""), ("age", "1"), ("age", "(other)")}


def test_rows_that_the_loss_cannot_take_are_refused(spark):
    def read(rows, **more):
        frame = spark.createDataFrame(rows, "y double, s double, g string")
        return read_worst_slices(slice_losses_frame(frame, label="y", score="s", columns=["g"], **more))

    with pytest.raises(DataError, match="2 rows have a label or score that the log loss cannot take"):
        read([(0.0, 0.1, "a"), (3.0, 0.1, "a"), (1.0, 1.5, "b")])
    assert read([(3.0, 0.1, "a"), (1.0, 1.5, "b")], loss="absolute_error") == []
    assert read([]) == []
    with pytest.raises(DataError, match="'g' has more than 1000 values"):
        read([(0.0, 0.1, str(i)) for i in range(3_000)])
    with pytest.raises(ConfigError, match="loss is 'hinge'"):
        read([(0.0, 0.1, "a")], loss="hinge")
