"""What a reader will copy works: messages decode, files are taken, names reach the settings."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from docgen import configuration, protocol, samples, schema
from docgen.message_sections import tag_of

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.errors import UsageError
from resilience.protocol import codec
from resilience.settings import server_settings

from .markdown import blocks

OTHER: dict[type, list[str]] = {
    float: ["16.5", "59.5", "31.5", "0.75", "6.5"],
    int: ["7"],
    bool: ["true"],
    tuple: ["https://quiz.example, https://www.quiz.example"],
}
"""Texts of the environment that are no defaults; one of them keeps every rule of its setting."""


@pytest.fixture(scope="module")
def examples(pages: dict[str, str]) -> list[str]:
    """The messages that the protocol page shows, one a line."""
    return [line for block in blocks(pages["docs/protocol.md"], "json") for line in block.text.splitlines()]


@pytest.fixture(scope="module")
def files(pages: dict[str, str]) -> list[str]:
    """The settings files that the configuration page shows."""
    return [block.text for block in blocks(pages["docs/configuration.md"], "toml")]


def test_every_message_has_one_example(examples: list[str]) -> None:
    assert [json.loads(example)["type"] for example in examples] == list(map(tag_of, protocol.MESSAGES))


def test_every_example_decodes_and_is_complete(examples: list[str]) -> None:
    """Encoding the decoded message gives the example again."""
    client_side = {tag_of(kind) for kind in (*protocol.CLIENT, *protocol.HOST)}
    for example in examples:
        tag = json.loads(example)["type"]
        message = (codec.decode_client if tag in client_side else codec.decode_server)(example)
        assert tag_of(type(message)) == tag
        assert json.loads(codec.encode(message)) == json.loads(example)


@pytest.mark.parametrize("kind", protocol.MESSAGES, ids=tag_of)
def test_a_sample_fills_every_required_field(kind: type) -> None:
    assert samples.sample_json(kind) == samples.sample_json(kind)
    assert schema.required(kind) <= set(json.loads(samples.sample_json(kind)))


def test_every_value_that_a_sample_takes_by_name_has_a_field() -> None:
    """A field that goes away takes its value with it."""
    fields = {name: set(part.get("properties", ())) for name, part in samples._COMPONENTS.items()}
    assert set(samples._BY_PLACE) <= {f"{name}.{key}" for name, keys in fields.items() for key in keys}
    assert set(samples._BY_NAME) <= set().union(*fields.values())


def test_the_server_file_is_taken_and_holds_every_key(files: list[str], tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(files[0], "utf-8")
    assert server_settings(path, {}, {}) == (ServerConfig(), QuizConfig())
    tables = tomllib.loads(files[0])
    for table, config in (("server", ServerConfig), ("quiz", QuizConfig)):
        assert list(tables[table]) == list(schema.properties(config))


def test_the_client_file_is_taken_with_what_is_left_out_and_without(files: list[str]) -> None:
    assert msgspec.convert(tomllib.loads(files[1])["client"], ClientConfig) == ClientConfig()
    whole = re.sub(r"^# (\w+ = )", r"\1", files[1], flags=re.MULTILINE)
    tables = tomllib.loads(whole)
    assert list(tables["client"]) == list(schema.properties(ClientConfig))
    msgspec.convert(tables["client"], ClientConfig)


def test_every_name_of_the_environment_reaches_its_setting() -> None:
    names = configuration.environment_names()
    assert list(names) == list(schema.properties(ServerConfig))
    for key, name in names.items():
        default = getattr(ServerConfig(), key)
        assert any(_taken({name: text}, key) != default for text in OTHER[type(default)]), name


def _taken(environ: dict[str, str], key: str) -> Any:  # noqa: ANN401 - any setting
    try:
        server, _ = server_settings(None, environ, {})
    except UsageError:
        return getattr(ServerConfig(), key)
    return getattr(server, key)


def test_every_flag_for_a_setting_is_in_the_table(pages: dict[str, str]) -> None:
    assert configuration.flags() == {
        "heartbeat_interval": "--heartbeat-interval",
        "grace_period": "--grace-period",
        "cleanup_interval": "--cleanup-interval",
    }
    for option in configuration.serve_options():
        assert f"| `{option.opts[0]}` |" in pages["docs/configuration.md"]
        assert option.help, option.name


@pytest.mark.parametrize("config", configuration.CONFIGS, ids=lambda config: config.__name__)
def test_every_number_has_a_rule(config: type) -> None:
    """A number that no rule rejects is a setting without a considered range."""
    numbers = [key for key in schema.properties(config) if "number" in configuration.kind_of(config, key)]
    assert numbers
    assert [key for key in numbers if not configuration.rules(config, key)] == []
