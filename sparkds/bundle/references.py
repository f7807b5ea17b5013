"""References: what ``${…}`` in a bundle's target means, as far as it is known before anything is deployed.

Takes the tree of a target and gives one whose variables and fields are values; what only the workspace knows (ids, who deploys, what a
lookup finds) stays a reference, and what nothing declares is a problem with its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sparkds.bundle.documents import Document, Items, Map, Place, of_target, spelled
from sparkds.errors import ConfigError, closest

REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_.\-\[\]]*)\}")
KNOWN_LATER: Final = frozenset(
    {"id", "url", "full_name", "model_serving_url", "storage_location", "arn", "modified_status", "space_id", "endpoint_id", "dashboard_id"}
)
"""Fields of a resource that the workspace gives when it is made."""
LATER: Final = ("workspace.current_user.", "bundle.git.", "workspace.host", "workspace.profile")
DEEPEST: Final = 30
USER: Final = {"userName": "someone@localhost", "short_name": "someone", "domain_friendly_name": "someone-localhost"}
"""The deploying user of a check or a local run."""


class Problem(NamedTuple):
    """A reference or variable that has no meaning.

    Attributes
    ----------
    message : str
    path : str
        Of the value that has it.
    place : Place or None
    """

    message: str
    path: str
    place: Place | None


@dataclass(frozen=True)
class Target:
    """One target, resolved.

    Attributes
    ----------
    name : str
    document : Document
    tree : Map
        Values in place of references.
    raw : Map
        The same with references.
    variables : dict of str to Any
        Values; None where none is set, a ``${var.…}`` where a lookup finds it in the workspace.
    problems : list of Problem
    """

    name: str
    document: Document
    tree: Map
    raw: Map
    variables: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)

    @property
    def mode(self) -> str:
        """development, production, or empty."""
        return str(self.tree.get("mode") or "")

    def resources(self, kind: str) -> dict[str, Map]:
        """Resources of a kind by key."""
        told = (self.tree.get("resources") or {}).get(kind) or {}
        return {key: value for key, value in told.items() if isinstance(value, Map)}


def resolved(
    document: Document, target: str, *, variables: Mapping[str, str] | None = None, workspace: Mapping[str, str] | None = None
) -> Target:
    """Resolve a target.

    Parameters
    ----------
    document : Document
    target : str
    variables : mapping of str to str, optional
        Values that win over the target's and the defaults, as ``--var`` gives them.
    workspace : mapping of str to str, optional
        Fields of ``workspace`` that win, e.g. the ``file_path`` of a local run.

    Raises
    ------
    ConfigError
        There is no such target, or no such variable.

    Examples
    --------
    >>> resolved(read_bundle("."), "dev").variables["catalog"]  # doctest: +SKIP
    'dev'
    """
    raw = of_target(document, target)
    declared = raw.get("variables") or Map()
    overlay = document.targets[target].get("variables") or Map()
    for name in variables or {}:
        if name not in declared:
            raise ConfigError(f"no variable '{name}'{closest(name, declared)} (variables: {', '.join(declared) or 'none'})")
    problems: list[Problem] = []
    told: dict[str, Any] = {}
    for name, declaration in declared.items():
        told[name] = _declared_value(name, declaration)
        if name in overlay:
            told[name] = _overlaid(name, overlay[name])
        if name in (variables or {}):
            told[name] = (variables or {})[name]
    for name in overlay:
        if name not in declared:
            hint = closest(name, declared)
            problems.append(
                Problem(f"variable '{name}' is set but not declared{hint}", f"targets.{target}.variables.{name}", overlay.places.get(name))
            )
    bundle = merged_copy(raw.get("bundle") or Map())
    bundle["target"] = bundle["environment"] = target
    space = merged_copy(raw.get("workspace") or Map())
    space["current_user"] = Map(USER)
    space.setdefault("root_path", "/Workspace/Users/${workspace.current_user.userName}/.bundle/${bundle.name}/${bundle.target}")
    for key, folder in (("file_path", "files"), ("artifact_path", "artifacts"), ("resource_path", "resources"), ("state_path", "state")):
        space.setdefault(key, "${workspace.root_path}/" + folder)
    for key, value in (workspace or {}).items():
        space[key] = value
    top = Map(raw, place=raw.place, places=raw.places)
    top["bundle"], top["workspace"] = bundle, space
    resolver = _Resolver(top, told, problems)
    top["resources"] = _prefixed(top, resolver)
    values = {key: resolver.tree(value, (key,), raw.places.get(key)) for key, value in top.items() if key != "variables"}
    tree = Map(values, place=raw.place, places=raw.places)
    known = {name: resolver.tree(value, ("variables", name), declared.places.get(name)) for name, value in told.items()}
    return Target(target, document, tree, top, known, problems)


def merged_copy(tree: Map) -> Map:
    """Map of its own with the same values and places."""
    return Map(tree, place=tree.place, places=tree.places)


def _declared_value(name: str, declaration: Any) -> Any:
    if not isinstance(declaration, Map):
        return declaration  # name: value, the short form
    if "lookup" in declaration:
        return f"${{var.{name}}}"
    return declaration.get("default")


def _overlaid(name: str, value: Any) -> Any:
    if isinstance(value, Map) and set(value) <= {"default", "lookup", "type", "description"} and set(value) & {"default", "lookup"}:
        return _declared_value(name, value)
    return value


class _Resolver:
    """References of one tree."""

    def __init__(self, top: Map, variables: Mapping[str, Any], problems: list[Problem]) -> None:
        self.top, self.variables, self.problems = top, variables, problems
        self.seen: set[tuple[str, str]] = set()

    def tree(self, value: Any, path: tuple[str | int, ...], place: Place | None, depth: int = 0) -> Any:
        if isinstance(value, Map):
            told = Map(place=value.place, places=value.places)
            for key, below in value.items():
                told[key] = self.tree(below, (*path, key), value.places.get(key, place), depth)
            return told
        if isinstance(value, Items):
            places = value.places
            items = [self.tree(below, (*path, i), places[i] if i < len(places) else place, depth) for i, below in enumerate(value)]
            return Items(items, place=value.place, places=places)
        return self.text(value, path, place, depth) if isinstance(value, str) else value

    def text(self, value: str, path: tuple[str | int, ...], place: Place | None, depth: int) -> Any:
        if depth > DEEPEST:
            self._problem(f"'{value}' refers to itself", path, place)
            return value
        whole = REFERENCE.fullmatch(value)
        if whole:
            found = self.value(whole[1], path, place)
            again = isinstance(found, str) and found == value
            return found if again else self.tree(found, path, place, depth + 1)
        told, at = "", 0
        for match in REFERENCE.finditer(value):
            found = self.value(match[1], path, place)
            if isinstance(found, str) and found != match[0]:
                found = self.text(found, path, place, depth + 1)
            if isinstance(found, Map | Items):
                self._problem(
                    f"{match[0]} is a {'mapping' if isinstance(found, Map) else 'list'}; it cannot be part of a text", path, place
                )
                found = match[0]
            told += value[at : match.start()] + _as_text(found)
            at = match.end()
        return told + value[at:]

    def value(self, name: str, path: tuple[str | int, ...], place: Place | None) -> Any:
        """Value of a reference; the reference itself where the workspace knows it, or where nothing does (a problem)."""
        same = f"${{{name}}}"
        parts = re.findall(r"[^.\[\]]+", name)
        if parts[0] == "variables" and parts[-1] == "value":
            parts = ["var", *parts[1:-1]]
        if parts[0] == "var":
            return self._variable(parts, same, path, place)
        if name.startswith(LATER) and not name.startswith("workspace.current_user."):
            return same
        if parts[0] not in ("bundle", "workspace", "resources", "artifacts", "sync"):
            self._problem(f"{same} refers to nothing that a bundle has (var, bundle, workspace, resources, artifacts)", path, place)
            return same
        return self._field(parts, same, path, place)

    def _variable(self, parts: list[str], same: str, path: tuple[str | int, ...], place: Place | None) -> Any:
        name = parts[1] if len(parts) > 1 else ""
        if name not in self.variables:
            told = f"variable '{name}' is not declared{closest(name, self.variables)} (declared: {', '.join(self.variables) or 'none'})"
            self._problem(told, path, place)
            return same
        found = self.variables[name]
        if found is None:
            return same
        for part in parts[2:]:
            if not isinstance(found, Map) or part not in found:
                self._problem(f"{same}: variable '{name}' has no '{part}'", path, place)
                return same
            found = found[part]
        return found

    def _field(self, parts: list[str], same: str, path: tuple[str | int, ...], place: Place | None) -> Any:
        found: Any = self.top
        for i, part in enumerate(parts):
            if isinstance(found, Map) and part in found:
                found = found[part]
            elif isinstance(found, Items) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                if (parts[0] == "resources" and i >= 3 and part in KNOWN_LATER) or parts[:2] == ["workspace", "current_user"]:
                    return same
                there = list(found) if isinstance(found, Map) else []
                about = f"{'.'.join(parts[:i])} has no '{part}'{closest(part, there)}"
                self._problem(f"{same}: {about}" + (f" (there: {', '.join(there)})" if there else ""), path, place)
                return same
        return found

    def _problem(self, message: str, path: tuple[str | int, ...], place: Place | None) -> None:
        where = spelled(path)
        if (message, where) not in self.seen:
            self.seen.add((message, where))
            self.problems.append(Problem(message, where, place))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _prefixed(top: Map, resolver: _Resolver) -> Map:
    """Resources with the names that a development deployment gives schemas, registered models, endpoints and experiments.

    Names of jobs get their prefix too, which nothing in a task's parameters can see.
    """
    resources = merged_copy(top.get("resources") or Map())
    told = (top.get("presets") or {}).get("name_prefix")
    if told is None and top.get("mode") == "development":
        told = f"[dev {USER['short_name']}] "
    spelled_prefix = _as_text(resolver.tree(told, ("presets", "name_prefix"), None))
    prefix = re.sub(r"[^A-Za-z0-9]+", "_", spelled_prefix).strip("_")
    keeps_schemas = bool((top.get("experimental") or {}).get("skip_name_prefix_for_schema"))
    for kind in ("schemas", "registered_models", "model_serving_endpoints", "experiments") if prefix else ():
        if kind not in resources or (kind == "schemas" and keeps_schemas):
            continue
        resources[kind] = merged_copy(resources[kind])
        for key, resource in resources[kind].items():
            if isinstance(resource, Map) and isinstance(resource.get("name"), str):
                resources[kind][key] = merged_copy(resource)
                folder, slash, name = resource["name"].rpartition("/")
                named = f"{folder}{slash}{spelled_prefix}{name}" if kind == "experiments" else f"{prefix}_{resource['name']}"
                resources[kind][key]["name"] = named
    return resources


def text_of(target: Target, text: str) -> tuple[str, list[Problem]]:
    """Text outside the bundle's files with the values of its references, and those that have none."""
    problems: list[Problem] = []
    told = _Resolver(Map(target.tree), target.variables, problems).text(text, (), None, 0)
    return _as_text(told), problems
