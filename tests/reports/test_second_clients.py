"""The checks of second tabs, replays and dials on sound runs: what they count, and where they say nothing."""

from __future__ import annotations

import functools

import msgspec
import pytest

from reports.checks.client_tabs import second_tabs_take_over
from reports.checks.pacing import dials_paced, least_delay
from reports.episodes import episodes_frame
from reports.frames import RunHistory
from reports.invariants import run_checks
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.faults import CutFault
from resilience.lab.participants import participants_of
from resilience.policy.backoff import CLASSIC, WINDOW
from resilience.protocol.client.participant import ParticipantClient
from resilience.protocol.messages import ResumeRejected
from resilience.protocol.server.identities import IdentityRegistry
from resilience.protocol.server.tokens import ResumeRejection, TokenRegistry
from tests.support.log_builder import LogBuilder, experiment
from tests.support.planted import DEFECTS
from tests.support.planted.runs import TABS, complaints, virtual

TABBED = 6
CHECKS = ("second_tabs_take_over", "replaced_tabs_stay_closed", "replays_refused")


@functools.cache
def tabs_run() -> RunHistory:
    """Second tabs, a cut, replayed tokens, in virtual time."""
    return virtual(1, TABS)


def test_every_tab_and_every_replay_is_judged() -> None:
    judged = {item.name: (item.verdict, item.checked) for item in run_checks(tabs_run(), CHECKS)}
    assert judged == dict.fromkeys(CHECKS, (Verdict.PASS, TABBED))


def test_a_replaced_tab_has_an_outcome_of_its_own_and_a_replay_none() -> None:
    """The newer tabs are the ones that a later fault reaches."""
    found = episodes_frame(tabs_run()).groupby(["kind", "outcome"], observed=True).size().to_dict()
    assert found == {
        ("client_duplicate", "superseded"): TABBED,
        ("client_duplicate", "not_exposed"): TABBED,
        ("cut", "restored"): TABBED,
        ("cut", "not_exposed"): TABBED,
        ("token_replay", "rode_through"): TABBED,
        ("token_replay", "not_exposed"): TABBED,
    }


def test_the_shortest_delay_is_that_of_the_policy() -> None:
    assert [least_delay(CLASSIC, attempt) for attempt in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert least_delay(WINDOW, 1) == 0.0
    assert 0.1 < least_delay(WINDOW, 2) < least_delay(WINDOW, 3)


@pytest.mark.parametrize("gap, verdict", [(0.02, Verdict.FAIL), (0.5, Verdict.PASS)])
def test_a_client_that_does_not_wait_is_named(gap: float, verdict: Verdict) -> None:
    log = LogBuilder(experiment()).join("c0").fault("cut", 10.0, 10.0).lose("c0", 10.0)
    for number, t in ((1, 10.1), (2, 10.1 + gap)):
        log.client(t, "c0", LogEventKind.TRANSPORT_OPENING, connection_no=1 + number, attempt=number)
    history = log.back("c0", 12.0).end().log()
    (judged,) = run_checks(history, ("dials_paced",))
    assert judged.verdict is verdict
    assert dials_paced(history).checked == 1


# tabs that return at once ---------------------------------------------------------------------------------------------

RACE = msgspec.structs.replace(
    TABS, name="race", faults=(TABS.faults[0], *(CutFault(TABS.faults[0].at + ms / 1000, ("tabbed",)) for ms in (2, 4)))
)
"""The connections of both tabs end twice while the second one opens."""


def test_one_of_two_tabs_that_return_at_once_has_the_session() -> None:
    """The server rejects the copy of the other one, or closes it; no check takes that for a lost identity."""
    history = virtual(1, RACE)
    assert complaints(history) == {}
    rejected = {event.cause for event in history.of(LogEventKind.SESSION_REJECTED)}
    assert rejected == {"retired"}
    assert len(history.of(LogEventKind.SESSION_SUPERSEDED)) == TABBED


def _join_again(self: ParticipantClient, message: ResumeRejected, now: float) -> None:
    self._record(LogEventKind.SESSION_REJECTED, now, cause=message.reason)
    self.credentials = None
    self._send_first_message(now)


def test_a_tab_that_joins_as_a_new_participant_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the server closes its connection: it is on the server's list."""
    monkeypatch.setattr(ParticipantClient, "_rejected", _join_again)
    monkeypatch.setattr(IdentityRegistry, "_rejection_of", lambda *_: (ResumeRejection.UNKNOWN, None))
    found = complaints(virtual(1, RACE))
    assert "was" in found["one_identity_each"]
    assert {"identities_kept", "second_tabs_take_over"} <= found.keys()


def test_a_server_that_replaces_all_tabs_of_a_person_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rejects the present token too."""
    monkeypatch.setattr(TokenRegistry, "find", lambda *_: None)
    history = virtual(1, RACE)
    problems = second_tabs_take_over(history).counterexamples
    assert any("all of its 2 tabs were replaced" in str(problem) for problem in problems)
    assert {"identities_kept", "one_identity_each", "sessions_survive"} <= complaints(history).keys()


def test_a_tab_that_waits_for_its_first_tabs_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered in the end, long after it opened, though no fault touched its link meanwhile."""
    late = msgspec.structs.replace(TABS, faults=(TABS.faults[0], CutFault(9.0, ("tabbed",))), duration=18.0)
    DEFECTS["locked_out"].plant(monkeypatch.setattr)
    assert "had no session within 5.0 s" in complaints(virtual(1, late))["second_tabs_take_over"]


@pytest.mark.parametrize("failed", [True, False], ids=["its own proxy", "another link's"])
def test_a_tab_without_a_session_accuses_no_system_where_its_proxy_failed(
    monkeypatch: pytest.MonkeyPatch, *, failed: bool
) -> None:
    """The laboratory's proxy may swallow the answer to a second tab; that of another link swallows nothing of it."""
    late = msgspec.structs.replace(TABS, faults=(TABS.faults[0], CutFault(9.0, ("tabbed",))), duration=18.0)
    DEFECTS["locked_out"].plant(monkeypatch.setattr)
    history = virtual(1, late)
    where = {who.link for who in participants_of(late, 1)} if failed else {"elsewhere"}
    replaced = [
        LogEvent(late.faults[0].at + 1, Lane.VIRTUAL, Role.RUNNER, link, LogEventKind.LINK_REPLACED, value=0.5)
        for link in where
    ]
    events = sorted([*history.events, *replaced], key=lambda event: event.t)
    told = RunHistory(history.info, history.experiment, events, history.observations, history.stored)
    assert ("second_tabs_take_over" in complaints(told)) is not failed
