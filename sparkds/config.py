"""Configuration: a YAML file, environment variables and single keys, as one checked declaration.

Takes a declaration's type and where its values stand, gives the declaration or one error that lists every
problem. The only reader of configuration files; knows no domain.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, closest

D = TypeVar("D", bound=Declaration)

PREFIX: Final = "SPARKDS__"
LONGEST_SHOWN: Final = 80


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
        ``key=value`` with a dotted key (``aggregations.0.name=orders``) and a YAML value; they win over all.
    environ : mapping, optional
        ``SPARKDS__KEY=value`` (double underscores between levels, upper or lower case) wins over the file;
        ``os.environ`` if absent.

    Returns
    -------
    Declaration

    Raises
    ------
    ConfigError
        The file is absent or not YAML, or keys are unknown, missing or wrong: all of them, one a line.

    Notes
    -----
    Words and numbers are read as in YAML 1.2: only ``true`` and ``false`` are truth values, ``no`` is a text,
    and so are ``010`` and ``12:30``.

    Examples
    --------
    >>> class Job(Declaration):
    ...     windows: tuple[int, ...]
    >>> load(Job, None, overrides=["windows=[7, 30]"], environ={}).windows
    (7, 30)
    """
    told = _read(Path(path)) if path is not None else {}
    origins: dict[tuple[str | int, ...], str] = {(): str(path) if path is not None else "configuration"}
    problems: list[str] = []
    for setting in _settings(os.environ if environ is None else environ, overrides):
        try:
            keys = _put(_Place(model, told), setting)
        except ConfigError as error:
            problems.append(f"{setting.origin}: {error}")
        else:
            origins[keys] = setting.origin
    try:
        declared = model.model_validate(told)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if _follows(problem):
                continue
            keys, sentence = _sentence(problem, _Place(model, told))
            problems.append(f"{_origin(keys, origins)}: {sentence}")
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return declared


def schema(model: type[Declaration]) -> dict[str, Any]:
    """JSON schema of a configuration, for editors and readers."""
    return model.model_json_schema()


def as_yaml(declaration: Declaration) -> str:
    """Text of a declaration that `load` reads back as an equal one; all values are written, whether they are defaults or not.

    Examples
    --------
    >>> class Job(Declaration):
    ...     source: str
    ...     windows: tuple[int, ...] = (7,)
    >>> print(as_yaml(Job(source="no")), end="")
    source: 'no'
    windows: [7]
    """
    told = declaration.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


# The file


class YamlLoader(yaml.SafeLoader):
    """YAML reader that refuses a key given twice and reads words and numbers as in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Mapping of a node; a key given twice is an error."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_WORDS: Final = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?[0-9]+[eE][-+]?[0-9]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
)
"""Tags, patterns and first letters of YAML 1.2's truth values and numbers, instead of those of YAML 1.1."""

YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {word[0] for word in _WORDS}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in _WORDS:
    YamlLoader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        hint = f"{closest(path.name, there)} (there: {', '.join(there)})" if there else ""
        raise ConfigError(f"configuration file '{path.absolute()}' does not exist{hint}")
    try:
        told = _parsed(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{place}: cannot be read as YAML: {error.problem or error.context}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise ConfigError(f"{path}: a configuration has keys with values, this is a {type(told).__name__}")
    return {key: _unshared(value) for key, value in told.items()}


def _parsed(text: str) -> Any:
    loader = YamlLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _unshared(value: Any) -> Any:
    """Copy in which YAML aliases are values of their own, so that setting one key changes only that key."""
    if isinstance(value, dict):
        return {key: _unshared(below) for key, below in value.items()}
    return [_unshared(below) for below in value] if isinstance(value, list) else value


# Single keys


class _Setting(NamedTuple):
    """One key given outside the file; `exact` is false where the case of letters does not count."""

    origin: str
    keys: tuple[str, ...]
    text: str
    exact: bool


def _settings(environ: Mapping[str, str], overrides: Sequence[str]) -> Iterator[_Setting]:
    """Single keys in the order in which they are set: the later wins."""
    for variable, text in sorted(environ.items()):
        if variable.upper().startswith(PREFIX):
            keys = tuple(variable[len(PREFIX) :].split("__"))
            yield _Setting(f"environment variable {variable}", keys, text, exact=False)
    for override in overrides:
        key, _, text = override.partition("=")
        keys = tuple(part.strip() for part in key.split(".")) if "=" in override else ()
        yield _Setting(f"--set {override}", keys, text, exact=True)


def _put(top: _Place, setting: _Setting) -> tuple[str | int, ...]:
    """Set one nested key and give its path; positions in a list must exist."""
    if not all(setting.keys):
        raise ConfigError("a level of the key is empty")
    if not setting.keys:
        raise ConfigError("give KEY=VALUE, e.g. windows=[7,30]")
    try:
        value = _parsed(setting.text)
    except yaml.YAMLError as error:
        told = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        raise ConfigError(f"the value cannot be read as YAML: {told}") from None
    place, path = top, list[str | int]()
    for depth, name in enumerate(setting.keys):
        key = place.key(name, exact=setting.exact, where=_path(path))
        path.append(key)
        if depth == len(setting.keys) - 1:
            place.value[key] = value
        else:
            if isinstance(place.value, dict) and place.value.get(key) is None:
                place.value[key] = place.default(key)
            place = place.below(key)
    return tuple(path)


class _Place(NamedTuple):
    """A value of the configuration, and the type that it shall have."""

    annotation: Any
    value: Any

    @property
    def model(self) -> type[BaseModel] | None:
        """Model of the value: the only one, or of several kinds the one whose tag is given."""
        models = list(_models(self.annotation))
        if len(models) == 1:
            return models[0]
        if isinstance(self.value, Mapping):
            for model in models:
                if any(self.value.get(name) in allowed for name, allowed in _tags(model).items()):
                    return model
        return None

    @property
    def fields(self) -> tuple[str, ...]:
        """Known keys of the value; none where any key is allowed."""
        return tuple(self.model.model_fields) if self.model else ()

    def key(self, name: str, *, exact: bool, where: str) -> str | int:
        """Key or position that `name` means here."""
        if isinstance(self.value, list):
            if not re.fullmatch(r"[0-9]+", name) or int(name) >= len(self.value):
                n = len(self.value)
                raise ConfigError(f"'{where}' is a list of {n}; '{name}' is not a position in it")
            return int(name)
        if not isinstance(self.value, dict):
            raise ConfigError(f"'{where}' is {_shown(self.value)}, which has no keys below it")
        known = self.fields or tuple(self.value)
        if name in known:
            return name
        same = [key for key in known if str(key).lower() == name.lower()]
        if same and not exact:
            return same[0]
        if self.fields:
            place = f"{where}.{name}" if where else name
            raise ConfigError(_unknown(place, name, known))
        return name

    def below(self, key: str | int) -> _Place:
        """Place of a key or position."""
        inside = None
        if isinstance(key, int) and isinstance(self.value, list):
            inside = self.value[key]
        elif isinstance(self.value, Mapping):
            inside = self.value.get(key)
        if self.model is not None and key in self.fields:
            return _Place(self.model.model_fields[str(key)].annotation, inside)
        held = next(
            (get_args(m) for m in _members(self.annotation) if get_origin(m) is not Literal and get_args(m)),
            (Any,),
        )
        if isinstance(key, str):
            return _Place(held[-1], inside)
        return _Place(held[key] if key < len(held) and Ellipsis not in held else held[0], inside)

    def default(self, key: str | int) -> Any:
        """Plain values from which a nested key starts that the file leaves out."""
        field = self.model.model_fields.get(str(key)) if self.model else None
        value = field.default if field is not None else None
        return value.model_dump() if isinstance(value, BaseModel) else {}


def _members(annotation: Any) -> Iterator[Any]:
    """Types that a value may have, out of unions."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _members(argument)
    else:
        yield annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that a value may have."""
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member


def _tags(model: type[BaseModel]) -> dict[str, tuple[Any, ...]]:
    """Fields with a closed list of values, one of which names the kind in a union of models."""
    fields = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: get_args(annotation) for name, annotation in fields.items() if get_origin(annotation) is Literal}


# Sentences


def _follows(problem: Any) -> bool:
    """Whether a list is called too short only because entries of it are wrong, each of which is told."""
    return problem["type"] == "too_short" and len(problem["input"]) >= int(problem["ctx"]["min_length"])


def _sentence(problem: Any, top: _Place) -> tuple[tuple[str | int, ...], str]:
    """Path of one validation error, and what to say: what was given, what is allowed."""
    path: list[str | int] = []
    parent = place = top
    for part in problem["loc"]:
        given = part in place.value if isinstance(place.value, Mapping) else isinstance(place.value, list)
        if given or part in place.fields:  # else the name of a union's member, which is no key of the file
            path.append(part)
            parent, place = place, place.below(part)
    where, kind, context = _path(path), problem["type"], problem.get("ctx", {})
    told = f"{where}={_shown(problem.get('input'))}"
    if kind == "extra_forbidden":
        sentence = _unknown(where, str(path[-1]), parent.fields)
    elif kind == "missing":
        described = parent.model.model_fields[str(path[-1])].description if parent.model and path else None
        sentence = f"{where} is required" + (f": {described}" if described else "")
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = str(context.get("discriminator", "kind")).strip("'")
        allowed = [value for model in _models(place.annotation) for value in _tags(model)[tag]]
        found = place.value.get(tag) if isinstance(place.value, Mapping) else None
        sentence = f"{where}.{tag}" + (" is required" if found is None else f"={found!r}")
        sentence += f"; choose one of {allowed}{closest(str(found), map(str, allowed))}"
    elif kind == "literal_error":
        allowed = [v for m in _members(place.annotation) if get_origin(m) is Literal for v in get_args(m)]
        sentence = f"{told}; choose one of {allowed}{closest(str(problem.get('input')), map(str, allowed))}"
    elif kind == "value_error":
        sentence = (f"{where}: " if where else "") + str(context.get("error", problem["msg"]))
    else:
        sentence = f"{told}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
    return tuple(path), sentence


def _unknown(where: str, name: str, known: Sequence[str]) -> str:
    return f"{where}: unknown key{closest(name, known)}" + (f" (keys: {', '.join(known)})" if known else "")


def _origin(keys: tuple[str | int, ...], origins: Mapping[tuple[str | int, ...], str]) -> str:
    """Where a value was given: by the longest path, set outside the file, that leads to it; else in the file."""
    return next(origins[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in origins)


def _path(keys: Sequence[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
