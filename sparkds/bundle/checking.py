"""Check: all rules over all targets of a bundle, without a workspace.

Takes a folder and gives findings; a rule is a function of a `View` in a module of rules and one line of `RULES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sparkds.bundle import rules_of_deployment as deployment
from sparkds.bundle import rules_of_names as names
from sparkds.bundle import rules_of_workflows as workflows
from sparkds.bundle.documents import read_bundle
from sparkds.bundle.findings import Finding, Rule, View
from sparkds.bundle.local_inputs import input_tables, local_run_of, task_tables
from sparkds.bundle.references import Target, resolved
from sparkds.bundle.typed_models import resources_are_typed
from sparkds.bundle.wheels import Wheel, build, built, makes_wheel, read_wheel
from sparkds.bundle.workflow import tasks_of
from sparkds.errors import ConfigError, closest

RULES: Final[Mapping[str, Rule]] = {
    "sections": deployment.sections_are_known,
    "variables": deployment.variables_are_set,
    "references": deployment.references_exist,
    "types": resources_are_typed,
    "deprecated": deployment.nothing_is_deprecated,
    "keys": workflows.keys_resolve,
    "cycles": workflows.graphs_are_acyclic,
    "dynamic values": workflows.dynamic_values_are_known,
    "arguments": workflows.arguments_are_texts,
    "commands": workflows.parameters_parse,
    "tables": workflows.tables_have_writers,
    "files": deployment.files_exist,
    "wheels": deployment.wheels_match,
    "entry points": deployment.entry_points_exist,
    "requirements": deployment.requirements_are_met,
    "schedules": deployment.schedules_are_quartz,
    "traffic": workflows.traffic_sums_to_100,
    "catalogs": names.catalogs_are_variables,
    "addresses": deployment.addresses_are_absent,
    "production": deployment.production_is_guarded,
}
"""Rules by the name that a finding has."""


def check(
    path: str | Path,
    *,
    targets: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    builds: bool = True,
    inputs: str | Path | None = None,
) -> list[Finding]:
    """Hold a bundle against all rules.

    Parameters
    ----------
    path : str or Path
        Folder of ``databricks.yml``.
    targets : sequence of str
        All if empty.
    variables : mapping of str to str, optional
        Values that are given at deployment.
    builds : bool
        Build the wheel first; else the one in ``dist/`` is taken.
    inputs : path, optional
        Declaration of the tables that are there before any job; ``local_run.yml`` of the bundle if absent.

    Raises
    ------
    ConfigError
        There is no bundle or target, or a file cannot be read.

    Examples
    --------
    >>> check(".", targets=["dev"])  # doctest: +SKIP
    []
    """
    document = read_bundle(path)
    declared = local_run_of(document.root, inputs)
    wheel: Wheel | None = None
    problem, found = "", list[Finding]()
    for i, name in enumerate(targets or document.target_names):
        target = resolved(document, name, variables=variables, workspace={"file_path": str(document.root)})
        if i == 0:
            wheel, problem = _wheel(target, builds)
        try:
            tables, of_tasks = input_tables(declared, target), task_tables(declared, target)
        except ConfigError as error:
            found.append(Finding("inputs", name, "inputs", "", str(error)))
            tables, of_tasks = (), {}
        told = {f"{job}.{task.key}" for job, tree in target.resources("jobs").items() for task in tasks_of(tree)}
        for key in of_tasks.keys() - told:
            nothing = f"tasks.{key}: the target has no such task{closest(key, told)}; mend the name, or take it out"
            found.append(Finding("inputs", name, f"tasks.{key}", "", nothing))
        view = View(target, wheel, problem, tables, of_tasks)
        for rule, holds in RULES.items():
            for broken in holds(view):
                place = "" if broken.place is None or not broken.place.file else str(broken.place)
                found.append(Finding(rule, name, broken.where, place, broken.message))
    return list(dict.fromkeys(found))


def _wheel(target: Target, builds: bool) -> tuple[Wheel | None, str]:
    if not makes_wheel(target):
        return None, ""  # a bundle need not have one; a job that installs one without is told by the rule
    try:
        return read_wheel(build(target) if builds else built(target)), ""
    except ConfigError as error:
        return None, str(error)
