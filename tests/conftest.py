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
        from sparkds.bundle.serverless import refuse_what_serverless_refuses

        refuse_what_serverless_refuses()
    yield session
    sessions.LOCAL_CONF.clear()
    sessions.LOCAL_CONF.update(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session.stop()


@pytest.fixture
def tables(spark, tmp_path):
    """Output location of its own."""
    from sparkds.tables import Tables

    return Tables(spark, str(tmp_path / "out"))
