"""Wheels: the distribution that a bundle deploys - building it, and what is written in it.

Takes the bundle's artifacts and gives the one wheel with its name, version, requirements and entry points.
"""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from sparkds.bundle.references import Target
from sparkds.errors import ConfigError


@dataclass(frozen=True)
class Wheel:
    """A built distribution.

    Attributes
    ----------
    path : Path
    name, version : str
    requires : tuple of str
        Requirements with extras, as in its metadata.
    requires_python : str
    entry_points : dict of str to dict of str to str
        Group to name to ``module:function``.
    files : frozenset of str
        Paths of what is packed in it.
    """

    path: Path
    name: str
    version: str
    requires: tuple[str, ...]
    requires_python: str
    entry_points: dict[str, dict[str, str]]
    files: frozenset[str] = frozenset()

    @property
    def entry_names(self) -> tuple[str, ...]:
        """Names of all entry points."""
        return tuple(name for group in self.entry_points.values() for name in group)

    def module_of(self, entry: str) -> str:
        """Module of an entry point; empty if there is no such entry point."""
        return next((points[entry].partition(":")[0].strip() for points in self.entry_points.values() if entry in points), "")

    def has_module(self, entry: str) -> bool:
        """Whether the module of an entry point is packed in the wheel."""
        path = self.module_of(entry).replace(".", "/")
        return any(name.startswith((f"{path}.", f"{path}/__init__.")) for name in self.files)


class _EntryPoints(ConfigParser):
    """Names as they are written, not in small letters."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def read_wheel(path: Path) -> Wheel:
    """Metadata of a wheel.

    Raises
    ------
    ConfigError
        It is no wheel.
    """
    try:
        with ZipFile(path) as packed:
            there = frozenset(packed.namelist())
            folder = next(name.split("/")[0] for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = Parser().parsestr(packed.read(f"{folder}/METADATA").decode())
            points = _EntryPoints(delimiters=("=",))
            if f"{folder}/entry_points.txt" in packed.namelist():
                points.read_string(packed.read(f"{folder}/entry_points.txt").decode())
    except (BadZipFile, OSError, StopIteration, KeyError) as error:
        raise ConfigError(f"'{path}' is no wheel: {error or 'it has no metadata'}") from error
    return Wheel(
        path,
        str(metadata["Name"]),
        str(metadata["Version"]),
        tuple(metadata.get_all("Requires-Dist") or ()),
        str(metadata["Requires-Python"] or ""),
        {group: dict(points.items(group)) for group in points.sections()},
        there,
    )


def build(target: Target) -> Path:
    """Run the build command of the bundle's wheel and give the wheel.

    Raises
    ------
    ConfigError
        There is no artifact of type ``whl``; its command fails, or does not leave one wheel.
    """
    key, artifact = _artifact(target)
    folder = _folder(target, artifact)
    command = str(artifact.get("build") or f"{sys.executable} -m pip wheel --quiet --no-deps --wheel-dir dist .")
    if not folder.is_dir():
        raise ConfigError(f"artifact '{key}': its path '{artifact.get('path')}' does not exist (looked for {folder})")
    for old in (folder / "dist").glob("*.whl"):  # a wheel of an earlier version is not the one just built
        old.unlink()
    environment = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ConfigError(f"artifact '{key}': the build command ends with {done.returncode}: {command}\n{told}")
    return built(target)


def built(target: Target) -> Path:
    """The one wheel that is there.

    Raises
    ------
    ConfigError
        There is none, or more than one.
    """
    key, artifact = _artifact(target)
    folder = _folder(target, artifact) / "dist"
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        there = ", ".join(wheel.name for wheel in wheels) or "nothing"
        raise ConfigError(
            f"artifact '{key}': {folder} must hold one wheel (there: {there}); build it: {artifact.get('build') or 'no build is given'}"
        )
    return wheels[0]


def makes_wheel(target: Target) -> bool:
    """Whether the bundle has an artifact of type ``whl``."""
    return any(isinstance(one, dict) and one.get("type") == "whl" for one in (target.tree.get("artifacts") or {}).values())


def _artifact(target: Target) -> tuple[str, dict[str, object]]:
    for key, artifact in (target.tree.get("artifacts") or {}).items():
        if isinstance(artifact, dict) and artifact.get("type") == "whl":
            return str(key), artifact
    raise ConfigError("the bundle has no artifact of type whl, so that there is nothing to install; declare one under artifacts")


def _folder(target: Target, artifact: dict[str, object]) -> Path:
    return (target.document.root / str(artifact.get("path") or ".")).resolve()
