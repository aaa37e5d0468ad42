"""Whatever is said to a room, in whatever order and over whichever connection, it raises nothing, breaks no promise."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilience.protocol.messages import (
    Answer,
    ClientMessage,
    HostAction,
    HostCommand,
    Join,
    Leave,
    Pong,
    Probe,
    Resume,
    TokenStored,
)
from resilience.protocol.server.room import Room
from resilience.quiz.phases import Phase
from resilience.units import Instant
from tests.resilience.protocol.room_fuzz_model import QUIZ, RoomFuzzModel
from tests.support.strategies import _BIG, CLIENT_MESSAGES

CONNECTIONS = st.integers(1, 12)
"""Few, so that messages meet; fresh ones are counted from 100."""

WORDS = st.sampled_from(["a", "b", "c"])
WHO = st.integers(0, 7)
NEXT_ACTION = {
    Phase.LOBBY: HostAction.START,
    Phase.QUESTION: HostAction.REVEAL,
    Phase.REVEAL: HostAction.NEXT,
    Phase.LEADERBOARD: HostAction.NEXT,
    Phase.FINISHED: HostAction.FINISH,
}
QUESTIONS = st.sampled_from([f"q{i + 1}" for i in range(QUIZ.questions)] + ["q9"])
PAUSES = st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.0, 5.0, 14.0, 31.0, 70.0])


class RoomUnderFire(RuleBasedStateMachine):
    """Steps that any peer, any store and any scheduler may take."""

    @initialize(by_hand=st.booleans())
    def begin(self, by_hand: bool) -> None:
        self.hostile = RoomFuzzModel(by_hand=by_hand)
        self.fresh, self.hosts = 100, list[int]()

    # participants -----------------------------------------------------------------------------------------------------

    @rule(connection=CONNECTIONS, name=WORDS, instance=WORDS)
    def join(self, connection: int, name: str, instance: str) -> None:
        self.hostile.say(connection, Join(event="quiz", name=name, instance=instance))

    @rule(name=WORDS, commits=st.booleans())
    def join_anew(self, name: str, commits: bool) -> None:
        self.fresh += 1
        self.hostile.say(self.fresh, Join(event="quiz", name=name, instance=f"i{self.fresh}"))
        while commits and self.hostile.tickets:
            self.hostile.settle(well=True)

    @rule(connection=CONNECTIONS, which=st.integers(0, 1000))
    def resume(self, connection: int, which: int) -> None:
        """With any token that was ever handed out, or a guessed one."""
        tokens = self.hostile.tokens
        self.hostile.say(connection, Resume(event="quiz", token=tokens[which % len(tokens)]))

    @rule(back=st.integers(0, 3), commits=st.booleans())
    def resume_anew(self, back: int, commits: bool) -> None:
        self.fresh += 1
        token = self.hostile.tokens[max(-1 - back, -len(self.hostile.tokens))]
        self.hostile.say(self.fresh, Resume(event="quiz", token=token))
        while commits and self.hostile.tickets:
            self.hostile.settle(well=True)

    @rule(who=WHO, question=QUESTIONS, choice=st.integers(-1, 5), key=WORDS)
    def answer(self, who: int, question: str, choice: int, key: str) -> None:
        self.hostile.say(self._live(who), Answer(question, choice, key))

    @rule(who=WHO, choice=st.integers(0, 3), key=WORDS)
    def answer_what_is_asked(self, who: int, choice: int, key: str) -> None:
        question = self.hostile.room.game.question
        self.hostile.say(self._live(who), Answer(question.id if question else "q1", choice, key))

    @rule(who=WHO, said=st.sampled_from([Leave(), Probe(1), Pong(1), TokenStored(1), TokenStored(2)]))
    def say_plainly(self, who: int, said: ClientMessage) -> None:
        self.hostile.say(self._live(who), said)

    @rule(connection=CONNECTIONS, message=CLIENT_MESSAGES)
    def say_anything(self, connection: int, message: ClientMessage) -> None:
        self.hostile.say(connection, message)

    @rule(connection=CONNECTIONS)
    def lose(self, connection: int) -> None:
        self.hostile.lose(connection)

    @rule(who=WHO)
    def lose_one_that_is_here(self, who: int) -> None:
        self.hostile.lose(self._live(who))

    # hosts ------------------------------------------------------------------------------------------------------------

    @rule()
    def host(self) -> None:
        self.fresh += 1
        self.hostile.host(self.fresh)
        self.hosts.append(self.fresh)

    @rule(who=WHO, action=st.sampled_from(HostAction), off=st.sampled_from([-1, 0, 0, 0, 1]))
    def order(self, who: int, action: HostAction, off: int) -> None:
        step = max(self.hostile.room.game.progress.step + off, 0)
        self.hostile.say(self._host(who), HostCommand(action, step))

    @rule(who=WHO, commits=st.booleans())
    def move_on(self, who: int, commits: bool) -> None:
        game = self.hostile.room.game
        self.hostile.say(self._host(who), HostCommand(NEXT_ACTION[game.phase], game.progress.step))
        while commits and self.hostile.tickets:
            self.hostile.settle(well=True)

    @rule(who=WHO)
    def lose_a_host(self, who: int) -> None:
        self.hostile.lose(self._host(who))

    # store and time ---------------------------------------------------------------------------------------------------

    @rule(well=st.sampled_from([True, True, True, False]))
    def settle(self, well: bool) -> None:
        self.hostile.settle(well=well)

    @rule(seconds=PAUSES, soundly=st.booleans())
    def sleep(self, seconds: float, soundly: bool) -> None:
        self.hostile.sleep(seconds, soundly=soundly)

    @invariant()
    def the_clock_has_no_deadline_before_its_start(self) -> None:
        if hasattr(self, "hostile"):
            deadline = self.hostile.room.next_deadline()
            assert deadline is None or deadline >= 0.0

    def teardown(self) -> None:
        if hasattr(self, "hostile"):
            self.hostile.empty()
            self.hostile.check_baseline()

    def _live(self, who: int) -> int:
        """A connection that is attached, if there is one."""
        here = list(self.hostile.room._attendance._subscribers) or [1]
        return here[who % len(here)]

    def _host(self, who: int) -> int:
        """One of the hosts there ever were, if there were any."""
        return self.hosts[-1 - who % min(len(self.hosts), 2)] if self.hosts else 1


TestRoomUnderFire = RoomUnderFire.TestCase
TestRoomUnderFire.settings = settings(
    max_examples=1000 if _BIG else 80,
    stateful_step_count=50,
    derandomize=not _BIG,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


# the account itself can be shown to notice ----------------------------------------------------------------------------


class Hasty(Room):
    """Answers before the commit."""

    def receive(self, message: ClientMessage, connection: int, now: Instant) -> None:
        super().receive(message, connection, now)
        if isinstance(message, Answer):
            self.committed(self._commits._ticket, now)


class Forgetful(Room):
    """Never releases a connection."""

    def transport_lost(self, connection: int, cause: str, now: Instant) -> None:
        kept = self._attendance._by_connection.get(connection)
        super().transport_lost(connection, cause, now)
        if kept is not None:
            self._attendance._by_connection[connection] = kept


class Skipping(Room):
    """Loses a number of its stream."""

    def handle_timeout(self, now: Instant) -> None:
        self._stream.seq += 1
        super().handle_timeout(now)


def attack(room_type: type[Room]) -> None:
    """A short life with an answer in it."""
    hostile = RoomFuzzModel(room_type, by_hand=False)
    hostile.say(1, Join(event="quiz", name="a", instance="a"))
    hostile.settle(well=True)
    hostile.sleep(4.5, soundly=False)
    while hostile.tickets:
        hostile.settle(well=True)
    hostile.say(1, Answer("q1", 0, "k"))
    hostile.empty()
    hostile.check_baseline()


def test_the_short_life_is_a_good_one() -> None:
    """Nothing is wrong with the room itself."""
    attack(Room)


@pytest.mark.parametrize("planted", [Hasty, Forgetful, Skipping])
def test_a_planted_defect_is_noticed(planted: type[Room]) -> None:
    """The account that the fuzz relies on fails when the room does."""
    with pytest.raises((AssertionError, KeyError)):
        attack(planted)


def test_orders_are_committed_in_the_order_they_were_given() -> None:
    """What the fuzz's store relies on: tickets count up by one."""
    hostile = RoomFuzzModel(by_hand=False)
    for connection in range(1, 6):
        hostile.say(connection, Join(event="quiz", name="a", instance=f"i{connection}"))
    assert [persist.ticket for persist in hostile.tickets] == [1, 2, 3, 4, 5]
