# Databricks notebook source
# MAGIC %md
# MAGIC # Rolling features of customers
# MAGIC Declare what is needed; mergeable states by customer and day are kept, and every trailing window is read from them. Running it
# MAGIC again computes only what is new.

# COMMAND ----------
from datetime import date

from pyspark.sql import functions as F

from sparkds import collect, notebooks
from sparkds.features import RFM, Count, Mean, Sum
from sparkds.figures import recency_frequency_heatmap, segments_over_time
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.sessions import session
from sparkds.tables import Tables

told = notebooks.parameters(
    raw="results/notebooks/data", tables="results/notebooks/tables", start="1997-06-30", end="1998-06-30", customers="1"
)
raw = notebooks.location(told["raw"], dataset="cdnow", customers=float(told["customers"]))
tables = notebooks.location(told["tables"])
spark = session("features")

# COMMAND ----------
# MAGIC %md
# MAGIC ## The declaration
# MAGIC The same in YAML is `conf/feature_engineering_pipeline.yml`.

# COMMAND ----------
features = Config(
    source="transactions",
    source_columns={"customer_id": "string", "date": "date", "cds": "int", "amount": "decimal(10,2)"},
    keys=("customer_id",),
    event_time="date",
    time_zone="America/New_York",
    windows=(7, 30, 90),
    lifetime=True,
    aggregations=(Count(), Sum(column="amount"), Mean(column="amount")),
    rfm=RFM(value="amount", frequency="purchase_days", monetary="mean"),
    schedule={"every": "month", "recent_days": 1},
)

# COMMAND ----------
start, end = date.fromisoformat(told["start"]), date.fromisoformat(told["end"])
done = run(config=features, input=raw, output=tables, spark=spark, start=start, end=end)
for table in done.tables:
    print(f"{table.name}: version {table.version}, {table.rows:,} rows written")
stored = Tables(spark, tables).read("features")
newest = stored.where(F.col("as_of") == F.lit(end))
notebooks.shown(newest.orderBy(F.desc("amount_sum_90d"), "customer_id").limit(5))

# COMMAND ----------
# MAGIC %md
# MAGIC ## Who they are, and how that changes

# COMMAND ----------
counts = collect.small_pandas(stored.groupBy("as_of", "rfm_segment").agg(F.count(F.lit(1)).alias("n")).orderBy("as_of"))
notebooks.show(segments_over_time(counts), "segments_over_time", beside=tables)
cells = collect.small_pandas(newest.groupBy("r_score", "f_score").agg(F.count(F.lit(1)).alias("n")))
notebooks.show(recency_frequency_heatmap(cells), "recency_frequency", beside=tables)
