"""Configuration: a YAML file, the environment and single keys of the command line, as one checked declaration.

The only reader of configuration files; knows no domain.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, closest

D = TypeVar("D", bound=Declaration)

PREFIX = "SPARKDS__"


def load(
    model: type[D],
    path: str | Path | None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> D:
    """Read a configuration.

    Parameters
    ----------
    model : type of Declaration
    path : str or Path, optional
        YAML file; an empty configuration if absent.
    overrides : sequence of str
        ``key=value`` with a dotted key (``aggregations.0.name=orders``) and a YAML value; they win over everything.
    environ : mapping, optional
        ``SPARKDS__KEY=value`` (double underscores between levels) wins over the file; ``os.environ`` if absent.

    Returns
    -------
    Declaration

    Raises
    ------
    ConfigError
        The file is absent or not YAML, or keys are unknown, missing or wrong; all of them are listed.

    Examples
    --------
    >>> class Job(Declaration):
    ...     windows: tuple[int, ...]
    >>> load(Job, None, overrides=["windows=[7, 30]"], environ={}).windows
    (7, 30)
    """
    where = str(path) if path is not None else "configuration"
    told = _read(Path(path)) if path is not None else {}
    for variable, value in sorted((os.environ if environ is None else environ).items()):
        if variable.upper().startswith(PREFIX):
            keys = [part.lower() for part in variable[len(PREFIX) :].split("__")]
            _put(told, keys, _value(value, variable), f"environment variable {variable}", model)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {override!r} is not KEY=VALUE; e.g. --set windows=[7,30]")
        _put(told, key.strip().split("."), _value(value, f"--set {key}"), f"--set {key}", model)
    try:
        return model.model_validate(told)
    except ValidationError as error:
        problems = [_sentence(problem, told, model) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from None


def schema(model: type[Declaration]) -> dict[str, Any]:
    """JSON schema of a configuration, for editors and readers."""
    return model.model_json_schema()


class _Loader(yaml.SafeLoader):
    """YAML reader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.y*ml"))) if path.parent.is_dir() else ""
        raise ConfigError(f"configuration file '{path.absolute()}' does not exist" + (f"; there are: {near}" if near else ""))
    try:
        told = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: not YAML: {error.problem}") from None
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise ConfigError(f"{path}: a configuration is a mapping of keys to values, this is a {type(told).__name__}")
    return told


def _value(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: the value {text!r} is not YAML: {str(error).splitlines()[0]}") from None


def _put(told: Any, keys: Sequence[str], value: Any, where: str, model: type[BaseModel]) -> None:
    """Set one nested key; list positions must exist."""
    fields = tuple(model.model_fields)
    if keys[0] not in fields:
        raise ConfigError(f"{where}: unknown key '{keys[0]}'{closest(keys[0], fields)} (keys: {', '.join(fields)})")
    place = told
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not re.fullmatch(r"\d+", key) or int(key) >= len(place):
                raise ConfigError(f"{where}: '{'.'.join(keys[:depth])}' is a list of {len(place)}; '{key}' is not a position in it")
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
        else:
            raise ConfigError(f"{where}: '{'.'.join(keys[:depth])}' has no keys below it")
        if last:
            place[index] = value
        else:
            if isinstance(place, dict) and place.get(index) is None:
                place[index] = {}
            place = place[index]


def _sentence(problem: Any, told: Any, model: type[BaseModel]) -> str:
    """One validation error as: where = what was given; what is allowed."""
    location = [part for part in problem["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    location = _without_tags(location, told)
    place = _path(location)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _fields_at(location[:-1], told, model)
        return f"{place}: unknown key{closest(str(location[-1]), known)}" + (f" (keys: {', '.join(known)})" if known else "")
    if kind == "missing":
        described = _description(location, told, model)
        return f"{place}: is required" + (f" ({described})" if described else "")
    if kind == "union_tag_invalid":
        allowed = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
        given = str(context.get("tag"))
        return f"{place}.{_tag_name(context)}={given!r}; choose one of {allowed}{closest(given, allowed)}"
    if kind == "union_tag_not_found":
        return f"{place}: {_tag_name(context)} is required"
    given = repr(problem.get("input"))
    given = given if len(given) <= 80 else given[:77] + "…"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"{place}={given}; choose one of {allowed}{closest(str(problem.get('input')), allowed)}"
    if kind == "value_error":
        return f"{place}: {context.get('error', problem['msg'])}" if place else str(context.get("error", problem["msg"]))
    return f"{place}={given}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _tag_name(context: Mapping[str, Any]) -> str:
    return str(context.get("discriminator", "kind")).strip("'")


def _path(location: Sequence[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _without_tags(location: Sequence[Any], told: Any) -> list[Any]:
    """Location without the names of union members, which are not keys of the file."""
    kept, place = [], told
    for i, part in enumerate(location):
        if isinstance(part, str) and isinstance(place, Mapping) and part not in place and i < len(location) - 1:
            continue
        kept.append(part)
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            place = None
    return kept


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that a type annotation can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, list):
        for argument in get_args(annotation):
            yield from _models(argument)


def _model_at(location: Sequence[Any], told: Any, model: type[BaseModel]) -> type[BaseModel] | None:
    here: type[BaseModel] | None = model
    place = told
    for part in location:
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            return None
        if isinstance(part, int):
            continue
        if here is None or part not in here.model_fields:
            return None
        choices = list(_models(here.model_fields[part].annotation))
        here = choices[0] if choices else None
        parent_choices = choices
    if isinstance(place, Mapping) and location and here is not None:
        for choice in parent_choices:
            tag = choice.model_fields.get("kind")
            if tag is not None and place.get("kind") == tag.default:
                return choice
    return here


def _fields_at(location: Sequence[Any], told: Any, model: type[BaseModel]) -> tuple[str, ...]:
    here = _model_at(location, told, model)
    return tuple(here.model_fields) if here is not None else ()


def _description(location: Sequence[Any], told: Any, model: type[BaseModel]) -> str:
    here = _model_at(location[:-1], told, model)
    if here is None or location[-1] not in here.model_fields:
        return ""
    return here.model_fields[location[-1]].description or ""
