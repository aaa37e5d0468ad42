"""Whatever a driver reports, in whatever order: both client machines stay sane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import MAX_RETRY_AFTER_S, Preset
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.client.host import HostMachine
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.effects import AbortTransport, CloseTransport, OpenTransport, Record
from resilience.protocol.messages import (
    AnswerResult,
    Error,
    HostAction,
    Hosting,
    HostResult,
    HostStatus,
    Joined,
    Ping,
    PresenceChanged,
    ProbeReply,
    QuizFinished,
    ResumeRejected,
    ServerMessage,
    StateRestored,
)
from resilience.protocol.states import ClientState
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from resilience.random_streams import random_for
from tests.support.machines import joined, restored

STATUS = HostStatus("e", "", 1, "question", 1, 3, "", None, 0, 0, 0, 0, ())
MESSAGES: tuple[ServerMessage, ...] = (
    *(joined(seq=seq) for seq in (0, 3)),
    *(restored(seq=seq) for seq in (0, 3)),
    ResumeRejected("unknown"),
    Ping(1, 0, 0, 0),
    *(QuizFinished(seq, ()) for seq in (1, 2, 4, 9)),
    PresenceChanged(1, 0, (), ()),
    AnswerResult("q1", "i1-1", "accepted"),
    ProbeReply(1),
    Error("malformed", "message", "bad"),
    Hosting("e"),
    Hosting("e", STATUS),
    STATUS,
    *(HostResult(action, verdict, 2) for action in ("create", "start") for verdict in ("done", "stale_step")),
)
WELCOMES = {ParticipantClient: (Joined, StateRestored), HostMachine: (Hosting,)}
CODES = (1000, 1006, 1012, 1013, *(int(code) for code in CloseCode), 4150, 4999)
ADVICE = st.none() | st.floats(allow_nan=True, allow_infinity=True)


class Happening(msgspec.Struct, frozen=True):
    """One thing that a driver or an application does, ``wait`` seconds after the last; ``old`` dials back."""

    what: str
    wait: float
    old: int
    which: int
    advice: float | None


def happenings() -> st.SearchStrategy[list[Happening]]:
    """Mostly what moves a machine forward; the rest is trouble."""
    what = st.sampled_from(
        ("timer", "timer", "opened", "opened", "message", "message", "failed", "lost", "wake", "answer", "start")
    )
    ends = st.sampled_from((*(["lost"] * 20), "leave"))
    wait = st.sampled_from((0.0, 0.0, 0.01, 0.3, 1.5, 5.0, 40.0, 4000.0)) | st.floats(0.0, 700.0)
    old = st.sampled_from((0, 0, 0, 0, 1, 2))
    one = st.builds(Happening, what | ends, wait, old, st.integers(0, 10_000), ADVICE)
    return st.lists(one, max_size=60)


def participant(config: ClientConfig) -> ParticipantClient:
    """A participant under test."""
    return ParticipantClient(Identity("e", "ann", "i1"), config.rules, random_for(1, "ann"))


def host(config: ClientConfig) -> HostMachine:
    """A host under test."""
    return HostMachine("e", "k", QuizPlan(arithmetic_questions(1, 3, 9.0)), config.rules, random_for(1, "ann"))


class Watcher:
    """Drives a machine and checks its invariants after each step."""

    def __init__(self, machine: ReconnectingConnection, config: ClientConfig) -> None:
        self.machine, self.budget = machine, config.backoff.attempts
        self.now = 0.0
        self.live: int | None = None
        self.open: int | None = None
        self.welcomed: int | None = None
        machine.start(0.0)
        self.check()

    def carry_out(self, step: Happening) -> None:
        """Do it, then look."""
        self.now += step.wait
        dial = self.machine.dial - step.old
        getattr(self, step.what)(dial, step)
        self.check()

    def timer(self, _dial: int, _step: Happening) -> None:
        deadline = self.machine.next_deadline()
        if deadline is not None and deadline < self.now + 50.0:
            self.now = max(self.now, deadline)
        self.machine.handle_timeout(self.now)
        following = self.machine.next_deadline()
        assert following is None or following >= self.now

    def opened(self, dial: int, _step: Happening) -> None:
        if dial == self.live and self.open is None:
            self.open = dial
        self.machine.transport_opened(dial, self.now)

    def message(self, dial: int, step: Happening) -> None:
        message = MESSAGES[step.which % len(MESSAGES)]
        if dial == self.open and isinstance(message, WELCOMES[type(self.machine)]):
            self.welcomed = dial
        self.machine.receive(message, dial, self.now)
        self.machine.receive_unknown(step.which % 5 or None, dial - 1, self.now)

    def failed(self, dial: int, step: Happening) -> None:
        if dial == self.live and self.open is None:
            self.live = None
        self.machine.transport_failed(dial, "refused", self.now, step.advice)

    def lost(self, dial: int, step: Happening) -> None:
        if dial == self.open:
            self.live = self.open = None
        self.machine.transport_lost(dial, "closed", self.now, CODES[step.which % len(CODES)], step.advice)

    def wake(self, _dial: int, _step: Happening) -> None:
        self.machine.wake(self.now)

    def start(self, _dial: int, _step: Happening) -> None:
        self.machine.start(self.now)

    def leave(self, _dial: int, _step: Happening) -> None:
        self.machine.leave(self.now)

    def answer(self, _dial: int, step: Happening) -> None:
        if isinstance(self.machine, ParticipantClient):
            self.machine.answer(f"q{step.which % 3}", 0, self.now)
        elif isinstance(self.machine, HostMachine):
            self.machine.order(HostAction.START)

    def check(self) -> None:
        """At most one dial is alive, no client is open without a welcome, no attempt is beyond its budget."""
        for effect in self.machine.effects():
            if isinstance(effect, OpenTransport):
                assert self.live is None, "two dials are alive"
                self.live, self.open, self.welcomed = effect.dial, None, None
            elif isinstance(effect, AbortTransport | CloseTransport) and effect.dial == self.live:
                self.live = self.open = None
            elif isinstance(effect, Record):
                self.check_record(effect)
        if self.machine.state is ClientState.JOINING:
            assert self.open == self.machine.dial == self.live
        elif self.machine.state is ClientState.OPEN:
            assert self.welcomed == self.machine.dial == self.live

    def check_record(self, record: Record) -> None:
        assert record.t == self.now
        assert self.budget is None or (record.attempt or 0) <= self.budget
        if record.kind is LogEventKind.BACKOFF_SCHEDULED:
            assert record.value is not None
            assert 0 <= record.value <= MAX_RETRY_AFTER_S


@pytest.mark.parametrize("preset", Preset)
@pytest.mark.parametrize("make", [participant, host])
@given(happenings())
@settings(deadline=None)
def test_any_sequence_of_happenings(
    make: Callable[[ClientConfig], Any], preset: Preset, steps: list[Happening]
) -> None:
    """Nothing raises, and what must be true is true after each step."""
    config = ClientConfig(preset=preset)
    watcher = Watcher(make(config), config)
    for step in steps:
        watcher.carry_out(step)


@given(happenings(), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_same_history_gives_the_same_effects(steps: list[Happening], seed: int) -> None:
    """Nothing but time, messages and draws decides."""
    found = []
    for _ in range(2):
        machine = ParticipantClient(Identity("e", "ann", "i1"), ClientConfig().rules, random_for(seed, "ann"))
        log: list[object] = []
        watcher = Watcher(machine, ClientConfig())
        watcher.check_record = log.append  # type: ignore[method-assign, assignment]
        for step in steps:
            watcher.carry_out(step)
        found.append(log)
    assert found[0] == found[1]
