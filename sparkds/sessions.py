"""Sessions: the Spark session of the place - Databricks, spark-submit, local classic or local Connect.

Gives a session that can read and write Delta tables, and shows its progress on standard error.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from sparkds import __version__
from sparkds.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Kind = Literal["classic", "connect"]

DELTA_PACKAGE: Final = "io.delta:delta-spark_4.2_2.13:4.4.0"
DELTA_EXTENSION: Final = "io.delta.sql.DeltaSparkSessionExtension"

CONNECT_PORT: Final = 15002
"""Where a Connect server listens if nobody says otherwise."""

LOCAL_CONF: Final = {
    "spark.jars.packages": DELTA_PACKAGE,
    "spark.sql.extensions": DELTA_EXTENSION,
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "4g",
    "spark.log.level": "ERROR",
}
"""Settings of a local session; ``conf/spark-defaults.conf`` gives the same to spark-submit, with reasons."""


def session(app_name: str, *, kind: Kind | None = None, master: str | None = None) -> SparkSession:
    """Session to work on.

    An active session is used as it is; on Databricks it is the workspace's. Otherwise a Connect session is built when
    `kind` or ``SPARK_REMOTE`` asks for one, else a classic one: on the master that spark-submit or ``MASTER`` gives, or locally
    on all cores.

    Parameters
    ----------
    app_name : str
    kind : {"classic", "connect"}, optional
    master : str, optional
        ``local[2]``, ``local-cluster[2,1,1024]``, ``spark://…``, ``yarn``, ``k8s://…``; for Connect also ``sc://…``.

    Raises
    ------
    ConfigError
        pyspark is missing, the active session is of the other kind, or the session cannot write Delta tables.

    Examples
    --------
    >>> spark = session("notebook")  # doctest: +SKIP
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError("pyspark is not installed; on a laptop: pip install 'sparkds[local]'") from error
    active = SparkSession.getActiveSession()
    if active is not None:
        if kind is not None and kind_of(active) != kind:
            raise ConfigError(f"the active session is {kind_of(active)}, {kind} was asked for; stop it first or leave the argument out")
        return active
    if on_databricks():
        return SparkSession.builder.getOrCreate()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    remote = master if master and master.startswith("sc://") else os.environ.get("SPARK_REMOTE")
    if kind == "connect" or (kind is None and remote):
        return _connect(app_name, remote or master or "local[*]")
    return _classic(app_name, master or os.environ.get("MASTER"))


def on_databricks() -> bool:
    """Whether the code runs in a Databricks runtime."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def kind_of(spark: SparkSession) -> Kind:
    """Whether a session is classic or Connect."""
    return "connect" if type(spark).__module__.startswith("pyspark.sql.connect") else "classic"


def under_spark_submit() -> bool:
    """Whether spark-submit started the process, so that master, packages and memory are already settled."""
    return "SPARK_SUBMIT_OPTS" in os.environ or "PYSPARK_GATEWAY_PORT" in os.environ


def _connect(app_name: str, remote: str) -> SparkSession:
    from pyspark.sql import SparkSession

    logging.getLogger("pyspark.sql.connect.client").setLevel(logging.ERROR)
    builder = SparkSession.builder.remote(remote).appName(app_name)
    if not remote.startswith("sc://"):
        for key, value in LOCAL_CONF.items():
            builder = builder.config(key, value)
    with warnings.catch_warnings():
        # the server was just started with the static settings; setting them again on the session is refused, harmlessly
        warnings.filterwarnings("ignore", message=r"(?s).*CANNOT_MODIFY_STATIC_CONFIG.*")
        warnings.filterwarnings("ignore", message=r"(?s).*[Cc]annot modify the value of (a|the) .*config.*")
        if not remote.startswith("sc://"):
            port = free_port()
            builder = builder.config("spark.connect.grpc.binding.port", str(port))
            with _client_at(port):
                local: SparkSession = builder.getOrCreate()
                return local
        connected: SparkSession = builder.getOrCreate()
        return connected


def free_port() -> int:
    """Port for a local Connect server: the usual one, or any that is free where another server has it."""
    for port in (CONNECT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError("no port is free for a local Connect server; end another one")


@contextmanager
def _client_at(port: int) -> Iterator[None]:
    """Let the client of a local server look for it at a port: pyspark asks there for one that only its own tests may choose."""
    from pyspark.sql.connect.client.core import DefaultChannelBuilder

    builder: Any = DefaultChannelBuilder
    before = builder.default_port
    builder.default_port = staticmethod(lambda: port)
    try:
        yield
    finally:
        builder.default_port = staticmethod(before)


def _classic(app_name: str, master: str | None) -> SparkSession:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder.appName(app_name)
    if under_spark_submit():
        spark: SparkSession = builder.getOrCreate()
        extensions = spark.conf.get("spark.sql.extensions", "") or ""
        if DELTA_EXTENSION not in extensions:
            raise ConfigError(
                "this spark-submit has no Delta: its packages must come from the command line; add "
                f"--properties-file conf/spark-defaults.conf, or --packages {DELTA_PACKAGE} "
                f"--conf spark.sql.extensions={DELTA_EXTENSION} "
                "--conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog"
            )
        return spark
    for key, value in LOCAL_CONF.items():
        builder = builder.config(key, value)
    local: SparkSession = builder.master(master or "local[*]").getOrCreate()
    return local


def environment(spark: SparkSession) -> dict[str, str]:
    """Versions and kind of the session, for the first log line of a job."""
    return {
        "sparkds": __version__,
        "spark": spark.version,
        "python": ".".join(map(str, sys.version_info[:3])),
        "session": kind_of(spark),
        "databricks": os.environ.get("DATABRICKS_RUNTIME_VERSION", ""),
    }


@contextmanager
def progress(spark: SparkSession, stream: TextIO | None = None, *, every: float = 1.0) -> Iterator[None]:
    """Print the tasks done of the running stages to `stream` while the block runs.

    Works on classic sessions (the status tracker, asked by a thread) and through Connect's progress handler. A line is
    printed when the numbers have changed, at most one each `every` seconds.

    Parameters
    ----------
    spark : SparkSession
    stream : text stream, optional
        Standard error if absent.
    every : float
        Seconds.
    """
    show = _Shown(stream or sys.stderr, every)
    if kind_of(spark) == "connect":
        handler: Any = show.connect_progress
        spark.registerProgressHandler(handler)
        try:
            yield
        finally:
            spark.removeProgressHandler(handler)
        return
    tracker = _status_tracker(spark)
    if tracker is None:
        yield
        return
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(every):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            for stage in stages:
                if stage is not None:
                    show.line(f"stage {stage.stageId}", stage.numCompletedTasks, stage.numTasks)

    watcher = threading.Thread(target=watch, name="sparkds-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watcher.join(timeout=2 * every)


def _status_tracker(spark: SparkSession) -> Any:
    """Status tracker of a classic session; None where the platform withholds the context."""
    try:
        return spark.sparkContext.statusTracker()
    except Exception as error:
        logging.getLogger("sparkds").info("no stage progress here: %s", type(error).__name__)
        return None


class _Shown:
    """Lines of progress that have been printed."""

    def __init__(self, stream: TextIO, every: float) -> None:
        self.stream, self.every = stream, every
        self.last: dict[str, tuple[int, int]] = {}
        self.printed_at = 0.0

    def line(self, what: str, done: int, total: int) -> None:
        if self.last.get(what) == (done, total):
            return
        self.last[what] = (done, total)
        print(f"  {what}: {done}/{total} tasks", file=self.stream, flush=True)

    def connect_progress(self, stages: Any, inflight_tasks: int, operation_id: str | None, done: bool) -> None:
        del inflight_tasks
        now = time.monotonic()
        if not done and now - self.printed_at < self.every:
            return
        self.printed_at = now
        total = sum(stage.num_tasks for stage in stages)
        if total:
            completed = sum(stage.num_completed_tasks for stage in stages)
            self.line(f"operation {str(operation_id)[:8]}", completed, total)
