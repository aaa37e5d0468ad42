"""The reference parts of ``docs/configuration.md``: every key, found by trying the settings themselves."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import click
import msgspec
import tomli_w

from docgen import schema
from docgen.sources import markdown, meaning, table
from resilience.cli import root
from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.errors import ConfigError, UsageError
from resilience.policy.backoff import PRESETS, BackoffPolicy
from resilience.settings import server_settings
from resilience.validation import violation_of

CONFIGS = (ServerConfig, QuizConfig, ClientConfig)
TABLE_NAMES: dict[type, str] = {ServerConfig: "server", QuizConfig: "quiz", ClientConfig: "client"}
PROBES = (-1, 0, 0.001, 0.5, 1, 2.5, 1e9, float("inf"))
"""Values that are tried on every number, to find the rules that reject them."""

COLUMNS = 100


class _Asked(dict[str, str]):
    """An environment that records which names were read."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as dict's
        self.names.append(name)
        return default


# probing the settings ----------------------------------------------------------------------------------------------


def environment_names() -> dict[str, str]:
    """By key of the server: the name of its environment variable."""
    asked = _Asked()
    server_settings(None, asked, {})
    keys = schema.properties(ServerConfig)
    by_key = {name.lower().removeprefix("resilience_"): name for name in asked.names}
    return {key: name for key, name in by_key.items() if key in keys}


def serve_options() -> list[click.Option]:
    """The flags of ``resilience serve``."""
    command = root.commands["serve"]
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def flags() -> dict[str, str]:
    """By key of the server: its flag, if there is one."""
    keys = schema.properties(ServerConfig)
    return {str(option.name): option.opts[0] for option in serve_options() if option.name in keys}


def rules(config: type, key: str) -> list[str]:
    """The rules that reject one of the probes for this key, each once, in the words of the error.

    A rule that holds only while a switch is on begins with that switch.
    """
    fields = schema.properties(config)
    switches = [name for name, field in fields.items() if field.get("type") == "boolean"]
    found: dict[str, str] = {}
    for switch in ("", *switches):
        for value in _probes(fields[key]):
            refusal = refused(config, {key: value} | ({switch: True} if switch else {}))
            if refusal is not None and refusal[0] == key:
                rule = refusal[1].partition("; this one ")[0]  # the rest is about the probe
                found.setdefault(rule, f"with {switch}: {rule}" if switch else rule)
    return list(found.values())


def refused(config: type, values: Mapping[str, object]) -> tuple[str, str] | None:
    """The key and the rule by which these values are rejected; ``None`` if they are accepted."""
    try:
        msgspec.convert(values, config)
    except ConfigError as error:
        return error.key, error.rule
    except msgspec.ValidationError as error:
        violation = violation_of(error)
        return violation.path, violation.rule
    return None


# parts of the page ---------------------------------------------------------------------------------------------------


def reference(config: type) -> str:
    """Every key of one table."""
    names, given = (environment_names(), flags()) if config is ServerConfig else ({}, {})
    rows = [
        [
            f"`{key}`",
            kind_of(config, key),
            _default_of(config, key),
            unit_of(config, key),
            "; ".join(rules(config, key)),
            f"`{names[key]}`" if key in names else "",
            f"`{given[key]}`" if key in given else "",
            markdown(meaning(config, key) or "", {}),
        ]
        for key in schema.properties(config)
    ]
    return table(["key", "type", "default", "unit", "rule", "environment", "flag", "meaning"], rows)


def options() -> str:
    """Every flag of ``resilience serve``."""
    keys = schema.properties(ServerConfig)
    rows = [
        [
            f"`{option.opts[0]}`",
            f"`server.{option.name}`" if option.name in keys else "",
            _option_default(option),
            option.help or "",
        ]
        for option in serve_options()
    ]
    return table(["flag", "sets", "default", "meaning"], rows)


def example(configs: tuple[type, ...]) -> str:
    """A file with every key of these tables, its meaning above it and its default behind it."""
    tables = ("\n".join([f"[{TABLE_NAMES[c]}]", *(_entry(c, key) for key in schema.properties(c))]) for c in configs)
    return "```toml\n" + "\n\n".join(tables) + "\n```"


def presets() -> str:
    """The values of both policies for the keys that are left out."""
    policies = {preset: ClientConfig(preset=preset).backoff for preset in PRESETS}
    values: dict[str, Callable[[BackoffPolicy], object]] = {
        "attempts": lambda policy: policy.attempts,
        "initial": lambda policy: policy.ladder.initial,
        "maximum": lambda policy: policy.ladder.maximum,
        "multiplier": lambda policy: policy.ladder.multiplier,
        "jitter": lambda policy: policy.ladder.jitter.value,
        "budget": lambda policy: policy.budget,
    }
    rows = [[f"`{key}`", *(_shown(value(policies[preset])) for preset in policies)] for key, value in values.items()]
    return table(["key", *(f"`{preset.value}`" for preset in policies)], rows)


def refusals() -> str:
    """The error messages for values that break a rule."""
    cases: list[tuple[str, Mapping[str, str], Mapping[str, object]]] = [
        ("`GRACE_PERIOD=10`", {"GRACE_PERIOD": "10"}, {}),
        ("`--heartbeat-interval 45`", {}, {"heartbeat_interval": 45.0}),
        ("`CLEANUP_INTERVAL=soon`", {"CLEANUP_INTERVAL": "soon"}, {}),
        ("`RESILIENCE_PRESENCE_INTERVAL=0.1`", {"RESILIENCE_PRESENCE_INTERVAL": "0.1"}, {}),
        ("`RESILIENCE_ALLOWED_ORIGINS=quiz.example`", {"RESILIENCE_ALLOWED_ORIGINS": "quiz.example"}, {}),
    ]
    rows = [[given, f"`error: {_complaint(environ, flags_)}`"] for given, environ, flags_ in cases]
    return table(["given", "answer"], rows)


# helpers -------------------------------------------------------------------------------------------------------------


def _shown(value: object) -> str:
    return "no limit" if value is None else f"`{_toml_value(value)}`"


def _complaint(environ: Mapping[str, str], given: Mapping[str, object]) -> str:
    try:
        server_settings(None, environ, given)
    except UsageError as error:
        return str(error)
    raise ValueError(f"{dict(environ)} and {dict(given)} break no rule")


def _probes(field: schema.Schema) -> Iterator[object]:
    kinds = {kind.get("type") for kind in _kinds(field)}
    if "number" in kinds:
        yield from PROBES
    elif "integer" in kinds:
        yield from (int(probe) for probe in PROBES if float(probe).is_integer())
    elif "array" in kinds:
        yield ["quiz.example"]


def kind_of(config: type, key: str) -> str:
    """The kind of value of a key, in words."""
    field = schema.properties(config)[key]
    words = _enumerated(config, field)
    return ", ".join(f"`{word}`" for word in words) or schema.type_name(field, {}).removesuffix(" or null")


def unit_of(config: type, key: str) -> str:
    """The unit of a key: that of its annotation or of the end of its name; empty when it has none."""
    if "Seconds" in str(config.__annotations__[key]):
        return "s"
    return "bytes" if key.endswith("_bytes") else ""


def _kinds(field: schema.Schema) -> list[schema.Schema]:
    return list(field.get("anyOf", [field]))


def _enumerated(config: type, field: schema.Schema) -> list[str]:
    """The words of a key that accepts only some."""
    return [
        word for kind in _kinds(field) if "$ref" in kind for word in schema.components(config)[kind["$ref"]]["enum"]
    ]


def _default_of(config: type, key: str) -> str:
    value = getattr(config(), key)
    return "left out" if value is None else f"`{_toml_value(value)}`"


def _option_default(option: click.Option) -> str:
    shown = isinstance(option.default, str | int | float) and not isinstance(option.default, bool)
    return f"`{option.default}`" if shown else ""


def _entry(config: type, key: str) -> str:
    default, unit = getattr(config(), key), unit_of(config, key)
    said = re.sub(r"``([^`]*)``", r"\1", meaning(config, key) or "")
    comment = textwrap.fill(said, COLUMNS, initial_indent="# ", subsequent_indent="# ")
    line = f"{key} = {_toml_value(default)}" if default is not None else f"# {key} = {_stand_in(config, key)}"
    return f"{comment}\n{line}{f'  # {unit}' if unit else ''}"


def _stand_in(config: type, key: str) -> str:
    """An example value for a key that has no default."""
    field = schema.properties(config)[key]
    words = _enumerated(config, field)
    integer = any(kind.get("type") == "integer" for kind in _kinds(field))
    return _toml_value(words[0]) if words else "1" if integer else "1.0"


def _toml_value(value: object) -> str:
    plain = value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value
    return tomli_w.dumps({"x": plain}).partition("= ")[2].strip()
