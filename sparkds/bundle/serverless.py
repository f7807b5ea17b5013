"""Serverless: what serverless compute refuses, made to raise its error on a local Connect session.

Loaded by the tests and, by its path, by the processes of a local run of a bundle; so it imports pyspark and nothing of this package.
"""

from __future__ import annotations

from typing import Any

ALLOWED_CONFS = frozenset(
    {
        "spark.databricks.execution.timeout",
        "spark.sql.ansi.enabled",
        "spark.sql.files.maxPartitionBytes",
        "spark.sql.legacy.timeParserPolicy",
        "spark.sql.session.timeZone",
        "spark.sql.shuffle.partitions",
    }
)
"""Settings that a session may change."""
OF_CLUSTERS = ("spark.executor.", "spark.driver.", "spark.master", "spark.databricks.clusterUsageTags.")
"""Settings of clusters, which a session cannot even ask for."""
MEMORY_NOTE = "serverless bounds the memory of a Python UDF (about 1 GB) and of the driver; a local run does not"


def refuse_what_serverless_refuses() -> None:
    """Let calls that serverless compute refuses fail as there, for everything that runs afterwards in this process."""
    from pyspark.errors import AnalysisException
    from pyspark.sql.connect.catalog import Catalog
    from pyspark.sql.connect.conf import RuntimeConf
    from pyspark.sql.connect.dataframe import DataFrame

    def refusing(what: str) -> Any:
        def refuse(*_: Any, **__: Any) -> Any:
            raise AnalysisException(message=f"[NOT_SUPPORTED_WITH_SERVERLESS] {what} is not supported on serverless compute")

        return refuse

    for name in ("cache", "persist", "unpersist", "checkpoint", "localCheckpoint", "createGlobalTempView", "createOrReplaceGlobalTempView"):
        setattr(DataFrame, name, refusing(name))
    for name in ("cacheTable", "uncacheTable", "clearCache", "refreshTable"):
        setattr(Catalog, name, refusing(name))
    set_conf, get_conf = RuntimeConf.set, RuntimeConf.get

    def conf_set(self: Any, key: str, value: Any) -> None:
        if key not in ALLOWED_CONFS:
            raise AnalysisException(message=f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available")
        set_conf(self, key, value)

    def conf_get(self: Any, key: str, *default: Any) -> Any:
        if key.startswith(OF_CLUSTERS):
            raise AnalysisException(message=f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available")
        return get_conf(self, key, *default)

    vars_of: Any = RuntimeConf
    vars_of.set, vars_of.get = conf_set, conf_get
