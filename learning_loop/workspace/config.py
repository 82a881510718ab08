"""Configuration: defaults <- workspace <- environment <- flags, validated once, every value with its origin."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from learning_loop.errors import ConfigurationError
from learning_loop.settings import Settings
from learning_loop.workspace import yaml
from learning_loop.workspace.files import DEFAULTS

FILES = ("learning_loop.yaml", "triggers.yaml", "scoring.yaml", "policies.yaml")
PREFIX = "LEARNING_LOOP_"
Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force, and where each value came from (by dotted key)."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> list[tuple[str, Any, str]]:
        """Return (key, value, origin) of every setting, in the order of the sections."""
        return [(key, value, self.origins.get(key, "default")) for key, value in _leaves(self.settings.model_dump(mode="json"))]


def load_configuration(folder: Path, *, environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Configuration:
    """Read and validate the configuration of a workspace.

    `environ` and `flags` (dotted keys) hold texts that are read as YAML. Raise ConfigurationError with file, line and
    what to write instead.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in FILES:
        for path, label in ((DEFAULTS / "config" / name, None), (folder / name, f"config/{name}")):
            document, lines = read_document(path, label or f"default {name}")
            _merge(values, document)
            if label:
                origins |= {".".join(key): f"{label}:{line}" for key, line in lines.items()}
    known = {key for key, _ in _leaves(Settings().model_dump(mode="json"))}
    variables = {PREFIX + key.replace(".", "_").upper(): key for key in known}
    for variable, key in variables.items():
        if variable in environ:
            _put(values, origins, key, environ[variable], f"environment {variable}")
    for key, text in (flags or {}).items():
        if key not in known:
            raise ConfigurationError(
                f"there is no setting {key!r}{_nearest(key, known) or ': see `learning-loop config show`'}"
            )
        _put(values, origins, key, text, "flag --set")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origins, known)) from None
    return Configuration(settings=settings, origins=origins)


def read_document(path: Path, label: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}, {}
    except UnicodeDecodeError:
        raise ConfigurationError(f"{label}: is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{label}: cannot be read: {error.strerror}") from None
    try:
        document, lines = yaml.load(text)
    except yaml.YamlError as error:
        raise ConfigurationError(f"{label}:{error.line or 1}: {error}") from None
    if document is None:
        return {}, {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{label}:1: must hold `key: value` lines, not a {type(document).__name__}")
    return document, lines


def _merge(into: dict[str, Any], other: Mapping[Any, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and key == "checkpoints":  # the list of one-key mappings is a mapping to us
            _merge(
                into, {key: {name: flag for item in value if isinstance(item, dict) for name, flag in item.items()} or value}
            )
        else:
            into[key] = value


def _put(values: dict[str, Any], origins: dict[str, str], key: str, text: str, origin: str) -> None:
    try:
        value, _ = yaml.load(text)
    except yaml.YamlError as error:
        raise ConfigurationError(f"{origin}: {text!r} cannot be read: {error}") from None
    *sections, last = key.split(".")
    place = values
    for section in sections:
        if not isinstance(place.get(section), dict):
            place[section] = {}
        place = place[section]
    place[last] = value
    origins[key] = origin


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        found += _leaves(value, f"{name}.") if isinstance(value, dict) else [(name, value)]
    return found


def _nearest(key: str, known: set[str]) -> str:
    sections = {".".join(name.split(".")[:depth]) for name in known for depth in range(1, name.count(".") + 2)}
    close = difflib.get_close_matches(key, sections, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _explain(error: ValidationError, origins: Mapping[str, str], known: set[str]) -> str:
    """Return one line for the first fault: where, what, and what to do."""
    faults = error.errors()
    first = faults[0]
    path = [str(part) for part in first["loc"] if not isinstance(part, int)]
    key = ".".join(path)
    where = next(
        (origins[".".join(path[:n])] for n in range(len(path), 0, -1) if ".".join(path[:n]) in origins), "configuration"
    )
    if first["type"] == "extra_forbidden":
        what = f"unknown setting {key!r}{_nearest(key, known)}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        what = f"{key}: {message[0].lower()}{message[1:]}" if key else message
        if not isinstance(first["input"], dict | BaseModel):
            what += f" (it is {first['input']!r})"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{where}: {what}{more}"
