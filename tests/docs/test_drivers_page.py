"""docs/drivers.md: its messages are messages, and its command and example file are taken."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import click
import msgspec
import pytest
from docgen import drivers
from docgen.message_sections import tag_of

from chaos.cli import chaos
from chaos.drivers import messages
from resilience.experiment.drivers import ClientDriver, StdioDriver

from .markdown import blocks

PAGE = "docs/drivers.md"


@pytest.fixture(scope="module")
def lines(pages: dict[str, str]) -> list[str]:
    """The messages that the page shows, one a line."""
    return [line for block in blocks(pages[PAGE], "json") for line in block.text.splitlines()]


def test_every_message_has_one_example(lines: list[str]) -> None:
    kinds = (*drivers.ORDERS, *drivers.REPORTS)
    assert [json.loads(line)["type"] for line in lines] == [tag_of(kind) for kind in kinds]


def test_every_example_decodes(lines: list[str]) -> None:
    orders: msgspec.json.Decoder[messages.Order] = msgspec.json.Decoder(messages.Order)
    for line in lines[: len(drivers.ORDERS)]:
        assert messages.encode(orders.decode(line)).decode() == f"{line}\n"
    for line in lines[len(drivers.ORDERS) :]:
        assert json.loads(msgspec.json.encode(messages.decode(line.encode()))) == json.loads(line)


def test_its_table_of_an_experiment_is_taken(pages: dict[str, str]) -> None:
    (block,) = blocks(pages[PAGE], "toml")
    driver: Any = msgspec.convert(tomllib.loads(block.text)["driver"], ClientDriver)
    assert isinstance(driver, StdioDriver)
    assert driver.options == {"room": "lobby"}


def test_its_command_exists(pages: dict[str, str]) -> None:
    (block,) = blocks(pages[PAGE], "console")
    words = block.text.split()
    assert words[:5] == ["$", "resilience", "chaos", "driver", "check"]
    driver = chaos.commands["driver"]
    assert isinstance(driver, click.Group)
    assert "check" in driver.commands
