"""The table ``[driver]`` of an experiment: what it may say, and which lanes can carry it out."""

from __future__ import annotations

import pytest

from resilience.errors import ExperimentError, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.drivers import FleetDriver, StdioDriver
from resilience.experiment.loader import parse, to_toml
from resilience.experiment.spec import Experiment
from resilience.experiment.targets import EvidenceSource
from resilience.lab.run import require_lane


def experiment(driver: str = "") -> Experiment:
    return parse(f'name = "x"\nduration = 60.0\ncohorts = [{{name = "a", clients = 2}}]\n{driver}', "x.toml")


STDIO = '[driver]\nkind = "stdio"\ncommand = ["node", "d.mjs"]\noptions = {room = "lobby", deep = {list = [1, 2]}}\n'


def test_without_a_table_the_clients_are_our_own() -> None:
    assert experiment() == experiment('[driver]\nkind = "fleet"\n')
    assert experiment().driver == FleetDriver()
    assert EvidenceSource.QUIZ_CLIENTS in experiment().evidence


def test_a_driver_survives_being_written() -> None:
    found = experiment(STDIO)
    assert found.driver == StdioDriver(("node", "d.mjs"), {"room": "lobby", "deep": {"list": [1, 2]}})
    assert parse(to_toml(found), "again.toml") == found
    assert found.evidence == experiment().evidence - {EvidenceSource.QUIZ_CLIENTS}
    assert found.digest != experiment().digest


@pytest.mark.parametrize(
    "table, complaint",
    [
        ('kind = "stdio"\n', "driver.command: object missing required field `command`"),
        ('kind = "stdio"\ncommand = []\n', "driver.command: []: must name a program"),
        ('kind = "stdio"\ncommand = [""]\n', "driver.command: ['']: must name a program"),
        ('kind = "stdio"\ncommand = "node"\n', "driver.command"),
        ('kind = "stdio"\ncommand = ["x"]\nact_every = 0.01\n', "driver.act_every: 0.01: must be 0 or at least 0.05 s"),
        ('kind = "stdio"\ncommand = ["x"]\nact_every = inf\n', "driver.act_every"),
        ('kind = "stdio"\ncommand = ["x"]\ncolour = "red"\n', "driver.colour"),
        ('kind = "browser"\n', "driver.kind: 'browser': must be one of: fleet, stdio"),
        ('command = ["x"]\n', "driver.kind: missing: must be one of: fleet, stdio"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(table: str, complaint: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        experiment(f"[driver]\n{table}")
    assert complaint in str(caught.value), caught.value


@pytest.mark.parametrize("lane", [Lane.VIRTUAL, Lane.MODEL])
def test_only_the_real_lane_runs_other_clients(lane: Lane) -> None:
    with pytest.raises(UsageError, match=f"driver: the lane {lane} cannot carry out clients of another program"):
        require_lane(experiment(STDIO), lane)
    require_lane(experiment(STDIO), Lane.REAL)
