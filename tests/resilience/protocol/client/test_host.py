"""The host's machine against a server that the test plays by hand."""

from __future__ import annotations

import itertools

import pytest

from resilience.config import ClientConfig
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.dismissal import Dismissal
from resilience.protocol.client.host import HostMachine, next_action
from resilience.protocol.effects import (
    AbortTransport,
    ClientEffect,
    CloseTransport,
    Deliver,
    OpenTransport,
    Record,
    SendToServer,
)
from resilience.protocol.messages import (
    CreateEvent,
    Error,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    HostStatus,
    Message,
    Ping,
    Pong,
    Probe,
    ProbeReply,
)
from resilience.protocol.states import ClientState
from resilience.quiz.phases import NEXT, Phase
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions

PLAN = QuizPlan(arithmetic_questions(1, 3, 20.0), "sums")
START, NEXT_ORDER = HostCommand(HostAction.START, 0), HostCommand(HostAction.NEXT, 2)


def status(step: int = 0, phase: Phase = Phase.LOBBY) -> HostStatus:
    """How an event stands."""
    return HostStatus("e", "sums", step, phase, 0, 3, "", None, 0, 0, 0, 0, ())


class HostHarness:
    """One host machine; every random number it draws is a half."""

    def __init__(self, plan: QuizPlan | None = PLAN) -> None:
        self.machine = HostMachine("e", "secret", plan, ClientConfig().rules, lambda _purpose, _incident, _attempt: 0.5)
        self.records: list[Record] = []

    def take(self) -> list[ClientEffect]:
        """What the machine wants done now; its records are kept apart."""
        effects = self.machine.effects()
        self.records += [effect for effect in effects if isinstance(effect, Record)]
        return [effect for effect in effects if not isinstance(effect, Record)]

    def said(self) -> list[Message]:
        """What the machine wants sent now."""
        return [effect.message for effect in self.take() if isinstance(effect, SendToServer)]

    def hear(self, message: object, now: float = 0.0) -> list[ClientEffect]:
        """The server says something over the current dial; returns what that wants done."""
        self.machine.receive(message, self.machine.dial, now)  # type: ignore[arg-type]
        return self.take()

    def dial(self, now: float = 0.0) -> list[Message]:
        """Start, or come back; the dial succeeds at once. Returns what is said."""
        if self.machine.state is ClientState.IDLE:
            self.machine.start(now)
        else:
            self.machine.handle_timeout(now)
        self.machine.transport_opened(self.machine.dial, now)
        return self.said()

    def open(self, current: HostStatus | None = None) -> None:
        """Host an event that exists."""
        self.dial()
        self.hear(Hosting("e", current or status()))

    def cut(self, now: float) -> None:
        """The connection ends."""
        self.machine.transport_lost(self.machine.dial, "closed", now)
        self.take()


def test_a_host_shows_its_key_first() -> None:
    """And nothing else before it is let in."""
    harness = HostHarness()
    assert harness.dial() == [Host(event="e", key="secret")]
    harness.machine.order(HostAction.START)
    assert harness.take() == []


def test_an_existing_event_is_hosted() -> None:
    """The plan is not sent again."""
    harness = HostHarness()
    harness.dial()
    welcome = Hosting("e", status(2, Phase.REVEAL))
    assert harness.hear(welcome) == [Deliver(welcome)]
    assert harness.machine.status == welcome.status
    assert harness.machine.state is ClientState.OPEN


@pytest.mark.parametrize("answer", [HostResult("create", "done", 0), Hosting("e", status())])
def test_an_event_that_is_missing_is_created(answer: Message) -> None:
    """From the plan; then the first status is waited for."""
    harness = HostHarness()
    harness.dial()
    assert harness.hear(Hosting("e")) == [SendToServer(CreateEvent(PLAN)), Deliver(Hosting("e"))]
    assert harness.hear(answer) == [Deliver(answer)]
    harness.hear(status())
    assert harness.machine.order(HostAction.START)
    assert harness.said() == [START]


def test_without_a_plan_nothing_is_created() -> None:
    """The application learns that there is no such event."""
    harness = HostHarness(plan=None)
    harness.dial()
    assert harness.hear(Hosting("e")) == [Deliver(Hosting("e"))]
    assert not harness.machine.order(HostAction.START)


def test_a_creation_that_was_cut_off_is_tried_again() -> None:
    """The server says again that the event is missing, and it is made."""
    harness = HostHarness()
    harness.dial()
    harness.hear(Hosting("e"))
    harness.cut(1.0)
    assert harness.dial(9.0) == [Host(event="e", key="secret")]
    assert SendToServer(CreateEvent(PLAN)) in harness.hear(Hosting("e"), 9.0)


# orders --------------------------------------------------------------------------------------------------------------


def test_an_order_carries_the_step_it_was_meant_for() -> None:
    """That of the newest status."""
    harness = HostHarness()
    harness.open()
    harness.hear(status(2, Phase.REVEAL))
    assert harness.machine.order(HostAction.NEXT)
    assert harness.said() == [NEXT_ORDER]


def test_one_order_at_a_time() -> None:
    """Until it is answered; then the next one is for the step after it, even before the next status."""
    harness = HostHarness()
    harness.open()
    assert harness.machine.order(HostAction.START)
    assert not harness.machine.order(HostAction.START)
    assert harness.said() == [START]
    result = HostResult("start", "done", 1)
    assert harness.hear(result) == [Deliver(result)]
    assert harness.machine.order(HostAction.REVEAL)
    assert harness.said() == [HostCommand(HostAction.REVEAL, 1)]


def test_an_unanswered_order_is_sent_again_with_the_same_step() -> None:
    """Even when the quiz has moved on meanwhile: the server then says so, and nothing is done twice."""
    harness = HostHarness()
    harness.open()
    harness.machine.order(HostAction.START)
    for again in range(2, 5):
        harness.cut(again * 100.0)
        harness.dial(again * 100.0 + 9.0)
        assert SendToServer(START) in harness.hear(Hosting("e", status(1, Phase.QUESTION)), again * 100.0 + 9.0)
    harness.hear(HostResult("start", "stale_step", 1))
    assert harness.machine.pending is None
    harness.cut(900.0)
    harness.dial(909.0)
    assert SendToServer(START) not in harness.hear(Hosting("e", status(1, Phase.QUESTION)), 909.0)


def test_an_order_given_offline_waits() -> None:
    """And goes out with the return."""
    harness = HostHarness()
    harness.open(status(2, Phase.REVEAL))
    harness.cut(1.0)
    assert harness.machine.order(HostAction.NEXT)
    assert harness.take() == []
    harness.dial(9.0)
    assert SendToServer(NEXT_ORDER) in harness.hear(Hosting("e", status(2, Phase.REVEAL)), 9.0)


def test_a_result_of_another_order_settles_nothing() -> None:
    """Such as one that came late."""
    harness = HostHarness()
    harness.open()
    harness.machine.order(HostAction.START)
    harness.take()
    assert harness.hear(HostResult("finish", "done", 9)) == []
    assert harness.machine.pending == START


@pytest.mark.parametrize("state", ["idle", "closed"])
def test_no_orders_before_the_first_status_or_after_the_end(state: str) -> None:
    """There is no step that they could be meant for."""
    harness = HostHarness()
    if state == "closed":
        harness.open()
        harness.machine.leave(1.0)
        harness.take()
    assert not harness.machine.order(HostAction.START)
    assert harness.take() == []


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_but_the_last_has_a_way_onward(phase: Phase) -> None:
    """So that one key is enough to run a quiz."""
    assert (next_action(phase) is None) == (not NEXT[phase])


# the link ------------------------------------------------------------------------------------------------------------


def test_a_host_notices_silence_like_a_participant() -> None:
    """4 s, a probe, 2 s, and it dials again."""
    harness = HostHarness()
    harness.open()
    harness.machine.handle_timeout(4.0)
    assert harness.said() == [Probe(1)]
    harness.machine.handle_timeout(6.0)
    assert harness.take() == [AbortTransport(1)]
    harness.machine.handle_timeout(harness.machine.next_deadline() or 0.0)
    assert harness.take() == [OpenTransport(2, 1)]


def test_a_status_is_no_answer_to_an_order() -> None:
    """F2: the way up is broken, the way down is not."""
    harness = HostHarness()
    harness.open()
    harness.machine.order(HostAction.START)
    for half in range(1, 13):
        harness.hear(status(), half / 2)
        harness.machine.handle_timeout(half / 2)
    assert AbortTransport(1) in harness.take()


def test_a_host_that_only_listens_is_not_taken_for_dead() -> None:
    """A server closes silent hosts, so a host that receives many messages still sends some."""
    harness = HostHarness()
    harness.open()
    probed = []
    for half in range(1, 60):
        harness.hear(status(), half / 2)
        harness.machine.handle_timeout(half / 2)
        for probe in harness.said():
            assert isinstance(probe, Probe)
            probed.append(half / 2)
            harness.hear(ProbeReply(probe.id), half / 2 + 0.1)
    assert probed[0] == 4.0
    assert max(later - earlier for earlier, later in itertools.pairwise(probed)) <= 4.5


def test_an_event_is_opened_once_more_on_demand() -> None:
    """To compare it with the plan, or to begin it again when it is over."""
    harness = HostHarness()
    harness.open(status(9, Phase.FINISHED))
    assert harness.machine.create()
    assert not harness.machine.create()
    assert harness.said() == [CreateEvent(PLAN)]
    harness.hear(HostResult("create", "done", 0))
    harness.hear(Hosting("e", status(0)))
    harness.machine.order(HostAction.START)
    assert harness.said() == [START]


def test_a_reply_to_the_probe_keeps_the_link() -> None:
    """However long the order takes."""
    harness = HostHarness()
    harness.open()
    harness.machine.order(HostAction.START)
    for second in range(1, 30):
        harness.machine.handle_timeout(float(second))
        for probe in harness.said():
            if isinstance(probe, Probe):
                harness.hear(ProbeReply(probe.id), second + 0.1)
    assert harness.machine.state is ClientState.OPEN


def test_pings_are_answered() -> None:
    """Should a server send any."""
    harness = HostHarness()
    harness.open()
    assert harness.hear(Ping(3, 100, 300, 3000)) == [SendToServer(Pong(3))]


@pytest.mark.parametrize("code", [CloseCode.KEY_REFUSED, CloseCode.STRIKES, CloseCode.NORMAL])
@pytest.mark.parametrize("opened", [True, False])
def test_terminal_codes_stop(code: CloseCode, opened: bool) -> None:
    """A wrong key does not get better by showing it again."""
    harness = HostHarness()
    if opened:
        harness.open()
    else:
        harness.dial()
    harness.machine.transport_lost(1, "closed", 1.0, code)
    assert (harness.machine.state, harness.machine.next_deadline()) == (ClientState.CLOSED, None)
    harness.take()
    assert harness.records[-1].cause == str(int(code))


def test_the_end_of_the_event_that_it_replaces_does_not_end_a_host() -> None:
    """A server that begins an event again closes all connections of the old one."""
    harness = HostHarness()
    harness.open(status(9, Phase.FINISHED))
    harness.machine.create()
    harness.machine.transport_lost(1, "closed", 1.0, CloseCode.NORMAL)
    assert harness.machine.state is ClientState.BACKING_OFF


def test_leaving_closes_in_good_order_without_a_message() -> None:
    """The quiz continues without a host; the host sends no leave message."""
    harness = HostHarness()
    harness.open()
    harness.machine.leave(1.0)
    assert harness.take() == [CloseTransport(1)]


def test_errors_are_handed_on() -> None:
    """A broken plan is named to the person who wrote it."""
    harness = HostHarness()
    harness.open()
    error = Error("malformed", "plan.questions", "too many")
    assert harness.hear(error) == [Deliver(error)]


def test_an_error_in_answer_to_the_key_is_final() -> None:
    """The same first message would be rejected again."""
    harness = HostHarness()
    harness.dial()
    error = Error("malformed", "event", "too long")
    assert harness.hear(error) == [Deliver(error), CloseTransport(1)]
    assert harness.machine.dismissal == Dismissal(reason="event: too long")


def test_the_key_is_in_no_record() -> None:
    """No secret in logs."""
    harness = HostHarness()
    harness.open()
    harness.cut(1.0)
    assert all("secret" not in repr(record) for record in harness.records)
