"""Steps of frames for text and for the row before: the intermediate column that a derivation's expressions read.

Each takes a frame and gives it with one column more, no row moved but by `with_previous`, which needs one exchange by the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from sparkds.features.generate.calendar import TimeSincePrevious
from sparkds.features.generate.expressions import Inputs
from sparkds.features.generate.latent import Projection, of_text
from sparkds.features.generate.text import TextSvd, TfIdf
from sparkds.sql import quoted


def with_previous(frame: DataFrame, derivation: TimeSincePrevious, of: Inputs, state: Mapping[str, Any]) -> DataFrame:
    """Frame with the instant of the row before of the same key."""
    del state
    keys = [quoted(key) for key in derivation.keys]
    whole = " and ".join(f"{key} is not null" for key in keys)
    instant = derivation.instant(of)
    over = f"over (partition by {', '.join(keys)} order by {instant} asc nulls first, {quoted(derivation.tie)} asc nulls first)"
    before = f"case when {whole} then lag({instant}) {over} end"
    return frame.select("*", F.expr(before).alias(derivation.before))


def with_weights(frame: DataFrame, derivation: TfIdf, of: Inputs, state: Mapping[str, Any]) -> DataFrame:
    """Frame with the TF-IDF of each text as a map of term number to weight."""
    del of
    names = [f"{derivation.placed}_{step}" for step in ("terms", "entries")]
    entries, weights = derivation.weights(quoted(names[0]), state)
    frame = frame.select("*", F.expr(derivation.features.numbers(derivation.tokens, state)).alias(names[0]))
    frame = frame.select("*", F.expr(entries).alias(names[1]))
    return frame.select("*", F.expr(weights.format(column=quoted(names[1]))).alias(derivation.placed))


def with_components(frame: DataFrame, derivation: TextSvd, of: Inputs, state: Mapping[str, Any]) -> DataFrame:
    """Frame with the place of each text on the components as an array."""
    del of
    vectors = of_text(state["components"], derivation.components)
    projection = Projection(np.array(derivation.idf(state)), vectors, derivation.norm == "l2")

    def placed(numbers: pd.Series) -> pd.Series:
        starts = np.cumsum([0, *(len(one) for one in numbers)])
        term = np.concatenate([np.empty(0, dtype=np.int64), *numbers]).astype(np.int64)
        return pd.Series(list(projection.of(term, starts)))

    place: Any = pandas_udf  # of one column: mapInArrow would take all columns of the frame to Python and back
    numbers = F.expr(derivation.features.numbers(derivation.tokens, state))
    return frame.select("*", place(placed, "array<double>")(numbers).alias(derivation.placed))
