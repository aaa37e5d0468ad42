"""docs/chromium.md: its experiment can pass, its commands exist, its numbers are those of the code."""

from __future__ import annotations

import tomllib

import click
import pytest

from chaos.cli import chaos
from chaos.drivers.chromium import program, tab
from chaos.drivers.process import EXAMPLES, resolve_command
from reports.plan import plans
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.loader import parse

from .markdown import blocks

PAGE = "docs/chromium.md"


@pytest.fixture
def page(pages: dict[str, str]) -> str:
    return pages[PAGE]


def test_its_experiment_can_pass(page: str) -> None:
    (block,) = blocks(page, "toml")
    assert all(planned.can_pass for planned in plans(parse(block.text, "browser.toml")))


def test_its_experiment_starts_the_driver_with_the_page_that_ships(page: str) -> None:
    (block,) = blocks(page, "toml")
    driver = parse(block.text, "browser.toml").driver
    assert isinstance(driver, StdioDriver)
    words = resolve_command(driver.command)
    assert words[1:] == ["-m", "resilience", "chaos", "driver", "chromium", str(EXAMPLES / "reconnecting.html")]
    assert (EXAMPLES / "reconnecting.html").is_file()
    assert tomllib.loads(block.text)["name"] == "browser"


def test_its_commands_and_flags_exist(page: str) -> None:
    group = chaos.commands["driver"]
    assert isinstance(group, click.Group)
    flags = {flag for parameter in group.commands["chromium"].params for flag in parameter.opts}
    assert {"--browser", "--flag", "--script", "--tabs"} <= flags
    assert all(f"`{flag}" in page for flag in ("--browser", "--flag", "--script", "--tabs"))
    shown = [block.text.split()[1:4] for block in blocks(page, "console")]
    assert shown == [["resilience", "chaos", "run"], ["resilience", "chaos", "driver"]]


def test_its_numbers_are_those_of_the_code(page: str) -> None:
    assert f"called `takeOrders` within {tab.LOAD_TIMEOUT_S:g} s" in page
    assert f"within {tab.THROWN_TIMEOUT_S:g} s of an error" in page
    assert tab.MOST_ERRORS == 20
    assert "the first twenty of each client" in page
    assert f"`{program.ADDRESS}`" in page
