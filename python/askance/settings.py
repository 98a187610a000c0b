"""Loads the configuration: `askance.yaml`, overridden by the environment, overridden by flags.

`askance.config` defines every setting; this module only says where values come from, and owns the promise that no
misspelt key is ever silently ignored, in the file, in the environment or on the command line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from yaml.constructor import SafeConstructor

from askance import lastrun
from askance.config import Config
from askance.errors import ConfigError
from askance.keys import KEYS, PREFIX, SECTIONS, unknown, variable

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DEFAULT_FILE = Path("askance.yaml")
"""Read when it is in the working directory and no other file is named."""

_LABEL_SET = {"teacher.labels", "teacher.labels_from_field"}
# What tells askance's own tests where their broker and browser are is no setting.
_TESTS = f"{PREFIX}TEST_"
# Kubernetes puts these into every container beside a service whose name begins with "askance".
_KUBERNETES = re.compile(r"ASKANCE_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_CREDENTIALS = (
    (re.compile(r"(\w[\w+.-]*://)[^/\s]*@"), r"\1***@"),
    (re.compile(r"([?&](?:[\w-]*[-_])?(?:key|token|secret|password|signature|sig)=)[^&#\s]+", re.IGNORECASE), r"\1***"),
)


class Setting(NamedTuple):
    """One setting's value in force and where it came from."""

    key: str
    value: object
    origin: str
    """`default`, a file and line, an environment variable or a flag."""


class _Given(NamedTuple):
    """A value somebody wrote, and how to call the place where they wrote it."""

    value: object
    origin: str


def load(
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    flags: Mapping[str, str] | None = None,
    looks_back: bool = False,
) -> Config:
    """All settings, from `path` (default: `askance.yaml` if it is there), the environment and `overrides`.

    `overrides` maps dotted keys (`budget.share`) to values, and `flags` the same keys to the flags that gave them.
    With `looks_back`, what none of them says is as the last run in that state folder had it. Raises `ConfigError` for
    an unknown key, naming the nearest known one, and for a wrong value, naming the key, the value and the limit.
    """
    given = _given(path, overrides or {}, flags or {})
    config = _validated(given)
    if not looks_back:
        return config
    origin = f"the last run in {config.state}"
    before = {key: _Given(value, f"{key} of {origin}") for key, value in lastrun.read(config.state).items()}
    if given.keys() & _LABEL_SET:
        # Both ways to name the label set exclude each other.
        before = {key: value for key, value in before.items() if key not in _LABEL_SET}
    return _validated(before | given)


def effective(
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    flags: Mapping[str, str] | None = None,
) -> list[Setting]:
    """Every setting in force as `load` would have it, with where it came from; credentials in URLs are blotted out."""
    given = _given(path, overrides or {}, flags or {})
    config = _validated(given)
    settings = []
    for key in KEYS:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        origin = given[key].origin.removesuffix(f": {key}") if key in given else "default"
        settings.append(Setting(key, redacted(value), origin))
    return settings


def assigned(assignments: Iterable[str]) -> dict[str, object]:
    """What `--set KEY=VALUE` assigns; a value is written as it would be in the file.

    >>> assigned(["train.first_at=40", "teacher.labels=[spam, ham]"])
    {'train.first_at': 40, 'teacher.labels': ['spam', 'ham']}
    """
    overrides: dict[str, object] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            msg = f"--set {assignment}: write it as KEY=VALUE, such as budget.share=0.1"
            raise ConfigError(msg)
        if key not in KEYS:
            raise ConfigError(unknown(f"--set {key}", key))
        try:
            overrides[key] = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            msg = f"--set {key}: {text!r} is no value; put it in quotes"
            raise ConfigError(msg) from exc
    return overrides


def assigning(assignments: Iterable[str]) -> dict[str, str]:
    """How to call each `--set KEY=VALUE`, by key, for `load` and `effective`."""
    keys = (assignment.partition("=")[0] for assignment in assignments)
    return {key: f"--set {key}" for key in keys}


def written(value: object) -> str:
    """A value as it is written in the file, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def redacted(value: object) -> object:
    """The value without credentials: `https://user:password@host` becomes `https://***@host`."""
    if isinstance(value, str):
        for pattern, replacement in _CREDENTIALS:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, Mapping):
        return {key: redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted(inner) for inner in value)
    return value


def _given(path: Path | None, overrides: Mapping[str, object], flags: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    if path is not None or DEFAULT_FILE.is_file():
        given |= _from_file(path or DEFAULT_FILE)
    given |= _from_environment()
    for key, value in overrides.items():
        origin = flags.get(key, key)
        if key not in KEYS:
            raise ConfigError(unknown(origin, key))
        given[key] = _Given(value, origin)
    return given


def _validated(given: Mapping[str, _Given]) -> Config:
    tree: dict[str, Any] = {}
    for key, (value, _) in given.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    try:
        config = Config.model_validate(tree)
    except ValidationError as exc:
        raise ConfigError(_complaint(exc, given)) from None
    examples = {"teacher.api_key_env": "OPENAI_API_KEY", "page.token_env": "PAGE_TOKEN"}
    for key, name in (("teacher.api_key_env", config.teacher.api_key_env), ("page.token_env", config.page.token_env)):
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            msg = f"{given[key].origin}: must be the name of an environment variable, such as {examples[key]}, not the "
            msg += "key itself"
            raise ConfigError(msg)
    return config


def _complaint(exc: ValidationError, given: Mapping[str, _Given]) -> str:
    errors = exc.errors(include_url=False)
    error = errors[0]
    limit = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    key, rest = _split(error["loc"])
    if key not in given:
        return limit + more
    origin = given[key].origin + "".join(f"[{part}]" for part in rest)
    value = repr(redacted(error["input"]))
    value = value if len(value) <= 80 else value[:79] + "…"
    quotes = "; put it in quotes" if error["type"] == "string_type" and not isinstance(error["input"], str) else ""
    return f"{origin} is {value}: {limit}{quotes}{more}"


def _split(location: tuple[int | str, ...]) -> tuple[str, tuple[int | str, ...]]:
    """Splits an error's location into the setting's key and the place within its value."""
    for length in range(len(location), 0, -1):
        key = ".".join(str(part) for part in location[:length])
        if key in KEYS:
            return key, location[length:]
    return "", location


class _Environment(Config, BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, env_parse_none_str="null"
    )


class _Variables(EnvSettingsSource):
    """`ASKANCE_SECTION__KEY`; lists and maps are JSON, and a list may also be written `a,b,c`."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ARG002 - theirs
        try:
            return json.loads(value)
        except ValueError:
            # What begins like JSON was meant as JSON: leave it to be complained about.
            return value if value.lstrip().startswith(("[", "{")) else [part.strip() for part in value.split(",")]


def _from_environment() -> dict[str, _Given]:
    variables = {variable(key): key for key in KEYS}
    names = {}
    for name in sorted(os.environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper.startswith(_TESTS):
            continue
        if upper in variables:
            names[variables[upper]] = name
        elif "__" in upper or not _KUBERNETES.fullmatch(upper):
            key = upper.removeprefix(PREFIX).lower().replace("__", ".")
            if key in SECTIONS:
                example = next(known for known in KEYS if known.startswith(f"{key}."))
                msg = f"{name}: is a section; set its keys, such as {variable(example)}"
                raise ConfigError(msg)
            raise ConfigError(unknown(name, key, variable))
    tree = _Variables(_Environment)()
    given = {}
    for key, name in names.items():
        value: Any = tree
        for part in key.split("."):
            value = value.get(part, _Environment) if isinstance(value, dict) else _Environment
        if value is not _Environment:  # an empty variable counts as unset
            given[key] = _Given(value, name)
    return given


def _from_file(path: Path) -> dict[str, _Given]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path}: no such file; `askance init --config {path}` writes one"
        raise ConfigError(msg) from None
    except OSError as exc:
        msg = f"{path}: cannot be read: {exc.strerror}"
        raise ConfigError(msg) from exc
    except UnicodeDecodeError as exc:
        msg = f"{path}: is not UTF-8 at byte {exc.start}: save it as UTF-8"
        raise ConfigError(msg) from exc
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return {} if root is None else dict(_settings_under(root, path, ""))
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        msg = f"{path}, line {line}: not valid YAML: the character {chr(exc.character)!r} must not stand there"
        raise ConfigError(msg) from exc
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else 1
        msg = f"{path}, line {line}: not valid YAML: {', '.join(filter(None, (exc.context, exc.problem)))}"
        raise ConfigError(msg) from exc


def _settings_under(node: yaml.Node, path: Path, prefix: str) -> Iterator[tuple[str, _Given]]:
    """Walks the parsed file itself rather than its values: only the file knows lines and keys that stand twice."""
    if node.tag == "tag:yaml.org,2002:null":  # every key below is commented out
        return
    if not isinstance(node, yaml.MappingNode):
        name = prefix.rstrip(".") or "the file"
        msg = f"{path}, line {node.start_mark.line + 1}: {name} must hold `key: value` lines"
        raise ConfigError(msg)
    seen = set()
    for name_node, value_node in node.value:
        if not isinstance(name_node, yaml.ScalarNode):
            msg = f"{path}, line {name_node.start_mark.line + 1}: a key must be a word"
            raise ConfigError(msg)
        key = f"{prefix}{name_node.value}"
        origin = f"{path}, line {name_node.start_mark.line + 1}: {key}"
        if key in seen:
            msg = f"{origin}: stands twice; drop one"
            raise ConfigError(msg)
        seen.add(key)
        if key in SECTIONS:
            yield from _settings_under(value_node, path, f"{key}.")
        elif key in KEYS:
            yield key, _Given(SafeConstructor().construct_object(value_node, deep=True), origin)
        else:
            raise ConfigError(unknown(origin, key))
