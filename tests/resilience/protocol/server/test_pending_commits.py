"""The table of pending commits: continuations, tickets, the index by connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.config import QuizConfig
from resilience.protocol.effects import JoinAttempt, Persist, ServerEffect
from resilience.protocol.messages import Answer, HostAction, HostCommand, Join
from resilience.protocol.server.pending_commits import PendingCommits
from tests.support.machines import RoomHarness

ROWS = (JoinAttempt("p1", "created"),)


class CommitHarness:
    """A table and the outcomes that its continuations were called with."""

    def __init__(self) -> None:
        self.effects: list[ServerEffect] = []
        self.commits = PendingCommits(self.effects)
        self.outcomes: list[tuple[str, float]] = []

    def order(self, connection: int) -> int:
        """Order a commit that a connection waits for."""
        return self.commits.persist_then(ROWS, connection, self)

    def committed(self, now: float) -> None:
        """Note a commit."""
        self.outcomes.append(("committed", now))

    def commit_failed(self, now: float) -> None:
        """Note a failure."""
        self.outcomes.append(("failed", now))


def test_a_commit_continues_once_with_its_outcome() -> None:
    harness = CommitHarness()
    first, second = harness.order(1), harness.order(2)
    assert harness.effects == [Persist(first, ROWS), Persist(second, ROWS)]
    harness.commits.commit_failed(second, 2.0)
    harness.commits.committed(first, 3.0)
    for ticket in (first, second, 99):
        harness.commits.committed(ticket, 4.0)
        harness.commits.commit_failed(ticket, 4.0)
    assert harness.outcomes == [("failed", 2.0), ("committed", 3.0)]


def test_a_commit_that_no_connection_waits_for_continues_nothing() -> None:
    harness = CommitHarness()
    ticket = harness.commits.persist(ROWS)
    harness.commits.committed(ticket, 1.0)
    assert (harness.outcomes, harness.commits._waiting) == ([], {})


class Again(CommitHarness):
    """Orders the next commit when one is durable."""

    def committed(self, now: float) -> None:
        super().committed(now)
        self.order(1)


def test_a_continuation_may_order_the_next_commit() -> None:
    harness = Again()
    harness.commits.committed(harness.order(1), 1.0)
    assert harness.commits.is_waiting(1)
    assert harness.outcomes == [("committed", 1.0)]


@given(st.lists(st.tuples(st.sampled_from(["order", "join", "committed", "failed"]), st.integers(1, 4)), max_size=60))
def test_a_connection_waits_exactly_while_one_of_its_commits_is_pending(steps: list[tuple[str, int]]) -> None:
    harness, pending = CommitHarness(), dict[int, list[int]]()
    for what, number in steps:
        if what == "order":
            pending[harness.order(number)] = [number]
        elif pending:
            ticket = sorted(pending)[number % len(pending)]
            if what == "join":
                harness.commits.wait_for(ticket, number)
                pending[ticket].append(number)
            else:
                del pending[ticket]
                (harness.commits.committed if what == "committed" else harness.commits.commit_failed)(ticket, 0.0)
        waiting = {connection for connections in pending.values() for connection in connections}
        assert {connection for connection in range(1, 5) if harness.commits.is_waiting(connection)} == waiting


def test_a_room_knows_which_connections_wait_for_a_commit() -> None:
    """Joins, answers (also the second one of two equal ones) and host commands, until their outcome is known."""
    harness = RoomHarness(quiz=QuizConfig(lobby=1))
    harness.join(1)
    harness.run(1.0)
    harness.instant = False
    question = harness.room.game.question
    assert question is not None
    harness.say(2, Join(event="e", name="bob", instance="bob"))
    harness.say(1, Answer(question.id, 0, "k1"))
    harness.say(1, Answer(question.id, 0, "k1"))
    harness.room.host(3, harness.now)
    harness.say(3, HostCommand(HostAction.REVEAL, harness.room.game.progress.step))
    assert [harness.room.is_waiting(connection) for connection in range(5)] == [False, True, True, True, False]
    harness.commit()
    assert not any(harness.room.is_waiting(connection) for connection in range(5))
