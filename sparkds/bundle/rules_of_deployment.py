"""Rules of deployment: variables, references, files, the wheel and its requirements, schedules, what production and its readers need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sparkds.bundle.documents import Map, Place, spelled, walk
from sparkds.bundle.findings import Broken, View, of_task
from sparkds.bundle.wheels import Wheel
from sparkds.errors import closest

SECTIONS: Final = frozenset(
    {"artifacts", "bundle", "environments", "experimental", "include", "permissions", "presets", "python", "resources", "run_as"}
    | {"scripts", "sync", "targets", "variables", "workspace", "mode"}
)
MODES: Final = ("development", "production")
ADDRESS: Final = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
PATHS: Final = frozenset({"python_file", "notebook_path", "file_path", "source_code_path", "project_directory", "requirements"})
"""Keys whose values are paths that stand relative to their file."""
FILE_PATH: Final = re.compile(r"\$\{workspace\.file_path\}/([^\s${}'\"]+)")
DEPRECATED: Final = {
    "client": "environment_version",
    "spark_submit_task": "python_wheel_task or spark_python_task",
    "served_models": "served_entities",
    "auto_capture_config": "ai_gateway.inference_table_config",
    "python_wheel_wrapper": "a runtime from 13.3 on",
    "no_alert_for_skipped_runs": "notification_settings.no_alert_for_skipped_runs",
    "pydabs": "python",
}
LEGACY_MODES: Final = {"SINGLE_USER": "DATA_SECURITY_MODE_DEDICATED", "USER_ISOLATION": "DATA_SECURITY_MODE_STANDARD"}
MONTHS: Final = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS: Final = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
CRON_KEYS: Final = ("quartz_cron_expression", "quartz_cron_schedule")
QUARTZ: Final = (
    ("seconds", 0, 59, ()),
    ("minutes", 0, 59, ()),
    ("hours", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 1, 7, WEEKDAYS),
    ("year", 1970, 2099, ()),
)


def variables_are_set(view: View) -> Iterator[Broken]:
    """Every variable that is used is declared, and every declared one has a value in the target."""
    for problem in view.target.problems:
        if problem.message.startswith("variable "):
            yield Broken(problem.path, problem.place, problem.message)
    declared = view.target.raw.get("variables") or Map()
    for name, value in view.target.variables.items():
        if value is None:
            of_target = f"targets.{view.target.name}.variables"
            told = f"variable '{name}' has no value in target '{view.target.name}'; set it under {of_target}, or give it a default or --var"
            yield Broken(f"variables.{name}", declared.places.get(name), told)


def references_exist(view: View) -> Iterator[Broken]:
    """What ``${…}`` names is in the bundle."""
    for problem in view.target.problems:
        if not problem.message.startswith("variable "):
            yield Broken(problem.path, problem.place, problem.message)


def sections_are_known(view: View) -> Iterator[Broken]:
    """Top-level keys and the mode are those that the CLI knows; other mappings may hold YAML anchors."""
    tree = view.target.raw
    for key, value in tree.items():
        if key not in SECTIONS and (not isinstance(value, Map) or _is_typo(key)):
            yield Broken(key, tree.places.get(key), f"there is no section '{key}'{closest(key, SECTIONS)}")
    if view.target.mode and view.target.mode not in MODES:
        told = f"mode '{view.target.mode}' is none of {', '.join(MODES)}{closest(view.target.mode, MODES)}"
        yield Broken(f"targets.{view.target.name}.mode", tree.places.get("mode"), told)


def _is_typo(key: str) -> bool:
    """Whether a section is one of `SECTIONS` but for a letter or two; `common_permissions` is a name for anchors."""
    return any(SequenceMatcher(None, key, name).ratio() > 0.85 for name in SECTIONS)


def files_exist(view: View) -> Iterator[Broken]:
    """Notebooks, Python files and other paths that stand relative to the file that names them exist, and so do synchronised files."""
    for path, value, _ in walk(view.target.tree.get("resources") or Map(), ("resources",)):
        if not isinstance(value, Map) or value.get("source") == "GIT" or "git_source" in value:
            continue
        for key, told in value.items():
            is_path = key in PATHS or (key == "path" and path[-1] in ("file", "notebook"))
            if not (is_path and isinstance(told, str)) or "${" in told or told.startswith("/") or ":" in told:
                continue
            at = (view.root / _folder(value.places.get(key)) / told).resolve()
            if not (at.exists() or any(at.with_name(at.name + ending).exists() for ending in (".py", ".ipynb", ".sql"))):
                yield Broken(spelled((*path, key)), value.places.get(key), f"{key} '{told}' does not exist (looked for {at})")
    excluded = [str(pattern) for pattern in (view.target.tree.get("sync") or Map()).get("exclude") or ()]
    for path, value, place in walk(view.target.raw.get("resources") or Map(), ("resources",)):
        for told in FILE_PATH.findall(value) if isinstance(value, str) else ():
            pattern = next((one for one in excluded if fnmatch(told, one)), "")
            if not (view.root / told).exists():
                yield Broken(spelled(path), place, f"'{told}' does not exist below the bundle's folder, so that nothing is synchronised")
            elif pattern:
                yield Broken(spelled(path), place, f"'{told}' is excluded by sync.exclude '{pattern}', so that it is not deployed")


def _folder(place: Place | None) -> str:
    return "" if place is None or "/" not in place.file else place.file.rsplit("/", 1)[0]


def _local_wheels(view: View) -> Iterator[tuple[str, str, Place | None]]:
    """Patterns of wheels that jobs install: where, pattern, place."""
    for path, value, place in walk(view.target.tree.get("resources") or Map(), ("resources",)):
        if (
            isinstance(value, str)
            and value.split("[")[0].endswith(".whl")
            and not value.startswith(("/", "dbfs:", "s3:", "http"))
            and "${" not in value
        ):
            yield spelled(path), value, place


def wheels_match(view: View) -> Iterator[Broken]:
    """Every local wheel that a job installs is the wheel just built, and it can be built."""
    wanted = list(_local_wheels(view))
    if view.wheel is None:
        if wanted or view.wheel_problem:
            where, _, place = wanted[0] if wanted else ("artifacts", "", None)
            yield Broken(where, place, view.wheel_problem or "the bundle has no artifact of type whl that this could be; declare one")
        return
    for where, pattern, place in wanted:
        matches = _matches(view.root / _folder(place), pattern.split("[")[0])
        if [match.resolve() for match in matches] != [view.wheel.path.resolve()]:
            there = ", ".join(match.name for match in matches) or "nothing"
            yield Broken(where, place, f"'{pattern}' matches {there}; it must match the wheel just built, {view.wheel.path.name}")


def _matches(folder: Path, pattern: str) -> list[Path]:
    folder = folder.resolve()
    while pattern.startswith(("../", "./")):
        folder, pattern = (folder.parent, pattern[3:]) if pattern.startswith("../") else (folder, pattern[2:])
    return sorted(folder.glob(pattern))


def entry_points_exist(view: View) -> Iterator[Broken]:
    """Package and entry point of a wheel task are those of the wheel."""
    if view.wheel is None:
        return
    for job, _, task in view.tasks():
        if task.kind != "python_wheel_task":
            continue
        package, entry = str(task.body.get("package_name", "")), str(task.body.get("entry_point", ""))
        if _same(package) != _same(view.wheel.name):
            told = f"package_name '{package}' is not the wheel's distribution '{view.wheel.name}'"
            yield Broken(of_task(job, task), task.body.places.get("package_name"), told)
        elif entry not in view.wheel.entry_names:
            names = view.wheel.entry_names
            told = f"entry point '{entry}' is not in {view.wheel.path.name}{closest(entry, names)} (there: {', '.join(names) or 'none'})"
            yield Broken(of_task(job, task), task.body.places.get("entry_point"), told)
        elif not view.wheel.has_module(entry):
            module = view.wheel.module_of(entry)
            told = f"entry point '{entry}' is in module '{module}', which {view.wheel.path.name} does not have; mend its packages"
            yield Broken(of_task(job, task), task.body.places.get("entry_point"), told)


def _same(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def runtimes() -> dict[str, dict[str, Any]]:
    """Packages of runtimes, by their key.

    Examples
    --------
    >>> runtimes()["serverless-4"]["packages"]["mlflow-skinny"]
    '2.22.0'
    """
    told: dict[str, dict[str, Any]] = yaml.safe_load(files("sparkds.bundle").joinpath("runtimes.yml").read_text(encoding="utf-8"))
    return {key: {**facts, "packages": {name: str(v) for name, v in facts["packages"].items()}} for key, facts in told.items()}


def unmet(wheel: Wheel, runtime: str) -> list[str]:
    """Requirements of a wheel that a runtime's packages do not satisfy, as sentences.

    Raises
    ------
    KeyError
        Nothing is known of the runtime.
    """
    facts = runtimes()[runtime]
    told = []
    if wheel.requires_python and not SpecifierSet(wheel.requires_python).contains(f"{facts['python']}.0"):
        told.append(f"Python {wheel.requires_python} is not met by {facts['name']}, which has {facts['python']}")
    for text in wheel.requires:
        requirement = Requirement(text)
        there = facts["packages"].get(_same(requirement.name))
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": "", "python_version": facts["python"]}):
            continue
        if there is not None and not requirement.specifier.contains(Version(there), prereleases=True):
            told.append(f"{requirement.name} {requirement.specifier} is not met by {facts['name']}, which has {there}")
    return told


def used_runtimes(view: View) -> dict[str, tuple[str, Place | None]]:
    """Runtimes of the target's jobs with where they are named."""
    told: dict[str, tuple[str, Place | None]] = {}
    for path, value, place in walk(view.target.tree.get("resources") or Map(), ("resources",)):
        if path[-1] == "environment_version":
            told.setdefault(f"serverless-{value}", (spelled(path), place))
        elif path[-1] == "spark_version" and isinstance(value, str):
            told.setdefault(value.replace("-cpu-ml", "").replace("-gpu-ml", "").replace("-photon", ""), (spelled(path), place))
    return told


def requirements_are_met(view: View) -> Iterator[Broken]:
    """What the wheel requires is what the runtimes of the target's jobs bring."""
    if view.wheel is None:
        return
    for runtime, (where, place) in used_runtimes(view).items():
        if runtime not in runtimes():
            known = ", ".join(runtimes())
            yield Broken(where, place, f"nothing is known of runtime '{runtime}'{closest(runtime, runtimes())} (known: {known})")
            continue
        for sentence in unmet(view.wheel, runtime):
            yield Broken(where, place, f"{sentence}; lower the bound in the wheel, or choose another runtime")


def schedules_are_quartz(view: View) -> Iterator[Broken]:
    """Schedules of jobs, monitors, alerts have six or seven fields of Quartz, exactly one of the two days ``?``, and a time zone."""
    for path, schedule, place in walk(view.target.tree.get("resources") or Map(), ("resources",)):
        if path[-1] != "schedule" or not isinstance(schedule, Map):
            continue
        where, key = spelled(path), next((name for name in CRON_KEYS if name in schedule), CRON_KEYS[0])
        text = str(schedule.get(key, ""))
        problem = quartz_problem(text)
        if problem and "${" not in text:
            yield Broken(where, schedule.places.get(key, place), f"'{text}': {problem}")
        zone = str(schedule.get("timezone_id", ""))
        if "${" not in zone and zone not in _zones():
            told = f"timezone_id '{zone}' is no IANA time zone{closest(zone, _zones())}"
            yield Broken(where, schedule.places.get("timezone_id", place), told)


@cache
def _zones() -> frozenset[str]:
    from zoneinfo import available_timezones

    return frozenset(available_timezones())


def quartz_problem(text: str) -> str:
    """What is wrong with a Quartz expression; empty if nothing.

    Examples
    --------
    >>> quartz_problem("0 30 4 * * ?"), quartz_problem("30 4 * * *")
    ('', 'it has 5 fields; Quartz has seconds, minutes, hours, day of month, month, day of week and perhaps a year')
    """
    fields = text.split()
    if len(fields) not in (6, 7):
        return f"it has {len(fields)} fields; Quartz has seconds, minutes, hours, day of month, month, day of week and perhaps a year"
    if (fields[3] == "?") == (fields[5] == "?"):
        return "exactly one of day of month and day of week must be '?'"
    for (name, low, high, words), told in zip(QUARTZ, fields, strict=False):
        for part in told.split(","):
            if not _is_quartz(part, low, high, words, days=name.startswith("day")):
                return f"{name} '{told}' is not in {low} to {high}, a range, a step or *"
    return ""


def _is_quartz(part: str, low: int, high: int, words: Any, *, days: bool) -> bool:
    if part == "*" or (days and re.fullmatch(r"\?|L|LW|L-\d+|\d+[LW]|[A-Z0-9]{1,3}#[1-5]|(SUN|MON|TUE|WED|THU|FRI|SAT)L", part)):
        return True
    body, slash, step = part.partition("/")
    if slash and not (step.isdigit() and 0 < int(step) <= high):
        return False
    if body == "*":
        return True
    ends = body.split("-")
    return len(ends) <= 2 and all(end.upper() in words or (end.isdigit() and low <= int(end) <= high) for end in ends)


def production_is_guarded(view: View) -> Iterator[Broken]:
    """In production: an own root path, permissions for groups, no user, every job run by a service principal, released wheels."""
    tree, name = view.target.raw, view.target.name
    if view.target.mode != "production":
        return
    at = tree.places.get("mode")
    workspace = view.target.document.targets[name].get("workspace") or Map()
    where = f"targets.{name}.workspace.root_path"
    if "root_path" not in workspace:
        yield Broken(where, at, "mode production needs a workspace.root_path of the target, a folder that all deployers share")
    elif "current_user" in str(workspace["root_path"]) or "/Users/" in str(workspace["root_path"]):
        told = "root_path of production stands in a user's folder; use one below /Workspace/Shared, or the principal's"
        yield Broken(where, workspace.places.get("root_path"), told)
    if not tree.get("permissions"):
        told = "production has no permissions; name the group that may manage and the one that may view"
        yield Broken(f"targets.{name}.permissions", at, told)
    for section in ("resources", "permissions", "run_as"):
        for path, value, place in walk(view.target.tree.get(section), (section,)):
            if path[-1] in ("user_name", "single_user_name") and isinstance(value, str):
                yield Broken(spelled(path), place, f"{path[-1]} in production; name a group or a service principal")
    dynamic = [
        ("presets", "artifacts_dynamic_version"),
        *(("artifacts", key, "dynamic_version") for key in view.target.tree.get("artifacts") or ()),
    ]
    for path, value, place in (one for section in ("presets", "artifacts") for one in walk(view.target.tree.get(section), (section,))):
        if path in dynamic and value is True:
            told = f"{path[-1]} in production makes a new wheel of every deployment; deploy a released version"
            yield Broken(spelled(path), place or at, told)
    for job, told_of in view.jobs.items():
        run_as = told_of.get("run_as") or view.target.tree.get("run_as")
        if not (isinstance(run_as, Map) and run_as.get("service_principal_name")):
            told = "the job has no run_as.service_principal_name, which production needs"
            yield Broken(f"resources.jobs.{job}.run_as", told_of.place or at, told)


def addresses_are_absent(view: View) -> Iterator[Broken]:
    """No person's mail address stands in the bundle; addresses are variables without one in the file."""
    of_target = view.target.document.targets[view.target.name].get("variables")
    for path, value, place in (*walk(view.target.raw), *walk(of_target, ("targets", view.target.name, "variables"))):
        if isinstance(value, str) and path[:2] != ("workspace", "current_user") and ADDRESS.search(value):
            told = f"'{value}' is a person's or list's address; make it a variable that is given at deployment"
            yield Broken(spelled(path), place, told)


def nothing_is_deprecated(view: View) -> Iterator[Broken]:
    """No field that the platform has replaced."""
    for section in ("resources", "experimental"):
        for path, value, place in walk(view.target.tree.get(section), (section,)):
            name = path[-1]
            if name in DEPRECATED and (name != "client" or "spec" in path):
                yield Broken(spelled(path), place, f"{name} is deprecated; use {DEPRECATED[str(name)]}")
            elif name == "data_security_mode" and value in LEGACY_MODES:
                told = f"data_security_mode {value} is an old name; use {LEGACY_MODES[value]} or DATA_SECURITY_MODE_AUTO"
                yield Broken(spelled(path), place, told)
            elif name == "environment_version" and not isinstance(value, str):
                yield Broken(spelled(path), place, f'environment_version {value} is a number; write it as a text: "{value}"')
