"""Serverless: what it refuses raises its error on a local Connect session, by call and by SQL; what it allows still works."""

import os

import pytest

from tests.conftest import REFUSING

pytestmark = [pytest.mark.spark, pytest.mark.skipif(not REFUSING, reason="needs SPARKDS_TEST_SERVERLESS=1")]

REFUSED = {
    "cache": lambda spark: spark.range(3).cache(),
    "persist": lambda spark: spark.range(3).persist(),
    "checkpoint": lambda spark: spark.range(3).checkpoint(),
    "local checkpoint": lambda spark: spark.range(3).localCheckpoint(),
    "global view": lambda spark: spark.range(3).createOrReplaceGlobalTempView("v"),
    "cache of a table": lambda spark: spark.catalog.cacheTable("t"),
    "cache by SQL": lambda spark: spark.sql("cache lazy table t"),
    "refresh by SQL": lambda spark: spark.sql("REFRESH TABLE t"),
    "global view by SQL": lambda spark: spark.sql("CREATE OR REPLACE GLOBAL TEMPORARY VIEW v AS SELECT 1"),
}
LOCKED = {
    "set": lambda spark: spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1"),
    "unset": lambda spark: spark.conf.unset("spark.sql.autoBroadcastJoinThreshold"),
    "set by SQL": lambda spark: spark.sql("SET spark.sql.autoBroadcastJoinThreshold = -1"),
    "get of a cluster's": lambda spark: spark.conf.get("spark.executor.memory"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_serverless_does_not_have_is_refused(spark, what):
    with pytest.raises(Exception, match=r"\[NOT_SUPPORTED_WITH_SERVERLESS\]"):
        REFUSED[what](spark)


@pytest.mark.parametrize("what", LOCKED)
def test_settings_but_the_allowed_few_are_refused(spark, what):
    with pytest.raises(Exception, match=r"\[CONFIG_NOT_AVAILABLE\]"):
        LOCKED[what](spark)


@pytest.mark.parametrize("name", ["sparkContext", "_jvm", "_jsc"])
def test_there_is_no_context_and_no_jvm(spark, name):
    with pytest.raises(Exception, match="JVM_ATTRIBUTE_NOT_SUPPORTED|not supported in Spark Connect"):
        getattr(spark, name)


def test_a_frame_has_no_rdd(spark):
    with pytest.raises(Exception, match="NOT_IMPLEMENTED|not implemented|JVM_ATTRIBUTE|not supported"):
        _ = spark.range(1).rdd


def test_what_serverless_allows_works(spark):
    zone = spark.conf.get("spark.sql.session.timeZone")
    try:
        spark.sql("SET spark.sql.session.timeZone = UTC")
        spark.conf.set("spark.sql.shuffle.partitions", "3")
        assert spark.sql("SELECT max(id) AS n FROM {rows}", rows=spark.range(3)).collect()[0]["n"] == 2
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
        spark.conf.set("spark.sql.shuffle.partitions", str(os.cpu_count()))
