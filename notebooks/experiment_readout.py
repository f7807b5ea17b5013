# Databricks notebook source
# MAGIC %md
# MAGIC # Readout of an experiment
# MAGIC An A/A test over CDNOW's customers: both arms got the same, so a sound analysis finds nothing. Units, statistics, effects and
# MAGIC checks come from one pass over the facts.

# COMMAND ----------
from datetime import date

from pyspark.sql import functions as F

from sparkds import collect, notebooks
from sparkds.figures import forest
from sparkds.jobs.experiment_analyzer import Config, run
from sparkds.sessions import session
from sparkds.tables import Tables

told = notebooks.parameters(
    raw="results/notebooks/data", tables="results/notebooks/tables", experiment="aa_cdnow", as_of="1998-06-30", customers="1"
)
raw = notebooks.location(told["raw"], dataset="cdnow", customers=float(told["customers"]))
tables = notebooks.location(told["tables"])
spark = session("experiment readout")
as_of = date.fromisoformat(told["as_of"])

# COMMAND ----------
# MAGIC %md
# MAGIC ## What is compared
# MAGIC Revenue per customer in the half year after the exposure, with the half year before as covariate (CUPED).

# COMMAND ----------
orders = {"fact": "orders", "window": {"days": 182}, "covariates": [{"kind": "pre_period", "days": 181}]}
experiment = {
    "name": told["experiment"],
    "hypothesis": "Nothing differs, since both arms got the same.",
    "arms": {"a": 0.5, "b": 0.5},
    "control": "a",
    "start": "1997-07-01T00:00:00Z",
    "end": "1997-07-02T00:00:00Z",
    "alpha": 0.05,
    "correction": "none",
    "peeking": {"kind": "fixed"},
}
config = Config.model_validate(
    {
        "name": "readout",
        "time_zone": "UTC",
        "exposures": {
            "table": "exposures",
            "unit": "customer_id",
            "time": "exposed_at",
            "columns": {"experiment": "string", "customer_id": "string", "arm": "string", "exposed_at": "timestamp"},
        },
        "facts": [
            {
                "name": "orders",
                "table": "transactions",
                "unit": "customer_id",
                "time": "date",
                "columns": {"customer_id": "string", "date": "date", "cds": "int", "amount": "decimal(10,2)"},
            }
        ],
        "metrics": [
            {"kind": "sum", "name": "revenue", "column": "amount", "role": "primary", **orders},
            {"kind": "proportion", "name": "bought", **orders},
        ],
        "experiments": [experiment],
    }
)
done = run(config=config, input=raw, output=tables, spark=spark, as_of=as_of)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Effects, checks, decision

# COMMAND ----------
results = (
    Tables(spark, tables).read("readout_results").where((F.col("experiment") == told["experiment"]) & (F.col("as_of") == F.lit(as_of)))
)
rows = collect.small_pandas(results)
effects = rows[(rows["kind"] == "effect") & (rows["scale"] == "relative") & (rows["segment"] == "")]
print(effects[["name", "variant", "value", "low", "high", "pvalue", "reason"]].to_string(index=False))
notebooks.show(forest(effects[effects["variant"] == "declared"]), "effects", beside=tables)

# COMMAND ----------
checks = rows[rows["kind"].isin(["check", "decision"])]
print(checks[["kind", "name", "variant", "status", "reason"]].drop_duplicates().to_string(index=False))
