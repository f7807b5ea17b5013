# Databricks notebook source
# MAGIC %md
# MAGIC # Training set: who buys next
# MAGIC Every customer at every month-end, with the features that were known at the midnight after it, and what happens on the days from
# MAGIC then on as the label. A customer's row knows nothing that happened after its `as_of`. Run `features` first.

# COMMAND ----------
from pyspark.sql import functions as F

from sparkds import collect, notebooks
from sparkds.figures import shares_over_time
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.sessions import session
from sparkds.tables import Tables

told = notebooks.parameters(raw="results/notebooks/data", tables="results/notebooks/tables", horizon_days="90")
raw, tables = notebooks.location(told["raw"]), notebooks.location(told["tables"])
spark = session("training set")

# COMMAND ----------
label = f"buys_in_{told['horizon_days']}_days"
first = collect.one_row(Tables(spark, tables).read("features").agg(F.min("as_of").alias("day")))["day"]
training_set = Config(
    source="transactions",
    source_columns={"customer_id": "string", "date": "date", "cds": "int", "amount": "decimal(10,2)"},
    keys=("customer_id",),
    event_time="date",
    time_zone="America/New_York",
    stages=[
        {
            "kind": "training_set",
            "spine": {"kind": "cutoffs", "every": "month", "first": first},
            "features": [{"table": "features"}],
            "label": {"kind": "event_within", "horizon_days": int(told["horizon_days"]), "name": label},
        }
    ],
)
done = run(config=training_set, input=raw, output=tables, spark=spark)
made = done.sections["training_set"]
for warning in done.warnings:
    print(f"note: {warning}")

# COMMAND ----------
# MAGIC %md
# MAGIC ## How many buy

# COMMAND ----------
by_day = collect.small_pandas(
    Tables(spark, tables).read("training_set").groupBy("as_of").agg(F.avg(F.col(label).cast("int")).alias("share")).orderBy("as_of")
)
print(f"{made['rows']:,} rows of {len(made['cutoffs'])} month-ends, {by_day['share'].mean():.1%} buy within {told['horizon_days']} days")
print(f"features were known for {made['match_rate']['features']:.1%} of them -> {tables}, training_set")
notebooks.show(shares_over_time(by_day, time="as_of", share="share", what=f"share of customers who buy within {told['horizon_days']} days"),
               "buyers_over_time", beside=tables)  # fmt: skip
