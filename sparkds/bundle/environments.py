"""Environments: a clean virtual environment with the wheel that was just built and what it requires, and nothing of this checkout.

It is made once per set of requirements; the wheel is put in anew each time.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from sparkds.bundle.wheels import Wheel
from sparkds.errors import ConfigError

EXTRAS: Final = ("local", "plots")
"""Extras of the wheel that a local run needs, where the wheel has them: Spark itself, and figures."""
LOCK: Final = "requirements/lock.txt"
"""Pins of the bundle's own tests, where it has them."""


def environment(wheel: Wheel, *, root: Path, folder: Path) -> Path:
    """Interpreter of an environment in which the wheel is installed.

    Parameters
    ----------
    wheel : Wheel
    root : Path
        Of the bundle; its ``requirements/lock.txt`` constrains what is installed.
    folder : Path
        Holds environments, by a digest of what is in them.

    Raises
    ------
    ConfigError
        Something cannot be installed.
    """
    lock = root / LOCK
    constraints = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    told = "\n".join((platform.python_version(), constraints, *sorted(wheel.requires)))
    place = folder / f"venv-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    python, ready = place / "bin" / "python", place / ".ready"
    if not ready.exists():
        shutil.rmtree(place, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(place)])
        extras = [name for name in EXTRAS if any(re.search(rf"extra == ['\"]{name}['\"]", one) for one in wheel.requires)]
        what = f"{wheel.path}[{','.join(extras)}]" if extras else str(wheel.path)
        _run([*_installer(python), *(["--constraint", str(lock)] if constraints else []), what])
        ready.touch()
    _run([*_installer(python), "--no-deps", "--force-reinstall", str(wheel.path)])
    return python


def _installer(python: Path) -> list[str]:
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise ConfigError(f"the environment of the wheel cannot be made: {' '.join(command)}\n{told}")
