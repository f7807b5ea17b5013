"""One Spark session per kind and process; a test that asks for it is marked `spark`."""

import os
import sys
import warnings

import pytest

KIND = os.environ.get("SPARKDS_TEST_SESSION", "classic")
REFUSING = os.environ.get("SPARKDS_TEST_SERVERLESS") == "1"


def pytest_collection_modifyitems(items):
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()) or item.get_closest_marker("spark"):
            item.add_marker(pytest.mark.spark)


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """Session of the kind in SPARKDS_TEST_SESSION, two cores, with a scratch warehouse."""
    from sparkds import sessions

    os.environ["PYSPARK_PYTHON"] = sys.executable
    scratch = tmp_path_factory.mktemp("spark")
    settings = dict(sessions.LOCAL_CONF)
    sessions.LOCAL_CONF.update(
        {
            "spark.sql.warehouse.dir": str(scratch / "warehouse"),
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={scratch}",
            "spark.driver.memory": "2g",
        }
    )
    session = sessions.session("sparkds tests", kind=KIND, master="local[2]")
    assert sessions.kind_of(session) == KIND
    if REFUSING:
        _refuse_what_serverless_refuses()
    yield session
    sessions.LOCAL_CONF.clear()
    sessions.LOCAL_CONF.update(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session.stop()


def _refuse_what_serverless_refuses():
    """Make calls that serverless compute refuses fail loudly, for everything that runs afterwards."""
    from pyspark.errors import PySparkNotImplementedError
    from pyspark.sql.connect.catalog import Catalog
    from pyspark.sql.connect.conf import RuntimeConf
    from pyspark.sql.connect.dataframe import DataFrame

    def refusing(what):
        def refuse(*_, **__):
            raise PySparkNotImplementedError(errorClass="NOT_IMPLEMENTED", messageParameters={"feature": f"{what} on serverless"})

        return refuse

    for name in ("cache", "persist", "unpersist", "checkpoint", "localCheckpoint", "createGlobalTempView", "createOrReplaceGlobalTempView"):
        setattr(DataFrame, name, refusing(name))
    for name in ("cacheTable", "uncacheTable", "clearCache"):
        setattr(Catalog, name, refusing(name))
    RuntimeConf.set = refusing("spark.conf.set")


@pytest.fixture
def tables(spark, tmp_path):
    """Output location of its own."""
    from sparkds.tables import Tables

    return Tables(spark, str(tmp_path / "out"))
