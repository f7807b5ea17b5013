import json
import logging
import os
import signal
import subprocess
import sys
import time
import types
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import pytest

from sparkds import __version__, cli
from sparkds.declaration import Declaration
from sparkds.errors import DataError
from sparkds.jobs.status import JobResult, TableResult

ROOT = Path(__file__).parent.parent
COMMON = ["--input", "in/", "--output", "out/"]


class Config(Declaration):
    source: str
    windows: tuple[int, ...] = (7,)


class Calls:
    """What a faked job was asked, and what it does."""

    def __init__(self):
        self.given = None
        self.sessions = []
        self.does = lambda **_: JobResult(3, [TableResult("features", 2, 7)], ["one row is odd"], {"days": [date(2026, 6, 30)]})

    def run(self, **given):
        self.given = given
        return self.does(**given)


@pytest.fixture
def job(monkeypatch):
    """A job named counting_job, on a session that is only a name."""
    calls = Calls()
    module = types.ModuleType("counting_job")
    module.Config, module.run = Config, calls.run
    monkeypatch.setitem(sys.modules, "counting_job", module)
    monkeypatch.setitem(cli.JOBS, "counting_job", "counting_job")

    def session(app_name, *, kind=None, master=None):
        calls.sessions.append((app_name, kind, master))
        return "a session"

    @contextmanager
    def progress(spark):
        calls.sessions.append(("progress of", spark))
        yield

    monkeypatch.setattr(cli.sessions, "session", session)
    monkeypatch.setattr(cli.sessions, "progress", progress)
    monkeypatch.setattr(cli.sessions, "environment", lambda spark: {"spark": str(spark)})
    return calls


def status(capfd):
    """The one JSON object on standard output, and standard error."""
    out, err = capfd.readouterr()
    assert out.endswith("\n")
    assert out.count("\n") == 1
    return json.loads(out), err


def test_a_completed_job_prints_its_status_and_ends_with_0(job, capfd):
    assert cli.main(["counting_job", *COMMON, "--set", "source=events"]) == 0
    told, _ = status(capfd)
    started, ended = (datetime.fromisoformat(told.pop(key)) for key in ("start_time", "end_time"))
    assert started <= ended
    assert started.utcoffset().total_seconds() == 0
    assert told == {
        "status": "completed",
        "job": "counting_job",
        "processed_items": 3,
        "tables": [{"name": "features", "version": 2, "rows": 7}],
        "warnings": ["one row is odd"],
        "days": ["2026-06-30"],
    }


def test_every_option_reaches_the_job(job, capfd, tmp_path):
    path = tmp_path / "job.yml"
    path.write_text("source: events\n")
    options = ["-i", "raw", "-o", "main.features", "-c", str(path), "--set", "windows=[1,2]", "--set", "source=sales"]
    options += [
        "--start",
        "2026-01-01",
        "--end",
        "2026-01-31",
        "--allow-incomplete",
        "--rebuild",
        "--session",
        "connect",
        "--master",
        "local[2]",
    ]
    assert cli.main(["counting_job", *options]) == 0
    assert job.given == {
        "config": Config(source="sales", windows=(1, 2)),
        "input": "raw",
        "output": "main.features",
        "spark": "a session",
        "as_of": None,
        "start": date(2026, 1, 1),
        "end": date(2026, 1, 31),
        "allow_incomplete": True,
        "rebuild": True,
    }
    assert job.sessions == [("sparkds counting_job", "connect", "local[2]")]


def test_nothing_is_assumed_where_an_option_is_left_out(job, capfd):
    assert cli.main(["counting_job", *COMMON, "--set", "source=e", "--as-of", "2026-06-30"]) == 0
    assert job.given["as_of"] == date(2026, 6, 30)
    assert {job.given[key] for key in ("start", "end")} == {None}
    assert {job.given[key] for key in ("allow_incomplete", "rebuild")} == {False}
    assert job.sessions == [("sparkds counting_job", None, None)]


def test_an_error_of_the_package_is_told_in_one_line(job, capfd):
    def fail(**_):
        raise DataError("table 'events' has no rows")

    job.does = fail
    assert cli.main(["counting_job", *COMMON, "--set", "source=e"]) == 1
    told, err = status(capfd)
    assert told["status"] == "failed"
    assert told["error"] == {"type": "DataError", "message": "table 'events' has no rows"}
    assert "DataError: table 'events' has no rows" in err
    assert "Traceback" not in err


def test_verbose_adds_the_traceback_the_environment_and_the_progress(job, capfd):
    def fail(**_):
        raise DataError("no rows")

    job.does = fail
    assert cli.main(["counting_job", *COMMON, "--set", "source=e", "--verbose"]) == 1
    _, err = status(capfd)
    assert "Traceback" in err
    assert '{"spark": "a session"}' in err
    assert "counting_job failed in" in err
    assert job.sessions[-1] == ("progress of", "a session")


def test_the_log_begins_with_the_version_of_the_package_whatever_fails_afterwards(job, capfd):
    assert cli.main(["counting_job", *COMMON, "--set", "source=e", "--set", "nothing=1", "--verbose"]) == 1
    first = capfd.readouterr().err.splitlines()[0]
    assert first.endswith(f"sparkds {__version__}"), first


def test_an_unexpected_error_fails_the_job_and_always_shows_its_traceback(job, capfd):
    def fail(**_):
        raise ZeroDivisionError

    job.does = fail
    assert cli.main(["counting_job", *COMMON, "--set", "source=e"]) == 1
    told, err = status(capfd)
    assert told["error"] == {"type": "ZeroDivisionError", "message": "ZeroDivisionError"}
    assert "Traceback" in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit("a library gave up")])
def test_a_job_that_is_interrupted_or_left_still_has_a_status(job, capfd, error):
    def fail(**_):
        raise error

    job.does = fail
    assert cli.main(["counting_job", *COMMON, "--set", "source=e"]) == 1
    assert status(capfd)[0]["error"]["type"] == type(error).__name__


def test_the_configuration_is_checked_before_there_is_a_session(job, capfd):
    assert cli.main(["counting_job", *COMMON, "--set", "windws=[7]"]) == 1
    told, err = status(capfd)
    assert told["error"]["type"] == "ConfigError"
    assert told["error"]["message"].splitlines()[0].startswith("--set windws=[7]: windws: unknown key; did you mean 'windows'?")
    assert job.sessions == []
    assert "did you mean 'windows'" in err


def test_days_are_checked_before_the_configuration(job, capfd):
    assert cli.main(["counting_job", *COMMON, "--start", "2026-02-02", "--end", "2026-02-01"]) == 1
    told, _ = status(capfd)
    assert told["error"]["type"] == "WindowError"
    assert told["error"]["message"].startswith("--start 2026-02-02 is after --end 2026-02-01")
    assert job.sessions == []


def test_warnings_of_a_job_are_logged(job, capfd):
    cli.main(["counting_job", *COMMON, "--set", "source=e"])
    assert "WARNING one row is odd" in status(capfd)[1]


def test_what_a_job_prints_goes_to_standard_error(job, capfd):
    def noisy(**_):
        sys.stdout.write("from python\n")
        os.write(1, b"from a library\n")
        subprocess.run(["echo", "from another process"], check=True)
        return JobResult(1, [])

    job.does = noisy
    assert cli.main(["counting_job", *COMMON, "--set", "source=e"]) == 0
    told, err = status(capfd)
    assert told["status"] == "completed"
    for text in ("from python", "from a library", "from another process"):
        assert text in err


def test_the_logger_is_left_as_it_was(job, capfd):
    logger = logging.getLogger("sparkds")
    before = list(logger.handlers), logger.level, logger.propagate
    cli.main(["counting_job", *COMMON, "--set", "source=e", "-v"])
    assert (list(logger.handlers), logger.level, logger.propagate) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["counting_jbo", *COMMON], "no command 'counting_jbo'; did you mean 'counting_job'?"),
        (["counting_job", "--output", "out/"], "Missing option '--input' / '-i'"),
        (["counting_job", "--input", "in/"], "Missing option '--output' / '-o'"),
        (["counting_job", *COMMON, "--as-of", "30.6.2026"], "'30.6.2026' is not a date; write it as YYYY-MM-DD"),
        (["counting_job", *COMMON, "--as-of", "20260630"], "'20260630' is not a date; write it as YYYY-MM-DD"),
        (["counting_job", *COMMON, "--as-of", "2026-06-31"], "'2026-06-31' is not a date (day is out of range for month)"),
        (["counting_job", *COMMON, "--as-of", "2026-06-30", "--end", "2026-06-30"], "give --as-of, or --start and --end, not both"),
        (["counting_job", *COMMON, "--session", "remote"], "'remote' is not one of 'classic', 'connect'"),
        (["counting_job", *COMMON, "--verbos"], "Did you mean '--verbose'"),
        (["schema", "counting_jbo"], "no job 'counting_jbo'; did you mean 'counting_job'?"),
        (["schema"], "Missing argument 'JOB'"),
    ],
)
def test_a_bad_command_line_ends_with_2_and_says_why_on_standard_error(job, capfd, arguments, told):
    assert cli.main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert told in err.replace("\n", " ")
    assert job.given is None
    assert job.sessions == []


def test_help_lists_the_jobs_and_the_other_commands(job, capfd):
    assert cli.main(["--help"]) == 0
    out, _ = capfd.readouterr()
    for name in [*cli.JOBS, "demo", "schema"]:
        assert name in out
    assert "Rolling RFM and aggregation features" in " ".join(out.split())


def test_version_is_the_packages(capfd):
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == f"sparkds {__version__}\n"


def test_schema_prints_the_json_schema_of_a_job(job, capfd):
    assert cli.main(["schema", "counting_job"]) == 0
    assert json.loads(capfd.readouterr().out)["required"] == ["source"]


def test_schema_without_pyspark_says_what_to_install(job, capfd, monkeypatch):
    monkeypatch.setitem(cli.JOBS, "counting_job", "needs_spark")
    monkeypatch.setattr(cli, "import_module", _import_without_pyspark)
    assert cli.main(["schema", "counting_job"]) == 1
    assert "pip install 'sparkds[local]'" in capfd.readouterr().err


def test_a_job_without_pyspark_says_what_to_install(job, capfd, monkeypatch):
    monkeypatch.setattr(cli, "import_module", _import_without_pyspark)
    assert cli.main(["counting_job", *COMMON]) == 1
    told, _ = status(capfd)
    assert told["error"]["type"] == "ConfigError"
    assert "pip install 'sparkds[local]'" in told["error"]["message"]


def _import_without_pyspark(name):
    raise ModuleNotFoundError(f"No module named 'pyspark' in {name}", name="pyspark")


def test_demo_gives_its_directory_and_its_exit_code(monkeypatch):
    asked = []

    def show(output):
        asked.append(output)
        return 1

    module = types.ModuleType("sparkds.demo")
    module.show = show
    monkeypatch.setitem(sys.modules, "sparkds.demo", module)
    assert cli.main(["demo", "--output", "here"]) == 1
    assert asked == ["here"]


@pytest.mark.parametrize("name", list(cli.JOBS))
def test_a_job_has_a_line_of_help_a_module_and_a_script_for_spark_submit(name):
    assert cli.JOB_HELP[name].endswith(".")
    assert (ROOT / "jobs" / f"{name}.py").is_file()
    assert (ROOT / "conf" / f"{name}.yml").is_file()
    assert (ROOT / "sparkds" / "jobs" / f"{name}.py").is_file()
    assert cli.JOBS[name] == f"sparkds.jobs.{name}"


SCRIPT = """
import subprocess, sys, time, types
from sparkds import cli
from sparkds.declaration import Declaration
from sparkds.jobs.status import JobResult

class Config(Declaration):
    pass

def run(**given):
    print("print", flush=True)
    {body}
    return JobResult(1, [])

module = types.ModuleType("counting_job")
module.Config, module.run = Config, run
sys.modules["counting_job"] = module
cli.JOBS["counting_job"] = "counting_job"
cli.sessions.session = lambda *_, **__: None
cli.sessions.environment = lambda spark: {{}}
sys.argv = ["sparkds", "counting_job", "-i", "a", "-o", "b"]
cli.entry()
"""


def started(body):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_a_process_prints_one_line_whatever_is_printed_meanwhile():
    process = started("subprocess.run(['echo', 'process'], check=True)")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.count("\n") == 1
    assert json.loads(out)["status"] == "completed"
    assert "print" in err
    assert "process" in err


def test_a_process_that_is_terminated_says_so_and_ends_with_1():
    process = started("print('ready', file=sys.stderr, flush=True); time.sleep(60)")
    for line in process.stderr:
        if line == "ready\n":
            break
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert time.monotonic() - began < 20
    assert process.returncode == 1
    told = json.loads(out)
    assert told["status"] == "failed"
    assert told["error"]["type"] == "KeyboardInterrupt"
    assert told["error"]["message"].startswith("stopped by SIGTERM")


def test_a_process_without_standard_output_still_runs_its_job(tmp_path):
    body = f"open({str(tmp_path / 'done')!r}, 'x').close()"
    command = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, SCRIPT.format(body=body)]
    process = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60, check=False)
    assert (process.returncode, process.stderr) == (0, "print\n")
    assert (tmp_path / "done").exists()


SUBMITTED = """
import sys, types
sys.path.insert(0, {root!r})
from pathlib import Path
from sparkds import cli, collect
from sparkds.declaration import Declaration
from sparkds.jobs.status import JobResult

class Config(Declaration):
    pass

def run(*, spark, **given):
    def places(batches):
        import pyarrow, sparkds
        yield from (pyarrow.RecordBatch.from_pydict({{"place": [sparkds.__file__]}}) for batch in batches if batch.num_rows)
    print("printed")
    return JobResult(1, [], ["a warning"], {{"place": collect.one_row(spark.range(1).mapInArrow(places, "place string"))["place"]}})

def session(*_, **__):
    from pyspark.sql import SparkSession
    return SparkSession.builder.getOrCreate()

module = types.ModuleType("counting_job")
module.Config, module.run = Config, run
sys.modules["counting_job"] = module
cli.JOBS["counting_job"] = "counting_job"
cli.sessions.session = session
sys.exit(cli.main(["counting_job", "-i", "a", "-o", "b"], checkout=Path({root!r})))
"""


@pytest.mark.slow
def test_spark_submit_has_the_status_alone_on_its_standard_output_and_workers_that_know_the_checkout(tmp_path):
    import pyspark

    script = tmp_path / "script.py"
    script.write_text(SUBMITTED.format(root=str(ROOT)))
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARK_REMOTE")}
    environ |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[1]", "--conf", "spark.ui.enabled=false"]
    done = subprocess.run([*command, str(script)], capture_output=True, text=True, cwd=tmp_path, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "sparkds.zip" in told["place"]
    assert "printed" in done.stderr
    assert "WARNING a warning" in done.stderr


@pytest.mark.parametrize("arguments", [["-m", "sparkds"], [str(ROOT / "jobs" / "feature_engineering_pipeline.py")]])
def test_the_package_and_the_script_of_a_job_run_the_command_line(arguments, tmp_path):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)} if arguments[0] == "-m" else os.environ
    process = subprocess.run([sys.executable, *arguments, "--help"], capture_output=True, text=True, cwd=tmp_path, env=environ, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("Usage: sparkds")


def test_the_script_of_a_job_is_the_command_of_its_name(tmp_path):
    script = ROOT / "jobs" / "feature_engineering_pipeline.py"
    process = subprocess.run(
        [sys.executable, str(script), "-i", "a", "-o", "b", "--start", "2026-02-02", "--end", "2026-02-01"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert process.returncode == 1
    assert json.loads(process.stdout)["error"]["type"] == "WindowError"
