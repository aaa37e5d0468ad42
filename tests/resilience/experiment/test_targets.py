"""The table of the system under test: what it may say, what is wrong with it, and what it excludes."""

from __future__ import annotations

import pytest

from resilience.errors import ExperimentError, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import parse, to_toml
from resilience.experiment.spec import Experiment
from resilience.experiment.targets import (
    TARGET_KINDS,
    CommandTargetSpec,
    EvidenceSource,
    ExternalTargetSpec,
    HostPort,
    QuizTargetSpec,
    host_port,
)
from resilience.lab.run import require_lane

COMMAND = '[target]\nkind = "command"\ncommand = ["node", "server.js", "{port}"]\n'
EXTERNAL = '[target]\nkind = "external"\naddress = "127.0.0.1:9000"\n'


def experiment(extra: str = "") -> Experiment:
    return parse(f'name = "x"\nduration = 60.0\ncohorts = [{{name = "a", clients = 2}}]\n{extra}', "x.toml")


def test_without_a_table_the_target_is_the_quiz_server() -> None:
    assert experiment().target == QuizTargetSpec()
    assert experiment().evidence == frozenset(EvidenceSource)
    assert experiment() == experiment('[target]\nkind = "quiz"\n')


@pytest.mark.parametrize("table, kind", [(COMMAND, CommandTargetSpec), (EXTERNAL, ExternalTargetSpec)])
def test_a_target_survives_being_written_and_leaves_no_evidence_of_its_own(table: str, kind: type) -> None:
    found = experiment(table)
    assert isinstance(found.target, kind)
    assert parse(to_toml(found), "again.toml") == found
    assert found.evidence == {EvidenceSource.QUIZ_CLIENTS, EvidenceSource.OBSERVATIONS}
    assert found.digest != experiment().digest


@pytest.mark.parametrize(
    "table, complaint",
    [
        ('[target]\npath = "/ws"\n', "target.kind: missing: must be one of: quiz, command, external"),
        ('[target]\nkind = "process"\n', "target.kind: 'process': must be one of: quiz, command, external"),
        ('[target]\nkind = "quiz"\npath = "/ws"\n', "target.path: object contains unknown field"),
        ('[target]\nkind = "command"\n', "target.command: object missing required field"),
        ('[target]\nkind = "command"\ncommand = []\n', "target.command: []: must be a list of words"),
        ('[target]\nkind = "command"\ncommand = ["node"]\n', "must hold {port} where the port goes"),
        (COMMAND + 'path = "ws"\n', "target.path: 'ws': must begin with /"),
        (COMMAND + 'ready = "healthz"\n', "target.ready: 'healthz': must be an HTTP path"),
        (COMMAND + 'stop_signal = "SIGKILL"\n', "target.stop_signal: invalid enum value"),
        (COMMAND + "start_timeout = 0.0\n", "target.start_timeout: 0.0: must be a positive number of seconds"),
        (COMMAND + 'environment = {"A=B" = "c"}\n', "target.environment: {'A=B': 'c'}: every name"),
        ('[target]\nkind = "external"\naddress = "ws://a:1/"\n', "target.address: 'ws://a:1/': must be host:port"),
        (EXTERNAL + "[server]\nbacklog = 9\n", "server: ['backlog']: must be left out"),
        (EXTERNAL + '[[expectations]]\nmetric = "grace_expirations"\nop = "<="\nthreshold = 1.0\n', "has no log"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(table: str, complaint: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        experiment(table)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("kind", ["server_kill", "server_suspend", "server_drain"])
def test_an_external_target_cannot_be_struck(kind: str) -> None:
    """The runner has not started it; a command may be."""
    fault = f'[[faults]]\nkind = "{kind}"\nat = 20.0\nduration = 5.0\n'
    with pytest.raises(ExperimentError, match=r"faults\[0\]\.kind: .*an external target cannot be killed") as caught:
        experiment(EXTERNAL + fault)
    assert 'target.kind = "command"' in str(caught.value)
    assert experiment(COMMAND + fault).faults


@pytest.mark.parametrize("lane", [Lane.VIRTUAL, Lane.MODEL])
def test_the_simulations_run_their_own_server_only(lane: Lane) -> None:
    require_lane(experiment(), lane)
    require_lane(experiment(COMMAND), Lane.REAL)
    with pytest.raises(UsageError, match=rf"target\.kind: the lane {lane} cannot .* command; choose the lane real"):
        require_lane(experiment(COMMAND), lane)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:65535", ("::1", 65535)),
        ("chat.example:443", ("chat.example", 443)),
        *((wrong, None) for wrong in ("", ":80", "a", "a:", "a:0", "a:65536", "::1:80", "http://a:1", "a:1/x", "a:x")),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, parts: tuple[str, int] | None) -> None:
    assert host_port(text) == (parts and HostPort(*parts))


def test_the_kinds_are_those_of_the_union() -> None:
    assert TARGET_KINDS == ("quiz", "command", "external")
