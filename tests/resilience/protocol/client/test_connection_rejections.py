"""A server that turns a client away, again and again: no loop, no storm, no end of memory."""

from __future__ import annotations

import pytest

from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import MAX_RETRY_AFTER_S, MIN_RETRY_AFTER_S
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.dismissal import Dismissal
from resilience.protocol.client.participant import MAX_PENDING_ANSWERS
from resilience.protocol.effects import AbortTransport, CloseTransport, Deliver, OpenTransport, Record
from resilience.protocol.messages import Error, Join, QuizFinished, Resume, ResumeRejected
from resilience.protocol.states import ClientState
from tests.support.client_states import CLASSIC, client_in
from tests.support.machines import ClientHarness, joined, restored


def test_the_ladder_paces_dials_to_a_server_that_rejects_every_message() -> None:
    """F36: an unrequested rejection ends the connection instead of starting a loop at the speed of the wire."""
    client = ClientHarness(CLASSIC)
    machine = client.machine
    machine.start(0.0)
    now, sent = 0.0, []
    while machine.state is not ClientState.GAVE_UP:
        machine.transport_opened(machine.dial, now)
        for _ in range(20):
            sent += client.sent_messages()
            machine.receive(ResumeRejected("unknown"), machine.dial, now)
        now = machine.next_deadline() or now
        machine.handle_timeout(now)
    assert len(sent) == machine.dial == 11
    assert now == 1 + 2 + 4 + 8 + 16 + 5 * 30


def test_a_session_that_is_rejected_at_every_return_climbs_the_ladder() -> None:
    """F36: resume rejected, join taken, closed at once, and so on: one join for each dial, and an end."""
    client = ClientHarness(CLASSIC)
    machine = client.machine
    client.open()
    now, sent = 1.0, []
    while machine.state is not ClientState.GAVE_UP:
        machine.transport_lost(machine.dial, "closed", now)
        now = machine.next_deadline() or now
        machine.handle_timeout(now)
        machine.transport_opened(machine.dial, now)
        machine.receive(ResumeRejected("unknown"), machine.dial, now)
        machine.receive(joined(), machine.dial, now)
        sent += client.sent_messages()
    each_dial: list[type] = [Resume, Join]
    assert [type(message) for message in sent if isinstance(message, Join | Resume)] == each_dial * 10
    assert now == 1 + 181


def test_a_reconnection_records_how_many_dials_it_took() -> None:
    """Counted from the loss, wake-ups and advice included; a new incident counts from one."""
    client = ClientHarness(CLASSIC)
    client.open()
    machine = client.machine
    machine.transport_lost(1, "closed", 10.0)
    machine.wake(10.1)
    machine.transport_failed(2, "status_503", 10.2, advice=1.0)
    machine.handle_timeout(11.2)
    machine.transport_failed(3, "refused", 11.3)
    machine.handle_timeout(machine.next_deadline() or 0.0)
    client.take_effects()
    machine.transport_opened(4, 14.0)
    (resume,) = client.sent_messages()
    assert isinstance(resume, Resume)
    assert resume.attempt == 3
    machine.receive(joined(), 4, 14.0)
    machine.transport_lost(4, "closed", 30.0)
    machine.handle_timeout(31.0)
    machine.transport_opened(5, 31.0)
    assert [message.attempt for message in client.sent_messages() if isinstance(message, Resume)] == [1]


def test_an_error_in_answer_to_a_join_is_final() -> None:
    """The application learns why; the same join would be rejected again, every five seconds for ten minutes."""
    client = client_in(ClientState.JOINING)
    error = Error("malformed", "name", "too long")
    client.machine.receive(error, 1, 1.0)
    assert client.take_effects() == [Deliver(error), CloseTransport(1)]
    assert (client.machine.state, client.machine.next_deadline()) == (ClientState.CLOSED, None)
    assert client.machine.dismissal == Dismissal(reason="name: too long")


def test_an_error_over_an_open_session_ends_nothing() -> None:
    client = client_in(ClientState.OPEN)
    client.machine.receive(Error("malformed", "choice", "too large"), 1, 1.0)
    assert (client.machine.state, client.machine.dismissal) == (ClientState.OPEN, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 426, 451])
def test_a_handshake_that_time_cannot_heal_ends_the_client(status: int) -> None:
    """With the status as its cause, and nothing further to do."""
    client = ClientHarness(CLASSIC)
    client.machine.start(0.0)
    client.take_effects()
    client.machine.transport_failed(1, f"status_{status}", 0.1, 5.0, status=status)
    records = [record for record in client.machine.effects() if isinstance(record, Record)]
    assert (records[-1].kind, records[-1].cause) == (LogEventKind.CLIENT_DISMISSED, f"status_{status}")
    assert (client.machine.state, client.machine.next_deadline()) == (ClientState.CLOSED, None)
    assert client.machine.dismissal == Dismissal(status=status)


@pytest.mark.parametrize(
    "status, delay", [(200, 1.0), (301, 1.0), (408, 1.0), (425, 1.0), (429, 7.0), (500, 1.0), (502, 1.0), (503, 7.0)]
)
def test_any_other_status_is_retried(status: int, delay: float) -> None:
    """Advice counts for the two statuses for which it is defined."""
    client = ClientHarness(CLASSIC)
    client.machine.start(0.0)
    client.machine.transport_failed(1, f"status_{status}", 0.0, 7.0, status=status)
    assert (client.machine.state, client.machine.next_deadline()) == (ClientState.BACKING_OFF, delay)


def test_a_close_for_good_keeps_the_servers_reason() -> None:
    client = ClientHarness()
    client.open()
    client.take_effects()
    client.machine.transport_lost(1, "close_4202", 1.0, CloseCode.EVENT_UNKNOWN, reason="there is no such event here")
    record = client.machine.effects()[-1]
    assert isinstance(record, Record)
    assert (record.cause, record.detail) == ("4202", "there is no such event here")
    assert client.machine.dismissal == Dismissal(code=4202, reason="there is no such event here")


@pytest.mark.parametrize("rules", [CLASSIC, ClientConfig()])
@pytest.mark.parametrize("when", ["handshake", "join", "session"])
def test_a_server_that_always_says_at_once_is_dialled_by_the_ladder(rules: ClientConfig, when: str) -> None:
    """At the handshake, before the welcome and right after it: one dial more than the ladder, and an end."""
    client = ClientHarness(rules)
    machine = client.machine
    machine.start(0.0)
    now, dials = 0.0, [0.0]
    while machine.state is not ClientState.GAVE_UP:
        if when == "handshake":
            machine.transport_failed(machine.dial, "status_503", now, 0.0, status=503)
        else:
            machine.transport_opened(machine.dial, now)
            if when == "session":
                machine.receive(joined() if machine.participant is None else restored(), machine.dial, now)
            machine.transport_lost(machine.dial, "close_1013", now, CloseCode.TRY_AGAIN_LATER, 0.0)
        client.take_effects()
        if machine.state is ClientState.BACKING_OFF:
            now = machine.next_deadline() or now
            machine.handle_timeout(now)
            dials.append(now)
    assert len([at for at in dials if at <= 10]) <= (5 if rules is CLASSIC else 14)
    assert 12 <= len(dials) <= 60
    assert now <= 660


# advice --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "advice, delay",
    [
        (0.0, MIN_RETRY_AFTER_S),
        (1e9, MAX_RETRY_AFTER_S),
        (float("inf"), MAX_RETRY_AFTER_S),
        (-5.0, 1.0),
        (float("nan"), 1.0),
    ],
)
def test_absurd_advice_is_bounded(advice: float, delay: float) -> None:
    """No proxy can stop a client permanently or make it dial without delay; what is not a number is ignored."""
    client = ClientHarness(CLASSIC)
    client.machine.start(0.0)
    client.machine.transport_failed(1, "status_503", 0.0, advice)
    assert client.machine.next_deadline() == delay


@pytest.mark.parametrize("code", [1006, CloseCode.GOING_AWAY, CloseCode.SILENT, CloseCode.INTERNAL_ERROR])
def test_only_codes_of_the_advising_class_advise(code: int) -> None:
    """A reason that happens to look like advice is none."""
    client = ClientHarness(CLASSIC)
    client.open()
    client.machine.transport_lost(1, "closed", 1.0, code, advice=50.0)
    assert client.machine.next_deadline() == 2.0


# what only a newer server says ---------------------------------------------------------------------------------------


def test_an_unknown_message_is_a_sign_of_life_and_nothing_else() -> None:
    """Forward compatibility: the connection stays."""
    client = ClientHarness()
    client.open()
    client.machine.receive_unknown(None, 1, 3.0)
    assert (client.take_effects(), client.machine.state, client.machine.next_deadline()) == ([], ClientState.OPEN, 7.0)


def test_an_unknown_message_of_the_stream_leaves_no_gap() -> None:
    """Its number counts as taken, so that the next one does not look like a loss."""
    client = ClientHarness()
    client.open(seq=3)
    client.machine.receive_unknown(4, 1, 1.0)
    client.machine.receive(QuizFinished(5, ()), 1, 1.0)
    assert client.take_effects() == [Deliver(QuizFinished(5, ()))]


def test_a_gap_before_an_unknown_message_is_a_gap() -> None:
    """What is missing is fetched."""
    client = ClientHarness()
    client.open(seq=3)
    client.machine.receive_unknown(5, 1, 1.0)
    assert client.take_effects() == [AbortTransport(1)]


@pytest.mark.parametrize("state", [ClientState.CONNECTING, ClientState.JOINING, ClientState.BACKING_OFF])
def test_an_unknown_message_outside_a_session_does_nothing(state: ClientState) -> None:
    """Nor one of an old dial."""
    client = client_in(state)
    client.machine.receive_unknown(1, client.machine.dial, 1.0)
    client.machine.receive_unknown(1, client.machine.dial - 1, 1.0)
    assert (client.take_effects(), client.machine.state) == ([], state)


# bounds --------------------------------------------------------------------------------------------------------------


def test_answers_that_wait_are_bounded() -> None:
    """A client that is offline for good does not fill its memory."""
    client = client_in(ClientState.GAVE_UP)
    for number in range(MAX_PENDING_ANSWERS + 10):
        client.machine.answer(f"q{number}", 0, 1.0)
    assert len(client.machine.pending) == MAX_PENDING_ANSWERS
    assert f"q{MAX_PENDING_ANSWERS}" not in client.machine.pending


def test_a_client_that_closed_can_no_longer_be_started() -> None:
    """A superseded client stays closed."""
    client = ClientHarness(ClientConfig())
    client.open()
    client.machine.transport_lost(1, "closed", 1.0, CloseCode.SUPERSEDED)
    client.take_effects()
    client.machine.start(2.0)
    assert OpenTransport(2, 0) not in client.take_effects()
