"""The page of targets: its examples are accepted, its table has every key, its facts are the program's."""

from __future__ import annotations

import re

from chaos.ports import HIGH, LOW
from chaos.targets.external import READY_TIMEOUT_S
from chaos.toxiproxy.versions import OLDEST, VERSION
from resilience.experiment.loader import parse
from resilience.experiment.targets import CommandTargetSpec, ExternalTargetSpec
from resilience.lab.participants import EVENT
from resilience.lab.server_watch import HANG_S

from .markdown import blocks, table_under

PAGE = "docs/targets.md"
AROUND = 'name = "all"\nduration = 20.0\ncohorts = [{name = "a", clients = 1}]\n\n'


def test_the_examples_are_accepted(pages: dict[str, str]) -> None:
    command, external = blocks(pages[PAGE], "toml")
    whole = parse(command.text, "mine.toml").target
    assert isinstance(whole, CommandTargetSpec)
    assert whole.command[whole.command.index("--event") + 1] == EVENT
    assert isinstance(parse(AROUND + external.text, "external.toml").target, ExternalTargetSpec)


def test_the_table_has_every_key_with_its_default(pages: dict[str, str]) -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in table_under(pages[PAGE], "## A command")}
    assert tuple(rows) == CommandTargetSpec.__struct_fields__
    defaults = CommandTargetSpec(command=("x",))
    assert (rows["path"], rows["stop_signal"]) == (defaults.path, defaults.stop_signal)
    assert (rows["start_timeout"], rows["stop_timeout"]) == (
        f"{defaults.start_timeout:g} s",
        f"{defaults.stop_timeout:g} s",
    )


def test_the_numbers_are_the_programs(pages: dict[str, str]) -> None:
    text = " ".join(re.split(r"\s+", pages[PAGE]))
    assert (HANG_S, READY_TIMEOUT_S) == (10.0, 10.0)
    assert f"from {LOW:,} to {HIGH - 1:,}" in text
    assert f"older than {'.'.join(map(str, OLDEST))} is rejected; any other version than {VERSION}" in text
