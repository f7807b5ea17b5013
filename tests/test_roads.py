"""The four roads to one job: console script, `python -m`, spark-submit and plain Python give equal tables."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparkds.tables import Tables
from tests.jobs.test_feature_engineering_pipeline import CONF, day, orders, table, write_csv

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
JOB = "feature_engineering_pipeline"
BIN = Path(sys.executable).parent
NOTEBOOK = """
import sys, yaml
from datetime import date
from sparkds import sessions
from sparkds.features import FeatureSet
from sparkds.tables import Tables, TableSpec
source, out, conf, first, last = sys.argv[1:]
conf = yaml.safe_load(open(conf))
spark = sessions.session("notebook", master="local[2]")
fields = {key: conf[key] for key in FeatureSet.model_fields if key in conf}
spec = FeatureSet(**fields)
events = Tables(spark, source).read("orders", schema=", ".join(f"{c} {t}" for c, t in conf["source_columns"].items()))
last = date.fromisoformat(last)
tiles = spec.tiles(events, last=last)
days = [date.fromordinal(n) for n in range(date.fromisoformat(first).toordinal(), last.toordinal() + 1)]
Tables(spark, out).replace("features_tiles", tiles, rows=None, metadata={}, spec=TableSpec())
Tables(spark, out).replace("features", spec.snapshots(tiles, days), rows=None, metadata={}, spec=TableSpec())
"""


def run(command, **environment):
    ended = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **environment}
    )
    assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    root = tmp_path_factory.mktemp("roads")
    write_csv(root / "in", orders())
    (root / "conf.yml").write_text(json.dumps(CONF))
    return root


def options(root, out):
    return ["--input", root / "in", "--output", out, "--config", root / "conf.yml", "--start", day(2), "--end", day(9)]


def submit(root, *more):
    return [BIN / "spark-submit", "--properties-file", "conf/spark-defaults.conf", "--master", "local[2]", *more, f"jobs/{JOB}.py"]


def test_all_four_roads_give_equal_tables(spark, given):
    told = {
        "console": run([BIN / "sparkds", JOB, *options(given, given / "console"), "--master", "local[2]"]),
        "module": run([sys.executable, "-m", "sparkds", JOB, *options(given, given / "module"), "--master", "local[2]", "--verbose"]),
        "submit": run([*submit(given), *options(given, given / "submit")], PYSPARK_PYTHON=sys.executable),
    }
    (given / "notebook.py").write_text(NOTEBOOK)
    run([sys.executable, given / "notebook.py", given / "in", given / "notebook", given / "conf.yml", day(2), day(9)])
    for road, status in told.items():
        assert json.loads(status)["status"] == "completed", road
    for name in ("features", "features_tiles"):
        wanted = table(spark, given / "console", name)
        assert len(wanted) > 10
        for road in ("module", "submit"):
            assert table(spark, given / road, name) == wanted, road
        columns = Tables(spark, str(given / "notebook")).read(name).columns
        ours = Tables(spark, str(given / "console")).read(name).select(*columns).collect()
        assert table(spark, given / "notebook", name) == sorted(map(tuple, ours), key=repr)


def test_spark_submit_reads_and_writes_schemas_of_the_catalog(spark, given):
    more = ["--conf", f"spark.sql.warehouse.dir={given}/warehouse", "--driver-java-options", f"-Dderby.system.home={given}"]
    more += ["--conf", "spark.sql.catalogImplementation=in-memory"]
    arguments = options(given, given / "ignored")
    arguments[arguments.index("--output") + 1] = "spark_catalog.features"
    told = json.loads(run([*submit(given, *more), *arguments], PYSPARK_PYTHON=sys.executable))
    assert told["status"] == "completed"
    found = Tables(spark, str(given / "warehouse" / "features.db"))
    assert {r for (r,) in found.read("features").select("as_of").distinct().collect()} == {day(i) for i in range(2, 10)}
