"""Reads settings from flags, then the environment, then a TOML file, then the defaults.

The only reader of the environment. Names: ``HEARTBEAT_INTERVAL``, ``GRACE_PERIOD``, ``CLEANUP_INTERVAL`` (seconds); any
other setting of the server as ``RESILIENCE_<NAME>``: a number, ``true`` or ``false``, or a list with commas. An empty
variable counts as not set. The host key, ``RESILIENCE_HOST_KEY``, is not a setting: it is never shown, logged or
written.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from resilience.config import QuizConfig, ServerConfig
from resilience.errors import ConfigError, UsageError
from resilience.text_files import read_text
from resilience.validation import one_line, violation_of

T = TypeVar("T")

PLAIN_NAMES = ("heartbeat_interval", "grace_period", "cleanup_interval")
PREFIX = "RESILIENCE_"
HOST_KEY = f"{PREFIX}HOST_KEY"
OTHER_NAMES = (f"{PREFIX}DB", HOST_KEY, f"{PREFIX}TOXIPROXY")
"""Variables that are no settings of the server: its database, the key of its hosts, the laboratory's proxy."""


def environment() -> Mapping[str, str]:
    """The process's environment."""
    return os.environ


def server_settings(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[ServerConfig, QuizConfig]:
    """The effective settings. An error names the source of the value, its key and its rule."""
    tables = _tables(file)
    server = dict(tables.get("server", {}))
    server.update(_from_environment(environ))
    server.update({key: value for key, value in flags.items() if value is not None})
    origin = str(file) if file else "settings"
    return _convert(server, ServerConfig, f"{origin}: server"), _convert(
        tables.get("quiz", {}), QuizConfig, f"{origin}: quiz"
    )


def _tables(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        tables = tomllib.loads(read_text(file))
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: cannot be read as TOML: {error}") from error
    for key, value in tables.items():
        if key not in ("server", "quiz"):
            raise UsageError(f"{file}: {key}: unknown table; the tables are server and quiz")
        if not isinstance(value, dict):
            raise UsageError(f"{file}: {key}: must be a table")
    return tables


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(ServerConfig):
        name = _variable(field.name)
        text = _given(environ, name)
        if text is not None:
            found[field.name] = _value(name, text, field.default)
    return found


def _variable(key: str) -> str:
    return key.upper() if key in PLAIN_NAMES else PREFIX + key.upper()


def _given(environ: Mapping[str, str], name: str) -> str | None:
    """The value of a variable; ``None`` if it is not set, or blank, as a template of an unset variable leaves it."""
    return environ.get(name, "").strip() or None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each variable that has this project's prefix and that nothing reads.

    They are reported, not rejected: others set such names too, as Kubernetes does for a service called `resilience`.
    """
    known = {_variable(field.name) for field in msgspec.structs.fields(ServerConfig)}.union(OTHER_NAMES)
    by_end = {name.removeprefix(PREFIX): name for name in sorted(known)}
    found = []
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name not in known and _given(environ, name) is not None:
            near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), by_end, n=1)
            hint = f"; did you mean {by_end[near[0]]}?" if near else ""
            found.append(f"{one_line(name)} is not the name of a setting{hint}")
    return found


def _value(name: str, text: str, like: object) -> object:
    """The value written in ``text``, in the type of the setting's default ``like``."""
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            raise ConfigError(name, text, "must be true or false")
        return text.lower() == "true"
    if isinstance(like, tuple):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ConfigError(name, text, "must be a number") from None


LEAST_KEY, MOST_KEY = 16, 256


def host_key(environ: Mapping[str, str], file: Path | None) -> str | None:
    """The key that hosts must show: the first line of a file, else the environment's.

    Without a key no host is accepted. Raises :class:`UsageError` for a file that cannot be read or a key of a wrong
    length.
    """
    key, where = _given(environ, HOST_KEY), HOST_KEY
    if file is not None:
        where = str(file)
        try:
            key = read_text(file).partition("\n")[0].strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"{file}: cannot be read as a host key: {error}") from error
    if key is not None and not LEAST_KEY <= len(key) <= MOST_KEY:
        raise UsageError(
            f"{where}: a host key has {LEAST_KEY} to {MOST_KEY} characters; generate one with: openssl rand -hex 16"
        )
    return key


def _convert(table: object, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        violation = violation_of(error)
        raise UsageError(f"{'.'.join(filter(None, (where, violation.path)))}: {violation.clause}") from error
    except ConfigError as error:
        raise UsageError(f"{where}.{error}") from error
