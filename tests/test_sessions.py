"""Sessions: which one is built, what it can do, what is refused, and how progress is shown."""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparkds import sessions
from sparkds.errors import ConfigError
from tests.conftest import KIND

ROOT = Path(__file__).parents[1]


def test_the_active_session_is_used_as_it_is(spark):
    assert sessions.session("another name") is spark
    assert sessions.session("another name", kind=KIND) is spark


def test_an_active_session_of_the_other_kind_is_refused(spark):
    other = "classic" if KIND == "connect" else "connect"
    with pytest.raises(ConfigError, match=f"the active session is {KIND}, {other} was asked for; stop it first"):
        sessions.session("x", kind=other)


def test_the_kind_of_a_session_is_known(spark):
    assert sessions.kind_of(spark) == KIND
    told = sessions.environment(spark)
    assert told["session"] == KIND
    assert told["spark"] == spark.version
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_session_writes_and_reads_delta(spark, tmp_path):
    spark.range(3).write.format("delta").save(str(tmp_path / "t"))
    assert spark.read.format("delta").load(str(tmp_path / "t")).count() == 3


def test_progress_of_running_tasks_is_printed(spark):
    shown = io.StringIO()
    with sessions.progress(spark, shown, every=0.05):
        slow = spark.range(0, 4_000_000, 1, 4).selectExpr("count_if(sha2(cast(id as string), 256) > '8') as n")
        assert 0 < slow.collect()[0]["n"] < 4_000_000
        time.sleep(0.2)
    lines = shown.getvalue().splitlines()
    assert lines
    assert all(re.fullmatch(r"  (stage|operation) \w+: \d+/\d+ tasks", line) for line in lines), lines


def test_progress_is_over_when_the_block_is_left(spark):
    shown = io.StringIO()
    with sessions.progress(spark, shown, every=0.05):
        spark.range(10).count()
    before = shown.getvalue()
    spark.range(0, 2_000_000, 1, 4).selectExpr("count_if(sha2(cast(id as string), 256) > '8')").collect()
    time.sleep(0.2)
    assert shown.getvalue() == before


# --- without a JVM


def test_settings_of_spark_submit_are_those_of_a_local_session():
    lines = (ROOT / "conf" / "spark-defaults.conf").read_text(encoding="utf-8").splitlines()
    told = dict(line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    assert {key: told[key].strip() for key in sessions.LOCAL_CONF} == sessions.LOCAL_CONF


def test_the_delta_jar_fits_the_locked_packages():
    lock = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")
    delta = re.search(r"^delta-spark==([\d.]+)", lock, re.M).group(1)
    spark = re.search(r"^pyspark(?:\[\w+\])?==(\d+\.\d+)", lock, re.M).group(1)
    assert f"io.delta:delta-spark_{spark}_2.13:{delta}" == sessions.DELTA_PACKAGE


def test_the_databricks_runtime_is_recognised(monkeypatch):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    assert not sessions.on_databricks()
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    assert sessions.on_databricks()


class Builder:
    """Notes what is asked of a session builder."""

    def __init__(self):
        self.told = {"config": {}}

    def __getattr__(self, name):
        def note(*values):
            if name == "config":
                self.told["config"][values[0]] = values[1]
            elif name == "getOrCreate":
                return self
            else:
                self.told[name] = values[0]
            return self

        return note


@pytest.fixture
def builder(monkeypatch):
    """Stand-in for pyspark's builder, with no session active and a clean environment."""
    pyspark = pytest.importorskip("pyspark.sql")
    made = Builder()
    for variable in ("SPARK_REMOTE", "MASTER", "DATABRICKS_RUNTIME_VERSION", "PYSPARK_GATEWAY_PORT", "SPARK_SUBMIT_OPTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pyspark.SparkSession, "builder", made)
    monkeypatch.setattr(pyspark.SparkSession, "getActiveSession", classmethod(lambda cls: None))
    monkeypatch.setenv("PYSPARK_PYTHON", os.environ.get("PYSPARK_PYTHON", sys.executable))
    return made


def test_a_local_classic_session_has_delta_and_the_local_settings(builder):
    sessions.session("x")
    assert builder.told == {"appName": "x", "config": sessions.LOCAL_CONF, "master": "local[*]"}


def test_a_given_master_is_used(builder, monkeypatch):
    sessions.session("x", master="local-cluster[2,1,1024]")
    assert builder.told["master"] == "local-cluster[2,1,1024]"
    monkeypatch.setenv("MASTER", "local[3]")
    sessions.session("x")
    assert builder.told["master"] == "local[3]"


def test_a_connect_session_is_built_when_asked_for(builder, monkeypatch):
    monkeypatch.setattr(sessions, "free_port", lambda: 15007)
    sessions.session("x", kind="connect", master="local[2]")
    settings = {**sessions.LOCAL_CONF, "spark.connect.grpc.binding.port": "15007"}
    assert builder.told == {"remote": "local[2]", "appName": "x", "config": settings}


def test_spark_remote_is_honoured_and_its_settings_left_alone(builder, monkeypatch):
    monkeypatch.setenv("SPARK_REMOTE", "sc://host:15002")
    sessions.session("x")
    assert builder.told == {"remote": "sc://host:15002", "appName": "x", "config": {}}


def test_the_argument_wins_over_spark_remote(builder, monkeypatch):
    monkeypatch.setenv("SPARK_REMOTE", "sc://host:15002")
    sessions.session("x", master="sc://other")
    assert builder.told["remote"] == "sc://other"
    builder.told.pop("remote")
    sessions.session("x", kind="classic", master="local[1]")
    assert "remote" not in builder.told
    assert builder.told["master"] == "local[1]"


def test_on_databricks_nothing_is_configured(builder, monkeypatch):
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    sessions.session("x")
    assert builder.told == {"config": {}}


def test_under_spark_submit_the_master_is_left_alone_and_delta_is_demanded(builder, monkeypatch):
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")

    class Conf:
        extensions = ""

        def get(self, key, default=None):
            assert key == "spark.sql.extensions"
            return self.extensions

    builder.conf = Conf()
    with pytest.raises(ConfigError, match=r"--properties-file conf/spark-defaults\.conf"):
        sessions.session("x")
    Conf.extensions = sessions.DELTA_EXTENSION
    sessions.session("x")
    assert builder.told == {"appName": "x", "config": {}}


def test_a_machine_without_pyspark_is_told_what_to_install():
    code = (
        "import sys; sys.modules['pyspark'] = None; sys.modules['pyspark.sql'] = None\n"
        "from sparkds import sessions\n"
        "try: sessions.session('x')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "ConfigError pyspark is not installed; on a laptop: pip install 'sparkds[local]'\n"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--session", "connect", "--master", "local[2]"], ["--master", "local-cluster[2,1,1024]"]])
def test_the_job_runs_on_other_masters(tmp_path, arguments):
    from tests.jobs.test_feature_engineering_pipeline import CONF, day, orders, write_csv

    write_csv(tmp_path / "in", orders())
    (tmp_path / "conf.json").write_text(json.dumps(CONF))
    command = [sys.executable, "-m", "sparkds", "feature_engineering_pipeline", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    command += ["-c", str(tmp_path / "conf.json"), "--as-of", str(day(9)), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    status = json.loads(ended.stdout)
    assert (ended.returncode, status["status"]) == (0, "completed"), ended.stderr[-2000:]
    assert {t["name"] for t in status["tables"]} >= {"features", "features_tiles"}


def test_a_local_connect_server_takes_another_port_where_one_is_taken(monkeypatch):
    import socket

    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(sessions, "CONNECT_PORT", taken)
        assert sessions.free_port() not in (0, taken)
    assert sessions.free_port() == taken
