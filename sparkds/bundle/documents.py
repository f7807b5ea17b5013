"""Documents of a bundle: YAML files as trees that know where every key stands, merged as the Databricks CLI merges them.

Takes ``databricks.yml`` and what it includes and gives one tree per target; what ``${…}`` refers to is `references`' business.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from sparkds.config import YamlLoader
from sparkds.errors import ConfigError, closest

ROOT_FILES: Final = ("databricks.yml", "databricks.yaml", "bundle.yml", "bundle.yaml")
KEYED: Final = {"tasks": "task_key", "job_clusters": "job_cluster_key", "environments": "environment_key", "parameters": "name"}
"""Lists whose items are merged by a name; others are put one behind the other."""
OF_TARGETS: Final = frozenset({"artifacts", "bundle", "permissions", "presets", "resources", "run_as", "sync", "workspace", "experimental"})
"""Sections that a target may overlay as they are; `variables` are set, not merged."""


Keys = tuple[str | int, ...]
"""Path of a value in a tree."""


class Place(NamedTuple):
    """Where a key stands.

    Attributes
    ----------
    file : str
        Relative to the bundle's folder.
    line : int
        From 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


class Map(dict[str, Any]):
    """Mapping with the place of every key, and its own."""

    def __init__(self, values: Mapping[str, Any] = {}, *, place: Place | None = None, places: Mapping[str, Place] = {}) -> None:
        super().__init__(values)
        self.place = place
        self.places = dict(places)


class Items(list[Any]):
    """List with the place of every item, and its own."""

    def __init__(self, values: Sequence[Any] = (), *, place: Place | None = None, places: Sequence[Place] = ()) -> None:
        super().__init__(values)
        self.place = place
        self.places = list(places)


def read_yaml(path: Path, root: Path) -> Map:
    """Tree of a file.

    Raises
    ------
    ConfigError
        The file is absent, no YAML, or no mapping.
    """
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    try:
        loader = YamlLoader(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown}: cannot be read: {error}") from error
    try:
        node = loader.get_single_node()
        if node is None:
            return Map(place=Place(shown, 1))
        tree = _tree(loader, node, shown)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{shown}:{mark.line + 1 if mark else 1}: cannot be read as YAML: {error.problem or error.context}") from None
    finally:
        loader.dispose()
    if not isinstance(tree, Map):
        raise ConfigError(f"{shown}: a bundle's file has keys with values, this is a {type(tree).__name__}")
    return tree


def _tree(loader: YamlLoader, node: yaml.Node, shown: str) -> Any:
    place = Place(shown, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' is given twice", key.start_mark)
            seen.add(str(key.value))
        loader.flatten_mapping(node)
        told = Map(place=place)
        for key, value in node.value:  # what `<<` brings stands first, so that the map's own keys win
            told[str(key.value)] = _tree(loader, value, shown)
            told.places[str(key.value)] = Place(shown, key.start_mark.line + 1)
        return told
    if isinstance(node, yaml.SequenceNode):
        items = [_tree(loader, value, shown) for value in node.value]
        return Items(items, place=place, places=[Place(shown, value.start_mark.line + 1) for value in node.value])
    return loader.construct_object(node, deep=True)


class Document(NamedTuple):
    """A bundle before a target is chosen.

    Attributes
    ----------
    root : Path
        Folder of ``databricks.yml``.
    tree : Map
        With the resources of all included files, without ``targets``.
    targets : Map
        Overlays by name.
    files : tuple of Path
        All files that were read.
    """

    root: Path
    tree: Map
    targets: Map
    files: tuple[Path, ...]

    @property
    def target_names(self) -> tuple[str, ...]:
        """Targets as they stand in the file."""
        return tuple(self.targets)

    @property
    def default_target(self) -> str:
        """Target that says it is the default, or the only one; empty if there is none."""
        named = [name for name, told in self.targets.items() if isinstance(told, Map) and told.get("default") is True]
        return named[0] if len(named) == 1 else self.target_names[0] if len(self.targets) == 1 else ""


def read_bundle(path: str | Path) -> Document:
    """Read a bundle and what it includes.

    Parameters
    ----------
    path : str or Path
        Folder of ``databricks.yml``, or that file.

    Raises
    ------
    ConfigError
        There is no such file; a file is no YAML; an include names nothing; a resource is declared twice.

    Examples
    --------
    >>> read_bundle(".").target_names  # doctest: +SKIP
    ('dev', 'staging', 'prod')
    """
    given = Path(path).absolute()
    found = [given] if given.is_file() else [given / name for name in ROOT_FILES if (given / name).is_file()]
    if not found:
        raise ConfigError(f"there is no bundle in '{given}': no {' or '.join(ROOT_FILES[:2])}; give the folder that has it")
    root = found[0].parent
    tree, files = read_yaml(found[0], root), [found[0]]
    for pattern in tree.get("include") or ():
        matches = [Path(match) for match in sorted(glob.glob(str(pattern), root_dir=root, recursive=True))]
        if not matches:
            raise ConfigError(f"{tree.places['include']}: include '{pattern}' names no file; mend the pattern or add the file")
        for match in matches:
            below = read_yaml(root / match, root)
            _refuse_twice(tree, below)
            tree = merged(tree, below)
            files.append(root / match)
    targets = tree.pop("targets", None) or Map()
    for name in list(targets):
        targets[name] = targets[name] if isinstance(targets[name], Map) else Map()
    return Document(root, tree, targets, tuple(files))


def _refuse_twice(tree: Map, below: Map) -> None:
    for kind, resources in (below.get("resources") or Map()).items():
        for key in resources or ():
            there = (tree.get("resources") or Map()).get(kind) or Map()
            if key in there:
                raise ConfigError(f"{resources.places[key]}: resources.{kind}.{key} is declared at {there.places[key]} already; rename one")


def merged(base: Any, over: Any, *, name: str = "") -> Any:
    """Two trees as one: mappings by key, lists of named items by their name, other lists one behind the other, else `over`.

    Examples
    --------
    >>> merged(Map({"a": 1, "b": Map({"c": 2})}), Map({"b": Map({"d": 3})}))
    {'a': 1, 'b': {'c': 2, 'd': 3}}
    """
    if isinstance(base, Map) and isinstance(over, Map):
        told = Map(base, place=base.place or over.place, places=base.places)
        for key, value in over.items():
            told[key] = merged(base[key], value, name=key) if key in base else value
            told.places[key] = over.places.get(key, told.places.get(key, Place("", 0)))
        return told
    if isinstance(base, Items) and isinstance(over, Items):
        return _merged_lists(base, over, KEYED.get(name, ""))
    return over


def _merged_lists(base: Items, over: Items, key: str) -> Items:
    told = Items(base, place=base.place, places=base.places)
    at = {item[key]: i for i, item in enumerate(base) if key and isinstance(item, Map) and key in item}
    for i, item in enumerate(over):
        known = at.get(item.get(key)) if isinstance(item, Map) and key else None
        if known is None:
            told.append(item)
            told.places.append(over.places[i] if i < len(over.places) else Place("", 0))
        else:
            told[known] = merged(told[known], item)
    return told


def of_target(document: Document, target: str) -> Map:
    """Tree of one target: its overlay merged over the rest, ``variables`` left as they are.

    Raises
    ------
    ConfigError
        There is no such target.
    """
    if target not in document.targets:
        names = ", ".join(document.targets) or "none"
        raise ConfigError(f"no target '{target}'{closest(target, document.targets)} (targets: {names})")
    overlay = document.targets[target]
    told = {key: value for key, value in overlay.items() if key in OF_TARGETS}
    tree: Map = merged(document.tree, Map(told, places={key: overlay.places[key] for key in told}))
    if "mode" in overlay:
        tree["mode"] = overlay["mode"]
        tree.places["mode"] = overlay.places["mode"]
    return tree


def walk(
    tree: Any, path: tuple[str | int, ...] = (), place: Place | None = None
) -> Iterator[tuple[tuple[str | int, ...], Any, Place | None]]:
    """Every value below a tree with its path and the nearest known place, parents first."""
    yield path, tree, place
    if isinstance(tree, Map):
        for key, value in tree.items():
            yield from walk(value, (*path, key), tree.places.get(key, place))
    elif isinstance(tree, Items):
        for i, value in enumerate(tree):
            yield from walk(value, (*path, i), tree.places[i] if i < len(tree.places) else place)


def spelled(path: Sequence[str | int]) -> str:
    """Path as people write it.

    Examples
    --------
    >>> spelled(("resources", "jobs", "daily", "tasks", 0, "task_key"))
    'resources.jobs.daily.tasks[0].task_key'
    """
    told = ""
    for part in path:
        told += f"[{part}]" if isinstance(part, int) else f".{part}" if told else str(part)
    return told
