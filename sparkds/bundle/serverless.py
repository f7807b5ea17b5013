"""Serverless: what serverless compute refuses, made to raise its error on a local Connect session.

Loaded by the tests and, by its path, by the processes of a local run of a bundle; so it imports pyspark and nothing of this package.
"""

from __future__ import annotations

import re
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
STATEMENTS = re.compile(
    r"\s*(CACHE\s+(LAZY\s+)?TABLE|UNCACHE\s+TABLE|CLEAR\s+CACHE|REFRESH\s|CREATE\s+(OR\s+REPLACE\s+)?GLOBAL\s+TEMP(ORARY)?\s+VIEW)", re.I
)
"""SQL that does what the refused calls do."""
SETTING = re.compile(r"\s*SET\s+(?:spark|hive|parquet|delta)(?:\.[\w.]+)", re.I)
MEMORY_NOTE = "serverless bounds the memory of a Python UDF (about 1 GB) and of the driver; a local run does not"


def refuse_what_serverless_refuses() -> None:
    """Let calls that serverless compute refuses fail as there, for everything that runs afterwards in this process."""
    from pyspark.errors import AnalysisException
    from pyspark.sql.connect.catalog import Catalog
    from pyspark.sql.connect.conf import RuntimeConf
    from pyspark.sql.connect.dataframe import DataFrame
    from pyspark.sql.connect.session import SparkSession

    def refusing(what: str) -> Any:
        def refuse(*_: Any, **__: Any) -> Any:
            raise AnalysisException(message=f"[NOT_SUPPORTED_WITH_SERVERLESS] {what} is not supported on serverless compute")

        return refuse

    for name in ("cache", "persist", "unpersist", "checkpoint", "localCheckpoint", "createGlobalTempView", "createOrReplaceGlobalTempView"):
        setattr(DataFrame, name, refusing(name))
    for name in ("cacheTable", "uncacheTable", "clearCache", "refreshTable", "refreshByPath"):
        setattr(Catalog, name, refusing(name))
    set_conf, get_conf, unset_conf, sql = RuntimeConf.set, RuntimeConf.get, RuntimeConf.unset, SparkSession.sql

    def conf_set(self: Any, key: str, value: Any) -> None:
        if key not in ALLOWED_CONFS:
            raise AnalysisException(message=f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available")
        set_conf(self, key, value)

    def conf_get(self: Any, key: str, *default: Any) -> Any:
        if key.startswith(OF_CLUSTERS):
            raise AnalysisException(message=f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available")
        return get_conf(self, key, *default)

    def conf_unset(self: Any, key: str) -> None:
        if key not in ALLOWED_CONFS:
            raise AnalysisException(message=f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available")
        unset_conf(self, key)

    def statement(self: Any, query: str, *args: Any, **named: Any) -> Any:
        refused, setting = STATEMENTS.match(query), SETTING.match(query)
        if refused:
            refusing(" ".join(refused[1].split()).upper())()
        if setting and setting[0].split()[1] not in ALLOWED_CONFS:
            raise AnalysisException(message=f"[CONFIG_NOT_AVAILABLE] Configuration {setting[0].split()[1]} is not available")
        return sql(self, query, *args, **named)

    vars_of: Any = RuntimeConf
    vars_of.set, vars_of.get, vars_of.unset = conf_set, conf_get, conf_unset
    of_session: Any = SparkSession
    of_session.sql = statement
