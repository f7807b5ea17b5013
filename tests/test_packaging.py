"""The distribution: light requirements, a lock that agrees with them, a wheel that works alone, a set-up that explains itself."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import sparkds

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "lock.txt"
REQUIREMENTS = [Requirement(text) for text in metadata.requires("sparkds") or []]

# what the oldest supported runtimes bring: Databricks Runtime 17.3 LTS, and serverless environment 4 with the same numbers
RUNTIME = {
    "numpy": "2.1.3",
    "pandas": "2.2.3",
    "pyarrow": "19.0.1",
    "pydantic": "2.10.6",
    "click": "8.1.7",
    "pyyaml": "6.0.2",
    "tzdata": "2024.1",
    "scipy": "1.15.1",
    "scikit-learn": "1.6.1",
    "packaging": "24.1",
}


def in_extra(requirement, extra):
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def requirements_of(extra):
    return {wanted.name.lower(): wanted.specifier for wanted in REQUIREMENTS if wanted.marker and in_extra(wanted, extra)}


def base_requirements():
    return {wanted.name.lower(): wanted.specifier for wanted in REQUIREMENTS if in_extra(wanted, "")}


def locked():
    """Package to its one pinned version."""
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pins = dict(line.split(";")[0].strip().lower().replace("_", "-").split("==") for line in lines)
    assert len(pins) == len(lines)
    return pins


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


def python(code):
    """Run code in a fresh interpreter; its standard output."""
    ended = run(sys.executable, "-c", code)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_metadata_and_package_say_the_same_version():
    assert metadata.version("sparkds") == sparkds.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", sparkds.__version__)


def test_base_requirements_never_bring_spark_or_delta():
    assert "numpy" in base_requirements()
    assert not {"pyspark", "delta-spark", "databricks-connect", "mlflow"} & set(base_requirements())


def test_base_requirements_are_lower_bounds_that_the_runtime_satisfies():
    for name, specifier in base_requirements().items():
        assert specifier.contains(RUNTIME[name]), f"{name}{specifier} refuses the runtime's {RUNTIME[name]}"
        assert "==" not in str(specifier)


def test_the_local_extra_pins_the_spark_and_delta_that_belong_together():
    assert {name: str(specifier) for name, specifier in requirements_of("local").items()} == {
        "pyspark": "==4.2.0",
        "delta-spark": "==4.4.0",
        "mlflow": "==3.17.2",
    }


@pytest.mark.parametrize("extra", ["", "local", "plots", "tune", "dev"])
def test_the_lock_pins_what_is_required(extra):
    wanted = requirements_of(extra) if extra else base_requirements()
    assert wanted
    pins = locked()
    for name, specifier in wanted.items():
        assert specifier.contains(pins[name]), f"{name}{specifier} is not met by {pins[name]}; make lock"


def test_the_lock_keeps_the_versions_known_to_work_together():
    pins = locked()
    known = [Requirement(line.split("#")[0]) for line in (LOCK.parent / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    assert len(known) >= 4
    for wanted in known:
        assert wanted.specifier.contains(pins[wanted.name])


def test_the_lock_names_no_host_and_no_path():
    assert not re.search(r"://|@ |--index|--find-links|/", LOCK.read_text(encoding="utf-8"))


def test_what_is_installed_here_is_what_is_locked():
    pins = locked()
    installed = {name: metadata.version(name) for name in ("pyspark", "delta-spark", "numpy", "pandas", "pyarrow", "pydantic")}
    assert installed == {name: pins[name] for name in installed}


def test_spark_submit_gets_the_settings_of_a_local_session():
    # in a process of its own: the session fixture changes the settings in this one
    local = json.loads(python("import json; from sparkds.sessions import LOCAL_CONF; print(json.dumps(LOCAL_CONF))"))
    lines = (ROOT / "conf" / "spark-defaults.conf").read_text(encoding="utf-8").splitlines()
    assert dict(line.split(None, 1) for line in lines if line and not line.startswith("#")) == local


def test_the_delta_jar_is_the_one_of_the_delta_package():
    from sparkds.sessions import DELTA_PACKAGE

    spark = ".".join(locked()["pyspark"].split(".")[:2])
    assert f"io.delta:delta-spark_{spark}_2.13:{locked()['delta-spark']}" == DELTA_PACKAGE


def test_importing_the_package_loads_neither_spark_nor_pandas():
    loaded = python("import sys, sparkds, sparkds.features; print([m for m in ('pyspark', 'pandas', 'matplotlib') if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_help_works_without_spark():
    without = "import sys; sys.modules['pyspark'] = sys.modules['delta'] = None; from sparkds.cli import main; main(['--help'])"
    assert "feature_engineering_pipeline" in python(without)


def test_make_help_tells_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split())
    told = run("make", "-s", "help", cwd=ROOT)
    assert told.returncode == 0, told.stderr
    assert {line.split()[1] for line in told.stdout.splitlines()} == targets


def bare_machine(directory):
    """Directory for a PATH that has a shell's tools but no Python, no Java and no package manager."""
    directory.mkdir()
    for tool in ("bash", "dirname", "mktemp", "rm", "sed", "head", "tail", "readlink", "id", "grep"):
        (directory / tool).symlink_to(shutil.which(tool))
    return directory


def setup_with(path, tmp_path, **variables):
    environment = {"PATH": str(path), "HOME": str(tmp_path), "TMPDIR": str(tmp_path), **variables}
    return run("bash", ROOT / "scripts" / "setup.sh", tmp_path / "venv", env=environment)


def test_setup_says_what_to_install_when_there_is_no_python(tmp_path):
    ended = setup_with(bare_machine(tmp_path / "bin"), tmp_path)
    assert ended.returncode == 1
    assert "Python 3.11 or newer was not found" in ended.stderr
    assert "sudo apt-get install python3.11 python3.11-venv" in ended.stderr
    assert not (tmp_path / "venv").exists()


def test_setup_refuses_a_python_that_is_too_old(tmp_path):
    tools = bare_machine(tmp_path / "bin")
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # what an old interpreter answers to the version question
    (tools / "python3").chmod(0o755)
    ended = setup_with(tools, tmp_path)
    assert ended.returncode == 1
    assert "Python 3.11 or newer was not found" in ended.stderr


def test_setup_says_what_to_install_when_python_cannot_make_environments(tmp_path):
    tools = bare_machine(tmp_path / "bin")
    answers = 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.11;; esac'  # as Debian's python3 without python3-venv
    (tools / "python3").write_text(f"#!/bin/sh\n{answers}\n")
    (tools / "python3").chmod(0o755)
    ended = setup_with(tools, tmp_path)
    assert ended.returncode == 1
    assert "sudo apt-get install python3.11-venv" in ended.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Wheel built from a copy of what a release holds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "sparkds", source / "sparkds", ignore=shutil.ignore_patterns("__pycache__"))
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(target.glob("*.whl"))


@pytest.mark.slow
@pytest.mark.packaging
def test_the_wheel_holds_every_module_and_the_data(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "sparkds").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert "sparkds/py.typed" in sources
    assert "sparkds/datasets/CDNOW_master.txt" in sources
    assert sources - held == set()
    assert {name.split("/")[0] for name in held} == {"sparkds", f"sparkds-{sparkds.__version__}.dist-info"}


@pytest.mark.slow
@pytest.mark.packaging
def test_the_wheel_works_alone_in_an_empty_environment(wheel, tmp_path):
    home = tmp_path / "venv"
    made = run(sys.executable, "-m", "venv", "--without-pip", home)
    assert made.returncode == 0, made.stderr
    installed = run(sys.executable, "-m", "pip", "--python", home, "install", "-q", "-c", LOCK, wheel)
    assert installed.returncode == 0, installed.stderr

    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}

    def there(*command):
        ended = run(*command, cwd=tmp_path, env=environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    interpreter = home / "bin" / "python"
    assert there(interpreter, "-c", "import importlib.util as u; print(u.find_spec('pyspark'), u.find_spec('delta'))") == "None None\n"
    assert there(home / "bin" / "sparkds", "--version").strip().endswith(sparkds.__version__)
    assert "feature_engineering_pipeline" in there(interpreter, "-m", "sparkds", "--help")
    declared = "from sparkds.features import Count, FeatureSet, Sum; print(Sum(column='amount').kind)"
    assert there(interpreter, "-W", "error", "-c", declared) == "sum\n"
    assert there(interpreter, "-c", "from sparkds.datasets import cdnow; print(len(cdnow()))") == "69659\n"
