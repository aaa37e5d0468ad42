"""The table ``[driver]`` of an experiment: what it may say, and which lanes can carry it out."""

from __future__ import annotations

import pytest

from resilience.errors import ExperimentError, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.drivers import BUNDLED_DRIVERS, FleetDriver, StdioDriver
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
    assert found.evidence == experiment().evidence - {EvidenceSource.QUIZ_CLIENTS, EvidenceSource.OBSERVATIONS}
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
        ('kind = "stdio"\ncommand = ["x"]\nprocesses = 0\n', "driver.processes: 0: must be at least 1, or left out"),
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


def mixed(second: str, more: str = "") -> Experiment:
    """Two cohorts, the second with these keys of its own."""
    cohorts = f'cohorts = [{{name = "a", clients = 2}}, {{name = "b", clients = 3{second}}}]'
    return parse(f'name = "x"\nduration = 60.0\n{cohorts}\n{more}', "x.toml")


OWN = '[drivers.own]\nkind = "stdio"\ncommand = ["node"]\n'


@pytest.mark.parametrize("name, more", [("chromium", ""), ("own", OWN), ("fleet", "")])
def test_a_cohort_may_name_its_driver(name: str, more: str) -> None:
    found = mixed(f', driver = "{name}"', more)
    own = found.drivers[name] if more else BUNDLED_DRIVERS[name]
    assert found.drivers_by_cohort == {"a": FleetDriver(), "b": own}
    assert found.drivers_in_use == {None: FleetDriver(), name: own}
    assert parse(to_toml(found), "again.toml") == found
    assert found.lanes == ((Lane.REAL,) if name != "fleet" else experiment().lanes)


def test_a_run_has_the_evidence_that_all_its_clients_leave() -> None:
    """The quiz's own page records what it did and what it was shown, as the fleet does."""
    records, shown = EvidenceSource.QUIZ_CLIENTS, EvidenceSource.OBSERVATIONS
    assert {records, shown} <= mixed(', driver = "chromium"').evidence
    foreign = mixed(', driver = "own"', OWN).evidence
    assert (records in foreign, shown in foreign) == (False, True)
    foreign_else = f'{OWN}[driver]\nkind = "stdio"\ncommand = ["x"]\n'
    both = [mixed(f', driver = "{name}"', foreign_else) for name in ("own", "fleet", "chromium")]
    assert [shown in found.evidence for found in both] == [False, True, True]


@pytest.mark.parametrize(
    "second, more, complaint",
    [
        (
            ', driver = "chrome"',
            "",
            "cohorts[1].driver: 'chrome': unknown; must be one of: fleet, chromium, or that of",
        ),
        (', driver = "chrome"', OWN, "must be one of: fleet, chromium, own, or"),
        (
            "",
            OWN.replace("own", "fleet"),
            "drivers.fleet: 'fleet': is the name of a bundled driver (there are: fleet, ",
        ),
        ("", OWN.replace("own", "Own"), "drivers.Own: 'Own': must be lower-case letters, digits, - and _"),
        ("", OWN.replace("stdio", "web"), "drivers.own.kind: 'web': must be one of: fleet, stdio"),
        ("", "[drivers.own]\nkind = 'stdio'\ncommand = []\n", "drivers.own.command: []: must name a program"),
        ("", "[drivers.own]\nkind = 'stdio'\n", "drivers.own.command: object missing required field"),
        ("", "[drivers]\nown = 3\n", "drivers: expected `object`"),
        ("", "drivers = 3\n", "drivers"),
        (
            ', driver = "chromium"',
            '[target]\nkind = "external"\naddress = "a:1"\n',
            "cohorts[1].driver: 'chromium': needs the quiz server, whose page it loads",
        ),
        (
            ', driver = "chromium"',
            '[[faults]]\nkind = "client_duplicate"\ncohorts = ["b"]\nat = 20.0\n',
            "faults[0].kind: 'client_duplicate': needs this program's own clients",
        ),
    ],
)
def test_what_is_wrong_with_a_cohorts_driver_is_named(second: str, more: str, complaint: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        mixed(second, more)
    assert complaint in str(caught.value), caught.value


def test_a_fault_that_only_the_fleet_obeys_may_strike_the_cohorts_of_the_fleet() -> None:
    fault = '[[faults]]\nkind = "client_duplicate"\ncohorts = ["a"]\nat = 20.0\n'
    assert mixed(', driver = "chromium"', fault).faults


def test_only_the_real_lane_runs_a_cohort_of_other_clients() -> None:
    with pytest.raises(UsageError, match=r"cohorts\[1\]\.driver: the lane virtual cannot carry out clients of another"):
        require_lane(mixed(', driver = "chromium"'), Lane.VIRTUAL)
