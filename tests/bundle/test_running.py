"""Runs of a bundle: real processes with small programs in place of Spark - logs, values, timeouts, locks, repairs, the command line."""

import fcntl
import json
import sys
import time
from pathlib import Path

import pytest
import yaml

from sparkds.bundle.dynamic_values import OF_RUN
from sparkds.bundle.engine import FAILED, SUCCESS, TIMED_OUT, Work
from sparkds.bundle.processes import Processes
from sparkds.bundle.running import run_job
from sparkds.cli import main
from sparkds.errors import ConfigError

PROGRAM = """
import json, os, sys, time
what = sys.argv[1]
with open(os.path.join(os.environ["SPARKDS_CATALOGS"], "ran.txt"), "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
if what == "hang":
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(60)
if what == "fail" and not os.path.exists(os.path.join(os.environ["SPARKDS_CATALOGS"], "mended")):
    print(json.dumps({"status": "failed", "error": {"type": "DataError", "message": "no rows"}}))
    sys.exit(1)
with open(os.environ["SPARKDS_TASK_VALUES"], "w") as file:
    json.dump({"said": what}, file)
"""


def job(*tasks, **more):
    return {
        "parameters": [{"name": "day", "default": "latest"}],
        "tasks": [
            {
                "task_key": key,
                "depends_on": [{"task_key": b} for b in before],
                "spark_python_task": {"python_file": "../program.py", "parameters": [what, "{{job.parameters.day}}"]},
                **extra,
            }
            for key, what, before, extra in tasks
        ],
        **more,
    }


@pytest.fixture
def bundle(tmp_path):
    def made(*tasks, parameters=None, **more):
        (tmp_path / "conf").mkdir(exist_ok=True)
        (tmp_path / "program.py").write_text(PROGRAM)
        (tmp_path / "databricks.yml").write_text(
            yaml.safe_dump({"bundle": {"name": "b"}, "include": ["conf/*.yml"], "targets": {"dev": {"default": True}}})
        )
        (tmp_path / "conf" / "j.yml").write_text(yaml.safe_dump({"resources": {"jobs": {"j": job(*tasks, **more)}}}))
        (tmp_path / "local_run.yml").write_text(yaml.safe_dump({"parameters": parameters or {}}))
        (tmp_path / "results" / "bundle" / "dev" / "catalogs").mkdir(parents=True, exist_ok=True)
        return tmp_path

    return made


def go(root, **more):
    return run_job(root, job="j", python=sys.executable, **more)


def ran(root):
    return (root / "results" / "bundle" / "dev" / "catalogs" / "ran.txt").read_text().splitlines()


def test_tasks_run_as_processes_with_their_parameters_and_tell_values(bundle):
    root = bundle(("a", "one", [], {}), ("b", "two", ["a"], {}), parameters={"day": "1998-06-30", "other": "x"})
    told = go(root)
    assert told.state == SUCCESS
    assert ran(root) == ["one 1998-06-30", "two 1998-06-30"]
    assert told.outcomes["b"].values == {"said": "two"}
    go(root, parameters={"day": "1998-05-31"})
    assert ran(root)[2:] == ["one 1998-05-31", "two 1998-05-31"]


def test_a_task_that_fails_is_told_with_its_error_its_dependants_are_skipped_and_a_repair_goes_on(bundle, capsys):
    root = bundle(("a", "one", [], {}), ("b", "fail", ["a"], {}), ("c", "three", ["b"], {}))
    command = ["bundle", "run", str(root), "--job", "j", "--python", sys.executable]
    assert main([*command, "--param", "day=1998-06-30"]) == 1
    told = capsys.readouterr().out
    assert "exit code 1: DataError: no rows; see" in told
    assert "UPSTREAM_FAILED" in told
    assert "job j: FAILED" in told
    (root / "results" / "bundle" / "dev" / "catalogs" / "mended").touch()
    assert main([*command, "--from", "b"]) == 0
    told = capsys.readouterr().out
    assert "SUCCESS (kept)" in told
    assert ran(root) == ["one 1998-06-30", "fail 1998-06-30", "fail 1998-06-30", "three 1998-06-30"]


def test_a_run_that_is_interrupted_is_repaired_with_its_own_parameters(bundle):
    root = bundle(("a", "one", [], {}), ("b", "fail", ["a"], {}))
    go(root, parameters={"day": "1998-05-31"})

    def tell(text):
        if text == "b: running":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(root, parameters={"day": "1998-06-30"}, tell=tell)
    (root / "results" / "bundle" / "dev" / "catalogs" / "mended").touch()
    told = go(root, first="b")
    assert told.state == SUCCESS
    assert told.outcomes["a"].kept
    assert ran(root)[2:] == ["one 1998-06-30", "fail 1998-06-30"]


def test_a_task_that_hangs_fails_the_job_with_exit_1(bundle, capsys):
    root = bundle(("a", "hang", [], {"timeout_seconds": 1}), ("b", "two", ["a"], {}))
    assert main(["bundle", "run", str(root), "--job", "j", "--python", sys.executable]) == 1
    told = capsys.readouterr().out
    assert "TIMED_OUT" in told
    assert "ended after its timeout of 1 s; see" in told
    assert "UPSTREAM_FAILED" in told


def test_whatever_a_run_can_be_asked_has_a_value(bundle):
    root = bundle(("a", " ".join(f"{{{{{name}}}}}" for name in OF_RUN), [], {}), ("b", "fail{{job.repair_count}}", ["a"], {}))
    assert go(root).state == SUCCESS
    assert go(root, first="b").state == SUCCESS
    lines = ran(root)
    assert "{{" not in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["fail0", "fail1"]


def test_a_task_that_hangs_is_ended_with_its_children(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "catalogs").mkdir()
    processes = Processes(python=Path(sys.executable), catalogs=tmp_path / "catalogs", logs=tmp_path / "logs")
    begun = time.monotonic()
    done = processes(Work("a", "spark_python_task", {"python_file": str(tmp_path / "program.py"), "parameters": ["hang"]}, 1, 1.5))
    assert done.state == TIMED_OUT
    assert "ended after its timeout of 1.5 s" in done.message
    assert time.monotonic() - begun < 15
    children = [p for p in _processes() if "time.sleep(60)" in p]
    assert children == []


def _processes():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().decode(errors="replace")
        except OSError:
            continue


def test_two_runs_at_once_are_refused(bundle):
    root = bundle(("a", "one", [], {}))
    logs = root / "results" / "bundle" / "dev" / "runs" / "j"
    logs.mkdir(parents=True)
    with (logs / "lock").open("w") as file:
        file.write("process 7, since 12:00:00")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match=r"job 'j' is running already in .*process 7, since 12:00:00.*wait for it"):
            go(root)
    assert go(root).state == SUCCESS


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"target": "prod"}, "no target 'prod'"),
        ({"first": "a"}, "there is no run of job 'j' to repair"),
        ({"refuses": True}, "give --session connect with --serverless"),
        ({"parameters": {"dya": "x"}}, "has no parameter 'dya'; did you mean 'day'"),
    ],
)
def test_what_cannot_be_run_is_told(bundle, more, message):
    with pytest.raises(ConfigError, match=message):
        go(bundle(("a", "one", [], {})), **more)


def test_a_job_that_is_not_there_and_a_reference_to_nothing_are_told(bundle):
    root = bundle(("a", "${var.x}", [], {}))
    with pytest.raises(ConfigError, match=r"conf/j.yml:\d+: variable 'x' is not declared"):
        go(root)
    with pytest.raises(ConfigError, match=r"target 'dev' has no job 'k' \(jobs: j\)"):
        run_job(bundle(("a", "one", [], {})), job="k", python=sys.executable)


def test_a_kind_of_task_that_needs_a_workspace_fails_by_name(bundle):
    root = bundle(("a", "one", [], {}))
    path = root / "conf" / "j.yml"
    tree = yaml.safe_load(path.read_text())
    tree["resources"]["jobs"]["j"]["tasks"] = [{"task_key": "q", "sql_task": {"warehouse_id": "1"}}]
    path.write_text(yaml.safe_dump(tree))
    told = go(root)
    assert told.outcomes["q"].state == FAILED
    assert "a sql_task cannot run without a workspace" in told.outcomes["q"].message


def test_a_table_that_nobody_puts_there_is_told_before_anything_runs(bundle):
    root = bundle(("a", "one", [], {}))
    (root / "local_run.yml").write_text(yaml.safe_dump({"inputs": [{"location": "main.raw", "table": "orders"}]}))
    with pytest.raises(ConfigError, match=r"input 'main.raw.orders' has no dataset and is not in .*catalogs/main/raw; put it there"):
        go(root)


def test_values_of_the_command_line_have_a_name_and_a_value(bundle, capsys):
    root = bundle(("a", "one", [], {}))
    assert main(["bundle", "run", str(root), "--job", "j", "--param", "day"]) == 2
    assert "'day' is not NAME=VALUE" in capsys.readouterr().err


def test_findings_are_printed_as_lines_or_json_and_end_with_1(bundle, capsys):
    root = bundle(("a", "${var.x}", [], {}))
    assert main(["bundle", "check", str(root), "--no-build"]) == 1
    captured = capsys.readouterr()
    assert "[variables] variable 'x' is not declared" in captured.out
    assert "targets dev" in captured.err
    assert main(["bundle", "check", str(root), "--no-build", "--json"]) == 1
    rules = {finding["rule"] for finding in json.loads(capsys.readouterr().out)}
    assert {"variables", "keys"} <= rules
    assert main(["bundle", "check", str(root / "nowhere")]) == 1
    assert "there is no bundle in" in capsys.readouterr().err
