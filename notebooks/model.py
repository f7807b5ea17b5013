# Databricks notebook source
# MAGIC %md
# MAGIC # A model: train, judge, score
# MAGIC Who buys within 90 days, from the features of month-ends. The challenger becomes champion when every gate passes; every customer of
# MAGIC the newest day gets a score. Run `features` and `training_set` first.

# COMMAND ----------
from pyspark.sql import functions as F

from sparkds import collect, notebooks
from sparkds.figures.models import calibration, gain, roc
from sparkds.jobs import batch_scorer, model_evaluation_suite, model_trainer
from sparkds.sessions import session
from sparkds.tables import Tables

told = notebooks.parameters(
    tables="results/notebooks/tables",
    model="buyers",
    horizon_days="90",
    trees="60",
    experiment="/Shared/sparkds",
)
tables = notebooks.location(told["tables"])
spark = session("model")

# COMMAND ----------
# MAGIC %md
# MAGIC ## Train
# MAGIC Customers go to the parts by a hash, so that none is on both sides. A constant, a linear model and boosted trees stand beside it.

# COMMAND ----------
about = {"table": "training_set", "keys": ["customer_id", "as_of"], "label": f"buys_in_{told['horizon_days']}_days", "positive": True}
trainer = model_trainer.Config.model_validate(
    {
        **about,
        "name": "notebook",
        "leave_out": ["known_at", "features_known_at", "rfm_edges_version", "label_until"],
        "split": {"kind": "hash", "seed": 1, "by": ["customer_id"], "shares": {"train": 0.7, "validation": 0.15, "test": 0.15}},
        "task": "binary",
        "estimator": {"kind": "hist_gradient_boosting", "n_trees": int(told["trees"]), "learning_rate": 0.08},
        "calibration": "sigmoid",
        "cost": {"false_positive": 1, "false_negative": 4},
        "seed": 1,
        "sample_seed": 1,
        "model": told["model"],
        "tracking": {"experiment": told["experiment"]},
    }
)
trained = model_trainer.run(config=trainer, input=tables, output=tables, spark=spark)
print(trained.sections["model"]["uri"], {name: round(value, 3) for name, value in trained.sections["test"].items()})

# COMMAND ----------
# MAGIC %md
# MAGIC ## Judge

# COMMAND ----------
gates = [
    {"kind": "metric", "metric": "auc", "at_least": 0.7},
    {"kind": "overfit", "at_most": 0.2},
    {"kind": "reproducible"},
    {"kind": "signature"},
]
suite = model_evaluation_suite.Config.model_validate(
    {
        **about,
        "name": "notebook_test",
        "model": f"models:/{told['model']}@challenger",
        "training": "notebook",
        "gates": gates,
        "fail_on_gates": False,
        "tracking": {"experiment": told["experiment"]},
    }
)
judged = model_evaluation_suite.run(config=suite, input=tables, output=tables, spark=spark)
print(judged.sections["gates"])
rows = Tables(spark, tables).read("notebook_test_evaluation").where(F.col("evaluation") == judged.sections["evaluation"])
figures = collect.small_pandas(rows)
for name, figure in {"roc": roc(figures), "calibration": calibration(figures, model="candidate"), "gain": gain(figures)}.items():
    notebooks.show(figure, name, beside=tables)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Score the newest day

# COMMAND ----------
alias = "champion" if judged.sections["gates"]["promoted"] else "challenger"
address = f"models:/{told['model']}@{alias}"
scorer = batch_scorer.Config(model=address, table="features", keys=("customer_id",), day="as_of", output="notebook_scores")
scored = batch_scorer.run(config=scorer, input=tables, output=tables, spark=spark)
scores = Tables(spark, tables).read("notebook_scores")
notebooks.shown(scores.orderBy(F.desc("probability_true"), "customer_id").limit(10))
