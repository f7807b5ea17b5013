# Databricks notebook source
# MAGIC %md
# MAGIC # Training set: who buys next
# MAGIC Features of month-ends from the table `features`, and the label from later transactions. A customer's row knows nothing that
# MAGIC happened after its `as_of`; the label looks at the days from then on.

# COMMAND ----------
from sparkds import notebooks
from sparkds.sessions import session
from sparkds.training_set import write_training_set

told = notebooks.parameters(raw="results/notebooks/data", tables="results/notebooks/tables", horizon_days="90")
raw, tables = notebooks.location(told["raw"]), notebooks.location(told["tables"])
spark = session("training set")

# COMMAND ----------
n, n_bought, days = write_training_set(spark, raw=raw, tables=tables, horizon_days=int(told["horizon_days"]))
print(f"{n:,} rows of {days} month-ends, {n_bought / n:.1%} buy within {told['horizon_days']} days -> {tables}, training_set")
