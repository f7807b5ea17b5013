"""Processes: one piece of work of a local run as a process of its own, in the environment of the wheel.

Takes what the engine wants done and gives what came of it; output goes to files, a process that hangs is ended with all its children.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sparkds import task_values
from sparkds.bundle.engine import FAILED, SUCCESS, TIMED_OUT, Done, Work
from sparkds.errors import ConfigError

ENTRY: Final = Path(__file__).with_name("task_entry.py")
PATIENCE: Final = 15.0
"""Seconds that a process has to end after it was told to."""
UNKNOWN_PLACES: Final = ("PYTHONPATH", "SPARK_HOME", "SPARK_REMOTE", "MASTER", "MLFLOW_TRACKING_URI", "SPARKDS_WIDGETS")
"""Variables of this shell that a task in a workspace would not have."""


@dataclass(frozen=True)
class Processes:
    """Where and how the processes of a run work.

    Attributes
    ----------
    python : Path
        Interpreter of the wheel's environment.
    catalogs : Path
        Folder that stands in for catalogs and volumes.
    logs : Path
        Folder of outputs and task values.
    session : {"classic", "connect"}
    refuses : bool
        Whether the session refuses what serverless compute refuses.
    """

    python: Path
    catalogs: Path
    logs: Path
    session: Literal["classic", "connect"] = "classic"
    refuses: bool = False

    def __call__(self, work: Work) -> Done:
        """Do one piece of work."""
        self.logs.mkdir(parents=True, exist_ok=True)
        told = self.logs / f"{work.name}.values.json"
        told.unlink(missing_ok=True)
        log = self.logs / f"{work.name}.log"
        cwd = self.logs / "cwd"  # nothing may depend on the working directory
        cwd.mkdir(exist_ok=True)
        with log.open("ab") as stream, (self.logs / f"{work.name}.out").open("wb") as out:
            process = subprocess.Popen(
                [str(self.python), str(ENTRY), *self._arguments(work)],
                cwd=cwd,
                env=self._environment(work, told),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=stream,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=None if math.isinf(work.timeout) else work.timeout)
            except subprocess.TimeoutExpired:
                _end(process)
                return Done(TIMED_OUT, f"ended after its timeout of {work.timeout:g} s; see {log}")
            except BaseException:
                _end(process)
                raise
        values: Mapping[str, object] = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
        if code:
            return Done(FAILED, f"exit code {code}: {_last_words(self.logs / f'{work.name}.out', log)}; see {log}", values)
        return Done(SUCCESS, "", values)

    def _arguments(self, work: Work) -> list[str]:
        body = work.body
        parameters = [str(value) for value in body.get("parameters") or ()]
        if work.kind == "python_wheel_task":
            named = [f"--{key}={value}" for key, value in (body.get("named_parameters") or {}).items()]
            return ["wheel", str(body["package_name"]), str(body["entry_point"]), *parameters, *named]
        if work.kind == "spark_python_task":
            return ["file", str(body["python_file"]), *parameters]
        if work.kind == "notebook_task":
            return ["notebook", str(body["notebook_path"])]
        raise ConfigError(f"task '{work.name}': a {work.kind or 'task of unknown kind'} cannot run without a workspace")

    def _environment(self, work: Work, told: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in UNKNOWN_PLACES and not name.startswith("SPARKDS__")}
        kept |= {
            "SPARKDS_CATALOGS": str(self.catalogs),
            task_values.FILE: str(told),
            "PYSPARK_PYTHON": str(self.python),
            "PATH": os.pathsep.join((str(Path(self.python).parent), os.environ.get("PATH", ""))),
        }
        if self.session == "connect":
            kept["SPARK_REMOTE"] = "local[*]"
        if self.refuses:
            kept["SPARKDS_SERVERLESS"] = "1"
        if work.kind == "notebook_task":
            kept["SPARKDS_WIDGETS"] = json.dumps(dict(work.body.get("base_parameters") or {}))
        return kept


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all its children: first kindly."""
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM:
            _kill_rest(process.pid)
        return


def _kill_rest(group: int) -> None:
    """End children that have outlived the process, e.g. a JVM."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _last_words(out: Path, log: Path) -> str:
    """Message of the status object on standard output, else the last line of the log."""
    for line in reversed(out.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            error = json.loads(line).get("error")
        except (ValueError, AttributeError):
            continue
        if error:
            return f"{error['type']}: {error['message']}"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
