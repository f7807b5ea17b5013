"""Killed at any moment, run again: the last committed tables are readable, and the rows are those of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sparkds.tables import Tables
from tests.jobs.test_feature_engineering_pipeline import CONF, day, orders, table, write_csv

MOMENTS = {
    "the tile table is made, without rows": lambda out: (out / "features_tiles" / "_delta_log" / "00000000000000000000.json").exists(),
    "a file of tiles is written, not committed": lambda out: any((out / "features_tiles").glob("*.parquet")),
    "the tiles are committed": lambda out: (out / "features_tiles" / "_delta_log" / "00000000000000000001.json").exists(),
    "the edges are committed": lambda out: (out / "features_rfm_edges" / "_delta_log" / "00000000000000000001.json").exists(),
    "a file of snapshots is written, not committed": lambda out: any((out / "features").glob("*.parquet")),
    "the snapshots are committed": lambda out: (out / "features" / "_delta_log" / "00000000000000000001.json").exists(),
}


def start(root, out):
    (root / "conf.json").write_text(json.dumps(CONF))
    command = [sys.executable, "-m", "sparkds", "feature_engineering_pipeline", "-i", str(root / "in"), "-o", str(out)]
    command += ["-c", str(root / "conf.json"), "--start", str(day(5)), "--end", str(day(9)), "--session", "classic", "--master", "local[2]"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    write_csv(root / "in", orders())
    assert start(root, root / "out").wait() == 0
    return root / "out"


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_job_run_again_ends_in_the_same_tables(spark, undisturbed, tmp_path, moment):
    write_csv(tmp_path / "in", orders())
    out, reached = tmp_path / "out", MOMENTS[moment]
    process = start(tmp_path, out)
    waited_until = time.monotonic() + 180
    while not reached(out) and process.poll() is None and time.monotonic() < waited_until:
        time.sleep(0.005)
    assert reached(out), "the moment never came"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    tables = Tables(spark, str(out))
    for name in ("features_tiles", "features"):
        if tables.exists(name):
            tables.read(name).count()  # what is committed can be read

    assert start(tmp_path, out).wait() == 0
    for name in ("features_tiles", "features", "features_rfm_edges"):
        assert table(spark, out, name) == table(spark, undisturbed, name)
