"""The time left for a question is as true as its message was fresh: a client resumes for what was held on its way."""

from __future__ import annotations

import pytest
from msgspec import structs

from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.lab.scripted_client import ScriptedClient
from resilience.protocol.client.connection import SLEEP_THRESHOLD_S, STALLED_S
from resilience.protocol.client.host import HostMachine
from resilience.protocol.client.participant import MAX_HOLD_S, Identity, ParticipantClient
from resilience.protocol.effects import Record
from resilience.protocol.messages import (
    Hosting,
    HostStatus,
    OpenQuestion,
    PresenceChanged,
    ProbeReply,
    QuestionOpened,
    QuestionRevealed,
)
from resilience.protocol.states import ClientState
from resilience.quiz.answer_behaviour import AnswerBehaviour
from tests.support.machines import ClientHarness, joined

SILENCE_S = ClientConfig().rules.probe.silence


def opened(seq: int = 1) -> QuestionOpened:
    return QuestionOpened(seq, OpenQuestion("q1", "?", ("a", "b"), 20_000, 20_000))


def client() -> ClientHarness:
    """A client whose session is open since 0."""
    harness = ClientHarness()
    harness.open()
    return harness


def losses(harness: ClientHarness) -> list[str | None]:
    """The causes for which it gave up connections."""
    harness.take_effects()
    return [record.cause for record in harness.records if record.kind is LogEventKind.TRANSPORT_LOST]


def test_a_question_that_comes_in_its_time_costs_nothing() -> None:
    harness = client()
    harness.machine.receive(opened(), 1, SILENCE_S - 1)
    assert (harness.machine.state, harness.machine.held_for) == (ClientState.OPEN, 0.0)


def test_a_question_that_was_read_after_a_sleep_is_resumed_for() -> None:
    """A stopped process finds it in its buffer, with all the time that it had when it was sent."""
    harness = client()
    asleep = SILENCE_S + SLEEP_THRESHOLD_S + 0.1
    harness.machine.receive(opened(), 1, asleep)
    assert harness.machine.held_for == asleep
    assert losses(harness) == ["question_held"]
    harness.machine.handle_timeout(harness.machine.next_deadline() or 0.0)
    harness.back(asleep + 1, seq=1)
    assert (harness.machine.state, harness.machine.held_for) == (ClientState.OPEN, 0.0)


def test_a_question_behind_a_stalled_link_is_resumed_for() -> None:
    harness = client()
    harness.machine.handle_timeout(SILENCE_S)
    harness.machine.receive(PresenceChanged(1, 1, (), ()), 1, SILENCE_S + STALLED_S + 0.5)
    assert harness.machine.state is ClientState.OPEN
    harness.machine.receive(opened(2), 1, SILENCE_S + STALLED_S + 0.5)
    assert losses(harness) == ["question_held"]


def test_a_probe_that_is_under_way_shows_no_hold() -> None:
    harness = client()
    harness.machine.handle_timeout(SILENCE_S)
    harness.machine.receive(opened(), 1, SILENCE_S + STALLED_S - 0.1)
    assert losses(harness) == []


def test_what_follows_the_reply_to_the_last_probe_was_not_held() -> None:
    harness = client()
    machine = harness.machine
    machine.receive(PresenceChanged(1, 1, (), ()), 1, 60.0)  # sends probe 1
    assert machine.held_for > MAX_HOLD_S
    machine.receive(ProbeReply(0), 1, 60.1)
    assert machine.held_for > MAX_HOLD_S
    machine.receive(ProbeReply(1), 1, 60.2)
    machine.receive(opened(2), 1, 60.3)
    assert losses(harness) == []


@pytest.mark.parametrize("is_open, causes", [(True, ["slept"]), (False, [])])
def test_a_sleep_of_the_clock_is_corrected_while_a_question_is_open(*, is_open: bool, causes: list[str]) -> None:
    """The computer was suspended, so the deadlines do not show it; without a countdown a probe is enough."""
    harness = client()
    harness.machine.receive(opened(), 1, 1.0)
    harness.machine.receive(PresenceChanged(2, 1, (), ()), 1, 1.5)
    if not is_open:
        harness.machine.receive(QuestionRevealed(3, "q1", 0), 1, 2.0)
    harness.machine.slept(2.5)
    assert harness.machine.state is (ClientState.CONNECTING if is_open else ClientState.OPEN)
    assert losses(harness) == causes


@pytest.mark.parametrize("phase, causes", [("question", ["question_held"]), ("lobby", [])])
def test_a_welcome_that_was_read_after_a_sleep_is_resumed_for(phase: str, causes: list[str]) -> None:
    """Its snapshot has the time left when it was sent."""
    harness = ClientHarness()
    harness.machine.start(0.0)
    harness.machine.transport_opened(1, 0.0)
    welcome = joined()
    late = structs.replace(welcome, snapshot=structs.replace(welcome.snapshot, phase=phase))
    harness.machine.receive(late, 1, 60.0)
    assert losses(harness) == causes


def test_a_sleep_of_the_clock_while_a_welcome_is_on_its_way_dials_again() -> None:
    """The dial is young on a clock that stood still."""
    harness = ClientHarness()
    harness.machine.start(0.0)
    harness.machine.transport_opened(1, 0.0)
    harness.machine.slept(0.5)
    assert (harness.machine.state, harness.machine.dial) == (ClientState.CONNECTING, 2)


def test_a_hold_is_noted_by_a_message_of_an_unknown_type_too() -> None:
    harness = client()
    harness.machine.handle_timeout(SILENCE_S)
    harness.machine.receive_unknown(None, 1, SILENCE_S + 60)
    harness.machine.receive(opened(), 1, SILENCE_S + 60)
    assert losses(harness) == ["question_held"]


def status(remaining_ms: int | None) -> HostStatus:
    return HostStatus("e", "t", 1, "question", 1, 1, "?", remaining_ms, 0, 0, 0, 0, ())


@pytest.mark.parametrize("remaining_ms, causes", [(9000, ["slept"]), (None, [])])
def test_a_host_whose_quiz_advances_by_itself_is_corrected_after_a_sleep(
    remaining_ms: int | None, causes: list[str]
) -> None:
    host = HostMachine("e", "key", None, ClientConfig().rules, lambda _purpose, _incident, _attempt: 0.5)
    host.start(0.0)
    host.transport_opened(1, 0.0)
    host.receive(Hosting("e", status(remaining_ms)), 1, 0.0)
    host.slept(1.0)
    lost = [e.cause for e in host.effects() if isinstance(e, Record) and e.kind is LogEventKind.TRANSPORT_LOST]
    assert lost == causes


def test_a_script_keeps_its_connection() -> None:
    """It shows no countdown, so a held question is no loss in a run."""
    script = ScriptedClient(
        Identity("e", "ann", "i1"),
        ClientConfig().rules,
        AnswerBehaviour(1.0, 0.2, 0.8),
        lambda _purpose, _incident, _attempt: 0.5,
    )
    script.start(0.0)
    script.transport_opened(1, 0.0)
    script.receive(joined(), 1, 0.0)
    script.receive(opened(), 1, 60.0)
    assert isinstance(script, ParticipantClient)
    assert script.state is ClientState.OPEN
