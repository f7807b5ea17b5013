"""RFM scores on Spark: quantile edges fitted from one snapshot, scores and segment added to any snapshot.

The edges are fitted once and kept, so that a customer's score does not move because others bought.
"""

from __future__ import annotations

from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds.collect import one_row
from sparkds.errors import DataError
from sparkds.features.rfm import EDGE_SHARES, MEASURES, RFM, SCORE_COLUMNS, Edges

ACCURACY = 10_000


def fitted_edges(rfm: RFM, snapshot: DataFrame, *, version: int) -> Edges:
    """Inner quantile edges of the three measures over the entities with a purchase.

    One pass; Spark's ``approx_percentile`` with accuracy 10 000 (rank error at most 0.01 %), which gives values that
    occur (numpy's ``method="inverted_cdf"``).

    Raises
    ------
    DataError
        No entity has a purchase.
    """
    del rfm
    shares = F.array(*(F.lit(share) for share in EDGE_SHARES))
    buyers = snapshot.where(F.col("frequency") > 0)
    found = one_row(buyers.agg(*(F.approx_percentile(F.col(m).cast("double"), shares, F.lit(ACCURACY)).alias(m) for m in MEASURES)))
    if found[MEASURES[0]] is None:
        raise DataError("no entity has a purchase in the snapshot from which the RFM edges are fitted; fit them on a later day")
    return Edges(version, *(tuple(found[measure]) for measure in MEASURES))


def with_scores(rfm: RFM, snapshot: DataFrame, edges: Edges) -> DataFrame:
    """Snapshot with ``r_score f_score m_score rfm_segment rfm_edges_version`` after ``monetary``.

    Scores are 1 … 5, 5 the best; null for an entity without a purchase.
    """
    best: dict[str, Literal["low", "high"]] = {"recency_days": "low", "frequency": "high", "monetary": "high"}
    buyer = F.col("frequency") > 0
    scores = {
        name: F.when(buyer, score_column(F.col(measure), getattr(edges, measure), ties=rfm.ties, best=best[measure]))
        for name, measure in zip(SCORE_COLUMNS, MEASURES, strict=True)
    }
    names = snapshot.columns
    place = names.index("monetary") + 1
    scored = snapshot.select(
        *(_column(name) for name in names[:place]),
        *(column.alias(name) for name, column in scores.items()),
        *(_column(name) for name in names[place:]),
    )
    place += len(scores)
    return scored.select(
        *(_column(name) for name in scored.columns[:place]),
        segment_column(rfm).alias("rfm_segment"),
        F.when(F.col("r_score").isNotNull(), F.lit(edges.version)).alias("rfm_edges_version"),
        *(_column(name) for name in scored.columns[place:]),
    )


def score_column(measure: Column, edges: tuple[float, ...], *, ties: Literal["low", "high"], best: Literal["low", "high"]) -> Column:
    """Score 1 … 5 as `sparkds.features.rfm.score` gives it; null where the measure is null."""
    value = measure.cast("double")
    passed = F.lit(0)
    for edge in edges:
        passed = passed + F.when(value > edge if ties == "low" else value >= edge, 1).otherwise(0)
    score = F.lit(1) + passed if best == "high" else F.lit(5) - passed
    return F.when(value.isNotNull(), score.cast("int"))


def segment_column(rfm: RFM) -> Column:
    """Segment of the three score columns: the first rule that holds."""
    segment = F.lit(None).cast("string")
    for rule in reversed(rfm.segments):
        holds = F.lit(True)
        for name, (low, high) in zip(SCORE_COLUMNS, (rule.r, rule.f, rule.m), strict=True):
            holds &= F.col(name).between(low, high)
        segment = F.when(holds, F.lit(rule.segment)).otherwise(segment)
    return segment


def calibration_holdout_frame(rfm: RFM, keys: tuple[str, ...], calibration: DataFrame, observation: DataFrame) -> DataFrame:
    """CLV summary at the end of a calibration period, with what the same entities did afterwards.

    Parameters
    ----------
    rfm : RFM
        With ``clv``.
    keys : tuple of str
    calibration, observation : DataFrame
        Snapshots of one day each: the end of the calibration and of the observation period.

    Returns
    -------
    DataFrame
        The keys, ``frequency_cal``, ``recency_cal`` and ``T_cal`` (days), ``monetary_value_cal``,
        ``frequency_holdout`` (purchase days after calibration), ``monetary_value_holdout`` (their mean daily value, 0
        without any) and ``duration_holdout`` (days): the columns that BG/NBD and Gamma-Gamma fitters take.
        Entities without a purchase in the calibration period have no row.
    """
    del rfm
    names = [_column(key) for key in keys]
    before = calibration.where(F.col("clv_frequency").isNotNull()).select(
        *names,
        F.col("clv_frequency").alias("frequency_cal"),
        F.col("clv_recency_days").alias("recency_cal"),
        F.col("clv_age_days").alias("T_cal"),
        F.col("clv_monetary").alias("monetary_value_cal"),
        F.col("as_of").alias("__calibration_end"),
    )
    after = observation.select(
        *names,
        F.col("clv_frequency").alias("__frequency"),
        (F.col("clv_frequency") * F.col("clv_monetary")).alias("__spent"),
        F.col("as_of").alias("__observation_end"),
    )
    days = F.col("__frequency") - F.col("frequency_cal")
    spent = F.col("__spent") - F.col("frequency_cal") * F.col("monetary_value_cal")
    return before.join(after, on=list(keys)).select(
        *names,
        "frequency_cal",
        "recency_cal",
        "T_cal",
        "monetary_value_cal",
        days.alias("frequency_holdout"),
        F.when(days > 0, spent / days).otherwise(F.lit(0.0)).alias("monetary_value_holdout"),
        F.date_diff("__observation_end", "__calibration_end").alias("duration_holdout"),
    )


def _column(name: str) -> Column:
    return F.col("`" + name.replace("`", "``") + "`")
