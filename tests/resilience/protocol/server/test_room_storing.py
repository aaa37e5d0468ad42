"""What a room stores although no connection waits for it: a database that failed has all of it once it is back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.config import QuizConfig
from resilience.protocol.effects import DeleteParticipant, JoinAttempt, Persist, SessionRow
from resilience.protocol.messages import Join, Joined, Leave, Pong, Resume, StateRestored, TokenStored
from resilience.protocol.server import attendance
from resilience.quiz.game import QuizState
from tests.support.machines import RoomHarness

QUIZ = QuizConfig(questions=3, lobby=2, question_time=5, reveal_time=1, leaderboard_time=1)
CHECKPOINT_S = 1.0
ALL_SILENT_S = 60.0
"""Longer than any participant who says nothing stays connected."""


class StoringHarness(RoomHarness):
    """A room on a table of its rows; :meth:`settle` ends the oldest commit, well or not."""

    def __init__(self) -> None:
        super().__init__(quiz=QUIZ, instant=False)
        self.table: dict[str, SessionRow] = {}
        self.attempts: list[JoinAttempt] = []
        self.progress = QuizState()
        self._ended: set[int] = set()

    def collect(self) -> None:
        """Carry out what the room wants done; a connection that it closes ends."""
        super().collect()
        for connection in self.closed.keys() - self._ended:
            self.lose(connection)

    def lose(self, connection: int) -> None:
        """A connection ends, once."""
        if connection not in self._ended:
            self._ended.add(connection)
            super().lose(connection)

    def settle(self, *, well: bool) -> None:
        """The oldest commit succeeds or fails."""
        if not self.waiting:
            return
        persist = self.waiting.pop(0)
        if well:
            self._write(persist)
            self.room.committed(persist.ticket, self.now)
        else:
            self.room.commit_failed(persist.ticket, self.now)
        self.collect()

    def settle_all(self, *, well: bool) -> None:
        """Every commit that waits, and those that follow from it."""
        while self.waiting:
            self.settle(well=well)

    def _write(self, persist: Persist) -> None:
        for row in persist.rows:
            if isinstance(row, SessionRow):
                self.table[row.participant] = row
            elif isinstance(row, DeleteParticipant):
                self.table.pop(row.participant, None)
            elif isinstance(row, QuizState):
                self.progress = row
            elif isinstance(row, JoinAttempt):
                self.attempts.append(row)

    def token(self, name: str) -> str:
        """The newest token that this client was sent; empty if it never was."""
        for messages in reversed(self.sent.values()):
            for message in reversed(messages):
                if isinstance(message, Joined | StateRestored):
                    session = self.room.sessions.get(message.credentials.participant)  # None: it was forgotten
                    if session is not None and session.name == name:
                        return message.credentials.token
        return ""

    def expected(self) -> dict[str, SessionRow]:
        """The rows of now, but for the last sign of life, which has a delay of its own."""
        rows = (self.room._attendance._row(session) for session in self.room.sessions.values())
        return {row.participant: msgspec.structs.replace(row, last_heard=0.0) for row in rows}

    def stored(self) -> dict[str, SessionRow]:
        """The rows of the table, comparable with the expected ones."""
        return {who: msgspec.structs.replace(row, last_heard=0.0) for who, row in self.table.items()}


def joined(harness: StoringHarness, connection: int = 1, name: str = "ann") -> None:
    """A participant whose join is stored."""
    harness.say(connection, Join(event="e", name=name, instance=name))
    harness.settle_all(well=True)


@pytest.mark.parametrize("what", ["leave", "loss", "token_stored", "pong"])
def test_what_no_client_waits_for_is_stored_when_the_database_is_back(what: str) -> None:
    """Otherwise a restart would find one who left, or accept a retired token."""
    harness = StoringHarness()
    joined(harness)
    if what == "leave":
        harness.say(1, Leave())
    elif what == "loss":
        harness.lose(1)
    else:
        harness.say(1, TokenStored(1) if what == "token_stored" else Pong(0))
    for _ in range(3):
        harness.run(harness.now + CHECKPOINT_S)
        harness.settle_all(well=False)
    harness.run(harness.now + CHECKPOINT_S)
    harness.settle_all(well=True)
    assert harness.stored() == harness.expected()


def test_a_later_commit_is_not_overwritten_by_an_earlier_one_that_failed() -> None:
    """The loss fails, the resume after it is stored: what is stored later is the session of then, not of the loss."""
    harness = StoringHarness()
    joined(harness)
    token = harness.token("ann")
    harness.lose(1)
    harness.run(harness.now + CHECKPOINT_S)
    harness.say(2, Resume(event="e", token=token))
    assert len(harness.waiting) == 2
    harness.settle(well=False)
    harness.settle(well=True)
    assert harness.stored() == harness.expected()
    harness.run(harness.now + 2 * CHECKPOINT_S)
    harness.settle_all(well=True)
    assert harness.stored() == harness.expected()
    assert harness.table["p1"].join_status == "connected"


def test_a_loss_waits_for_the_checkpoint_and_a_return_before_it_leaves_it_nothing() -> None:
    """A crowd that is cut off for a moment costs one row each, that of its return, and not one more of its loss."""
    harness = StoringHarness()
    joined(harness)
    token = harness.token("ann")
    harness.lose(1)
    assert not harness.waiting
    harness.say(2, Resume(event="e", token=token))
    harness.settle_all(well=True)
    assert harness.table["p1"].connection_no == 2
    harness.run(harness.now + 2 * CHECKPOINT_S)
    assert not [row for persist in harness.waiting for row in persist.rows if isinstance(row, SessionRow)]


def test_a_return_that_is_not_stored_leaves_the_loss_before_it_to_the_checkpoint() -> None:
    harness = StoringHarness()
    joined(harness)
    token = harness.token("ann")
    harness.lose(1)
    harness.say(2, Resume(event="e", token=token))
    harness.settle(well=False)
    harness.run(harness.now + CHECKPOINT_S)
    harness.settle_all(well=True)
    assert harness.stored() == harness.expected()
    assert harness.table["p1"].join_status == "temporarily_disconnected"


def test_a_phase_that_a_timer_entered_is_stored_when_the_database_is_back() -> None:
    harness = StoringHarness()
    joined(harness)
    harness.run(4.0)
    assert harness.room.game.phase == "question"
    harness.settle_all(well=False)
    harness.run(harness.now + CHECKPOINT_S)
    harness.settle_all(well=True)
    assert harness.progress == harness.room.game.progress


def test_a_join_that_was_taken_back_leaves_no_row() -> None:
    """The row of a join whose client is gone is deleted once the database takes that."""
    harness = StoringHarness()
    harness.say(1, Join(event="e", name="ann", instance="ann"))
    harness.lose(1)
    harness.settle(well=True)
    assert list(harness.table) == ["p1"]
    harness.settle_all(well=False)
    harness.run(harness.now + CHECKPOINT_S)
    harness.settle_all(well=True)
    assert harness.table == {}


def test_the_join_log_waits_too_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "MAX_UNSAVED_ATTEMPTS", 5)
    harness = StoringHarness()
    for connection in range(8):
        harness.say(connection, Resume(event="e", token=f"guess {connection}"))
        harness.run(harness.now + 0.01)
    harness.settle_all(well=False)
    harness.run(harness.now + CHECKPOINT_S)
    harness.settle_all(well=True)
    assert [round(row.at, 2) for row in harness.attempts] == [0.03, 0.04, 0.05, 0.06, 0.07]


def test_a_server_that_stops_stores_what_waits_for_the_next_checkpoint() -> None:
    harness = StoringHarness()
    joined(harness)
    harness.say(1, TokenStored(1))
    assert not harness.waiting
    harness.room.save_unsaved()
    harness.collect()
    harness.settle_all(well=True)
    assert harness.table["p1"].confirmed
    harness.room.save_unsaved()
    harness.collect()
    assert not harness.waiting


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["join", "resume", "leave", "lose", "token"]), st.integers(1, 3)),
        st.tuples(st.just("run"), st.integers(1, 40)),
        st.tuples(st.just("settle"), st.integers(0, 1)),
    ),
    min_size=10,
    max_size=40,
)


def act(harness: StoringHarness, connections: dict[int, int], what: str, who: int) -> None:
    """One step of client ``who``; ``connections`` has its newest connection."""
    name, connection = f"c{who}", connections.get(who, 0)
    if what in ("join", "resume"):
        token = harness.token(name)
        connections[who] = connection = max([0, *connections.values()]) + 10 + who
        first = Resume(event="e", token=token) if what == "resume" else Join(event="e", name=name, instance=name)
        harness.say(connection, first)
    elif connection:
        if what == "lose":
            harness.lose(connection)
        else:
            harness.say(connection, Leave() if what == "leave" else TokenStored(1))


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_once_the_database_is_back_it_has_the_room_as_it_is(steps: list[tuple[str, int]]) -> None:
    """Whatever came in whatever order while every other commit failed."""
    harness, connections = StoringHarness(), {1: 1, 2: 2, 3: 3}
    for who in connections:
        joined(harness, who, f"c{who}")
    for what, number in steps:
        if what == "run":
            harness.run(harness.now + number * 0.1)
        elif what == "settle":
            harness.settle(well=number > 0)
        else:
            act(harness, connections, what, number)
    for wait in (1.5 * CHECKPOINT_S, 1.5 * CHECKPOINT_S, ALL_SILENT_S, 1.5 * CHECKPOINT_S):
        harness.settle_all(well=True)
        harness.run(harness.now + wait)
    harness.settle_all(well=True)
    assert harness.stored() == harness.expected()
    assert harness.progress == harness.room.game.progress
