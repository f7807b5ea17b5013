"""The analyzer killed at any moment and run again: the tables are those of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sparkds.tables import Tables
from tests.jobs.test_experiment_analyzer import CONF, assert_same, day, rows_of, until, world, write

TABLES = ("units", "counts", "statistics", "results")


def committed(table, version):
    return lambda out: (out / f"experiments_{table}" / "_delta_log" / f"{version:020}.json").exists()


def written(table):
    return lambda out: len(list((out / f"experiments_{table}").rglob("*.parquet"))) > 0


FIRST_DAY = {
    "a file of units is written, not committed": written("units"),
    "the units are committed": committed("units", 1),
    "the counts are committed": committed("counts", 1),
    "the statistics are committed": committed("statistics", 1),
}
SECOND_DAY = {
    "the units of the next day are committed": committed("units", 2),
    "the statistics of the next day are committed": committed("statistics", 2),
}


def start(root, out, last):
    (root / "conf.json").write_text(json.dumps(CONF))
    command = [
        sys.executable,
        "-m",
        "sparkds",
        "experiment_analyzer",
        "-i",
        str(root / "in"),
        "-o",
        str(out),
        "-c",
        str(root / "conf.json"),
    ]
    command += ["--as-of", str(day(last)), "--session", "classic", "--master", "local[2]"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def sources(spark, root, last):
    exposures, orders = world(80, seed=31)
    write(spark, root, until(exposures, 3, last), until(orders, 1, last))


@pytest.fixture(scope="module")
def undisturbed(spark, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    for last in (6, 9):
        sources(spark, root, last)
        assert start(root, root / "out", last).wait() == 0
    return root


def killed(root, last, reached):
    process = start(root, root / "out", last)
    waited_until = time.monotonic() + 240
    while not reached(root / "out") and process.poll() is None and time.monotonic() < waited_until:
        time.sleep(0.005)
    assert reached(root / "out"), "the moment never came"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("moment", [*FIRST_DAY, *SECOND_DAY])
def test_a_killed_analysis_run_again_ends_in_the_same_tables(spark, undisturbed, tmp_path, moment):
    sources(spark, tmp_path, 6)
    if moment in FIRST_DAY:
        killed(tmp_path, 6, FIRST_DAY[moment])
    assert start(tmp_path, tmp_path / "out", 6).wait() == 0
    sources(spark, tmp_path, 9)
    if moment in SECOND_DAY:
        killed(tmp_path, 9, SECOND_DAY[moment])
        for name in TABLES:
            Tables(spark, str(tmp_path / "out")).read(f"experiments_{name}").count()  # what is committed can be read
    assert start(tmp_path, tmp_path / "out", 9).wait() == 0
    for name in TABLES:
        assert_same(rows_of(spark, tmp_path, name), rows_of(spark, undisturbed, name))
