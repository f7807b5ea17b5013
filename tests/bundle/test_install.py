"""Installation: the wheel with the packages of every runtime as constraints, and what works there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparkds.bundle.rules_of_deployment import runtimes, unmet
from sparkds.bundle.wheels import read_wheel

ROOT = Path(__file__).parents[2]
OLDEST = "serverless-4"
EVERY = [runtime if runtime == OLDEST else pytest.param(runtime, marks=pytest.mark.slow) for runtime in runtimes()]
PURE = ("tests/stats", "tests/test_declaration.py", "tests/test_days.py", "tests/test_hashing.py", "tests/features")


def python_of(version):
    """Interpreter of a version; this one where there is no such."""
    names = [shutil.which(f"python{version}"), *sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))]
    for name in filter(None, names):
        told = subprocess.run(
            [str(name), "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
        if told.returncode == 0 and told.stdout.strip() == version:
            return str(name)
    return sys.executable


def test_requirements_of_the_wheel_are_met_by_every_runtime(wheel):
    told = read_wheel(wheel)
    assert told.name == "sparkds"
    assert "sparkds" in told.entry_points["console_scripts"]
    assert not any(one.startswith(("pyspark", "delta-spark")) and "extra ==" not in one for one in told.requires)
    assert {runtime: unmet(told, runtime) for runtime in runtimes()} == {runtime: [] for runtime in runtimes()}


def test_the_wheel_has_every_module_and_nothing_else(wheel):
    from zipfile import ZipFile

    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "sparkds").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert packed == there


@pytest.mark.parametrize("runtime", EVERY)
def test_the_wheel_installs_with_the_packages_of_a_runtime_and_the_pure_tests_pass_there(tmp_path, wheel, runtime):
    facts = runtimes()[runtime]
    (tmp_path / "constraints.txt").write_text(
        "".join(f"{name}=={version}{'' if version.count('.') > 1 else '.*'}\n" for name, version in facts["packages"].items())
    )
    subprocess.run([python_of(facts["python"]), "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        done = subprocess.run([python, *command], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    run(
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        "constraints.txt",
        f"{wheel}[plots]",
        "mlflow-skinny",
    )
    assert "No broken requirements" in run("-m", "pip", "check")
    versions = run(
        "-c", "import numpy, pandas, scipy, sklearn; print(numpy.__version__, pandas.__version__, scipy.__version__, sklearn.__version__)"
    )
    assert versions.split() == [facts["packages"][name] for name in ("numpy", "pandas", "scipy", "scikit-learn")]
    run(
        "-c",
        "import sparkds, sparkds.stats, sparkds.features, sparkds.experiments.metrics, sparkds.cli; assert sparkds.cli.main(['--version']) == 0",
    )
    run(
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        "constraints.txt",
        "pytest",
        "hypothesis",
        "statsmodels",
    )
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    tests = [path for path in PURE if (ROOT / path).exists()]
    ignored = [f"--ignore={path}" for path in sorted(_needing_more(tmp_path / "tests"), key=str)]
    told = run("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-m", "not spark and not slow", *ignored)
    assert int(told.splitlines()[-1].split(" passed")[0].split()[-1]) > 500, told[-500:]


NOT_THERE = ("pyspark", "duckdb", "fairlearn", "tea_tasting", "lifetimes", "chispa", "mlflow")
ABSENT = """
import importlib, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
for module in sys.argv[2:]:
    try:
        importlib.import_module(module)
    except ImportError:
        print(module)
"""
"""Tells which modules cannot be imported without some packages."""


def _needing_more(folder):
    """Test modules that import, themselves or through the package, what a runtime does not have: Spark, and oracles."""
    paths = {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts): path
        for part in ("stats", "features")
        for path in (folder / part).rglob("test_*.py")
    }
    command = [sys.executable, "-c", ABSENT, ",".join(NOT_THERE), *paths]
    told = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=True).stdout.split()
    mentioned = [path for path in paths.values() if any(f"import {name}" in path.read_text(encoding="utf-8") for name in NOT_THERE)]
    return {*mentioned, *(paths[module] for module in told)}
