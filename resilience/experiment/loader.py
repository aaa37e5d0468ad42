"""Finds and reads experiment files: the only room of ``experiment`` that touches the disk.

Every complaint is one line that names the file, the key and the rule.
"""

from __future__ import annotations

import difflib
import itertools
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.errors import ConfigError, ExperimentError
from resilience.experiment.costs import ModelCosts
from resilience.experiment.drivers import DRIVER_KINDS, ClientDriver
from resilience.experiment.faults import kinds
from resilience.experiment.spec import Experiment
from resilience.experiment.targets import TARGET_KINDS
from resilience.text_files import bundled_texts, read_named
from resilience.validation import one_line, violation_of

CATALOGUES = "resilience.experiments"
"""Entry-point group under which a package of bundled experiment files registers itself."""

_SECTIONS: dict[str, Any] = {
    "server": ServerConfig,
    "client": ClientConfig,
    "driver": ClientDriver,
    "quiz": QuizConfig,
    "costs": ModelCosts,
}


def catalogue() -> dict[str, str]:
    """Bundled experiments: name -> TOML text."""
    found: dict[str, str] = {}
    for entry in entry_points(group=CATALOGUES):
        found |= bundled_texts(files(entry.value))
    return found


def by_group(texts: Mapping[str, str]) -> dict[str, list[Experiment]]:
    """The experiments of a catalogue by their group, groups and names in order; those without a group come last."""
    found = sorted((parse(text, f"{name}.toml") for name, text in texts.items()), key=lambda e: (not e.group, e.group))
    return {group: list(members) for group, members in itertools.groupby(found, key=lambda e: e.group)}


def load(name_or_path: str, overrides: tuple[str, ...] = (), scale: float = 1.0) -> Experiment:
    """The experiment of a file or the bundled one of that name; ``KEY=VALUE`` overrides, a scale on cohort sizes."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or _is_file(path):
        return parse(_read(path), str(path), overrides, scale)
    bundled = catalogue()
    if name_or_path in bundled:
        return parse(bundled[name_or_path], f"{name_or_path}.toml", overrides, scale)
    near = difflib.get_close_matches(name_or_path, bundled, n=1)
    hint = f"did you mean {near[0]}?" if near else f"bundled: {', '.join(sorted(bundled)) or 'none'}"
    raise ExperimentError(name_or_path, "", f"no such file or bundled experiment; {hint}")


def load_file(path: Path) -> Experiment:
    """The experiment written in this file."""
    return parse(_read(path), str(path))


def parse(text: str, file: str, overrides: tuple[str, ...] = (), scale: float = 1.0) -> Experiment:
    """The experiment written in ``text``; ``file`` is only named in errors."""
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ExperimentError(file, "", f"not TOML: {error}") from error
    _require_experiment(tree, file)
    for override in overrides:
        _override(tree, override)
    _scale(tree, scale)
    check_table_kind(tree, file, "target", TARGET_KINDS)
    check_table_kind(tree, file, "driver", DRIVER_KINDS)
    _check_drivers(tree, file)
    _check_kinds(tree, file)
    try:
        for section, config in _SECTIONS.items():
            _convert_section(tree, section, config, file)
        return msgspec.convert(tree, Experiment)
    except msgspec.ValidationError as error:
        raise _error_of(file, error) from error
    except ConfigError as error:
        raise ExperimentError(file, error.key, f"{error.value!r}: {error.rule}") from error


def to_toml(experiment: Experiment) -> str:
    """The experiment, resolved, as TOML text that :func:`parse` reads back to an equal value."""
    return msgspec.toml.encode(_without_none(msgspec.to_builtins(experiment))).decode()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long to be a file's name
        return False


def _read(path: Path) -> str:
    return read_named(path, lambda reason: ExperimentError(str(path), "", reason))


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not (equals and key):
        raise ExperimentError("--set", override, "must be KEY=VALUE, such as client.preset=classic")
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        node = _child(node, parent, key)
    if isinstance(node, list):
        node[_index(node, last, key)] = _value(text)
    elif isinstance(node, dict):
        node[last] = _value(text)
    else:
        raise ExperimentError("--set", key, "leads into a plain value, which has no keys of its own")


def _child(node: object, name: str, key: str) -> object:
    if isinstance(node, list):
        return node[_index(node, name, key)]
    if isinstance(node, dict):
        return node.setdefault(name, {})
    raise ExperimentError("--set", key, f"{name!r} leads into a plain value, which has no keys of its own")


def _index(node: list[Any], name: str, key: str) -> int:
    if not (name.isdecimal() and int(name) < len(node)):
        raise ExperimentError("--set", key, f"{name!r} must be a number below {len(node)}: this is a list")
    return int(name)


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _scale(tree: dict[str, Any], scale: float) -> None:
    if not 0 < scale < float("inf"):
        raise ExperimentError("--scale", str(scale), "must be a positive number")
    cohorts = tree.get("cohorts")
    for cohort in cohorts if scale != 1.0 and isinstance(cohorts, list) else ():
        if isinstance(cohort, dict) and isinstance(cohort.get("clients"), int):
            cohort["clients"] = max(1, round(cohort["clients"] * scale))


def _require_experiment(tree: dict[str, Any], file: str) -> None:
    """Reject the file of a system, which describes a server and its clients and nothing that happens to them."""
    if not {"cohorts", "faults", "duration"} & tree.keys() and {"target", "driver"} & tree.keys():
        rule = f"there are none: this is a system; run an experiment on it with chaos run NAME --system {file}"
        raise ExperimentError(file, "cohorts", rule)


def _check_drivers(tree: dict[str, Any], file: str) -> None:
    """Check each table ``[drivers.NAME]`` by itself, so that what is wrong is reported under its full key."""
    drivers = tree.get("drivers")
    for name, table in drivers.items() if isinstance(drivers, dict) else ():
        key = f"drivers.{name}"
        check_table_kind({key: table}, file, key, DRIVER_KINDS)
        _convert_section({key: table}, key, ClientDriver, file)


def _convert_section(tree: dict[str, Any], section: str, config: Any, file: str) -> None:  # noqa: ANN401 - any type
    """Check one table by itself, so that a broken rule is reported under its full key."""
    if isinstance(tree.get(section), dict):
        try:
            msgspec.convert(tree[section], config)
        except ConfigError as error:
            raise ExperimentError(file, f"{section}.{error.key}", f"{error.value!r}: {error.rule}") from error
        except msgspec.ValidationError as error:
            raise _error_of(file, error, section) from error


def check_table_kind(tree: dict[str, Any], file: str, table: str, there: tuple[str, ...]) -> None:
    """Name the kinds that there are where this table has none of them."""
    value = tree.get(table)
    kind = value.get("kind") if isinstance(value, dict) else there[0]
    if kind not in there:
        found = "missing" if kind is None else one_line(repr(kind))
        raise ExperimentError(file, f"{table}.kind", f"{found}: must be one of: {', '.join(there)}")


def _check_kinds(tree: dict[str, Any], file: str) -> None:
    """Name the kinds that there are where a fault has none of them."""
    faults = tree.get("faults")
    for i, fault in enumerate(faults if isinstance(faults, list) else ()):
        there = f"must be one of: {', '.join(sorted(kinds()))}"
        if not isinstance(fault, dict):
            continue
        if "kind" not in fault:
            raise ExperimentError(file, f"faults[{i}].kind", f"missing required field; {there}")
        kind = fault["kind"]
        if isinstance(kind, str) and kind in kinds():
            continue
        near = difflib.get_close_matches(kind, kinds(), n=1) if isinstance(kind, str) else []
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ExperimentError(file, f"faults[{i}].kind", one_line(f"{kind!r}{meant}: {there}"))


def _error_of(file: str, error: msgspec.ValidationError, section: str = "") -> ExperimentError:
    violation = violation_of(error)
    table = None if violation.path else _SECTIONS.get(section, Experiment)
    there = getattr(table, "__struct_fields__", ()) if "unknown field" in violation.rule else ()
    near = difflib.get_close_matches(violation.field, there, n=1, cutoff=0.75)
    meant = f"; did you mean {near[0]}?" if near else ""
    return ExperimentError(file, one_line(violation.key(section)), one_line(violation.clause + meant))


def _without_none(node: object) -> object:
    if isinstance(node, dict):
        return {key: _without_none(value) for key, value in node.items() if value is not None}
    return [_without_none(item) for item in node] if isinstance(node, list | tuple) else node
