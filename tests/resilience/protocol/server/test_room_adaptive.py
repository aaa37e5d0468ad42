"""The adaptive heartbeat in a room: off it is the plain rules exactly; on it is quicker while a question is open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import Ping, Pong, Probe, TokenStored
from resilience.quiz.phases import Phase
from tests.support.machines import RoomHarness

OFF, ON = ServerConfig(), ServerConfig(adaptive_heartbeat=True)
QUIZ = QuizConfig(questions=3, lobby=40, question_time=60)
TICK = 0.01

STEPS = st.lists(
    st.tuples(st.sampled_from(["pong", "probe", "lose", "back", "silent"]), st.integers(1, 3), st.floats(0.01, 12.0)),
    max_size=40,
)


def pong(harness: RoomHarness, connection: int) -> None:
    """Answer the last heartbeat, if there was one."""
    pings = [message.id for message in harness.sent[connection] if isinstance(message, Ping)]
    if pings and connection not in harness.closed:
        harness.say(connection, Pong(pings[-1]))


def history(server: ServerConfig, steps: list[tuple[str, int, float]]) -> list[object]:
    """All that a room logs, stores and closes when this is done to three participants."""
    harness = RoomHarness(server=server, quiz=QUIZ)
    clients = {who: who for who in (1, 2, 3)}
    tokens = {who: harness.join(who, f"n{who}").token for who in clients}
    for number, (what, who, pause) in enumerate(steps):
        harness.run(harness.now + pause)
        connection = clients[who]
        if what == "pong":
            pong(harness, connection)
        elif what == "probe":
            harness.say(connection, Probe(1))
        elif what == "lose":
            harness.lose(connection)
        elif what == "back":
            clients[who] = 100 + number
            tokens[who] = harness.resume(clients[who], tokens[who]).token
            harness.say(clients[who], TokenStored(harness.room._attendance._tokens.state_of(f"p{who}").generation))
    harness.run(harness.now + 100.0)
    return [harness.records, harness.persisted, harness.closed, dict(harness.sent)]


@given(STEPS)
def test_off_is_exactly_the_plain_rules(steps: list[tuple[str, int, float]]) -> None:
    """Whatever the floors say: the same records at the same instants, the same rows, the same messages."""
    assert history(OFF, steps) == history(ServerConfig(interval_floor=1.0, grace_floor=2.0), steps)


@given(STEPS)
def test_on_with_nothing_to_shrink_is_exactly_the_plain_rules(steps: list[tuple[str, int, float]]) -> None:
    """Floors at the plain values: measuring and retuning alone change nothing that anybody sees."""
    at_the_top = ServerConfig(adaptive_heartbeat=True, interval_floor=15.0, grace_floor=30.0)
    assert history(OFF, steps) == history(at_the_top, steps)


def cut_at(server: ServerConfig, moment: float, trip: float = 0.05) -> float:
    """Seconds from a silent cut to its detection, for a client that answered every heartbeat until then."""
    harness = RoomHarness(server=server, quiz=QUIZ)
    harness.join(1)
    seen = 0
    while harness.now < moment:
        harness.run(min(harness.now + 0.05, moment))
        pings = [message for message in harness.sent[1] if isinstance(message, Ping)]
        if len(pings) > seen and harness.now + trip < moment:
            seen = len(pings)
            harness.run(harness.now + trip)
            pong(harness, 1)
    last = max(record.t for record in harness.records if record.kind is LogEventKind.HEARTBEAT_ACKED)
    harness.run(moment + 60.0)
    (detached,) = [record for record in harness.records if record.kind is LogEventKind.SESSION_DETACHED]
    assert detached.cause == "grace"
    return detached.t - last


@pytest.mark.parametrize("moment", [70.0, 73.0, 77.7])
def test_while_a_question_is_open_a_silent_cut_is_noticed_within_the_grace_floor(moment: float) -> None:
    """From the last sign of life: at most the floor and a tick on a quick link, the plain grace without."""
    assert cut_at(ON, moment) <= ON.grace_floor + 4 * 0.2 + TICK
    assert cut_at(OFF, moment) == pytest.approx(OFF.grace_period)


def test_a_silent_cut_just_before_a_question_opens_is_noticed_soon_after() -> None:
    """The tighter grace counts from the opening, so no client is late by a rule that it did not know."""
    assert cut_at(OFF, 39.0) == pytest.approx(OFF.grace_period)
    noticed = cut_at(ON, 39.0)
    assert ON.grace_floor <= noticed <= OFF.grace_period


def test_in_the_lobby_and_between_questions_nothing_changes() -> None:
    """The same pings at the same instants, the same grace."""
    harnesses = [RoomHarness(server=server, quiz=QuizConfig(lobby=500)) for server in (OFF, ON)]
    for harness in harnesses:
        harness.join(1)
        for _ in range(200):
            harness.run(harness.now + 0.5)
            pong(harness, 1)
        harness.run(400.0)
        assert harness.room.game.phase is Phase.LOBBY
    assert harnesses[0].records == harnesses[1].records


@pytest.mark.parametrize("trip", [0.05, 0.4])
def test_one_missed_pong_while_a_question_is_open_changes_nothing(trip: float) -> None:
    """F9, two strikes, in the room: every second heartbeat is not answered and no participant is detached."""
    harness = RoomHarness(server=ON, quiz=QUIZ)
    harness.join(1)
    pings = answered = 0
    while harness.now < 100.0:
        harness.run(harness.now + 0.05)
        count = sum(isinstance(message, Ping) for message in harness.sent[1])
        if count > pings:
            pings = count
            if pings % 2:
                harness.run(harness.now + trip)
                pong(harness, 1)
                answered += 1
    assert answered >= 4
    assert LogEventKind.SESSION_DETACHED not in [record.kind for record in harness.records]
