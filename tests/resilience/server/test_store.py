"""Rows in and out, the same on every database: what a commit leaves, and what a refused one does not."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resilience.errors import FencedError, StoreError
from resilience.protocol.effects import DeleteParticipant, JoinAttempt, Row, SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.server.store import RunLease, SqlStore, StoredEvent
from tests.resilience.server.stored import ADA, ANSWER, LEASE, ORIGIN, PLAN, found, with_quiz
from tests.support.deadlines import HANG_S

FINISHED = QuizState(Phase.FINISHED, 11, 40, 300.0, 280.0, 290.0)


def latest(store: SqlStore, event: str = "quiz", origin: float = ORIGIN) -> StoredEvent:
    stored = store.latest(event, origin)
    assert stored is not None
    return stored


def put(store: SqlStore, *rows: Row, lease: RunLease = LEASE, origin: float = ORIGIN) -> None:
    store.commit([(lease, row) for row in rows], origin)


# --- an event and what is read back -----------------------------------------------------------------------------------


def test_a_new_event_is_read_back_whole(store: SqlStore) -> None:
    """Title, pace and every question in their order (q10 after q9); in the lobby since it began."""
    stored = latest(with_quiz(store))
    lobby = QuizState(since=1.0, opened_at=0.0, closes_at=0.0)
    assert stored == StoredEvent(LEASE, "quiz", PLAN, lobby, (), ())


def test_all_that_was_committed_is_read_back(store: SqlStore) -> None:
    with_quiz(store)
    bob = SessionRow("p0", "Bob", "disconnected", 7, 3, ("cc", "bb"), "tab-2", confirmed=True, last_heard=-2.0)
    progress = QuizState(Phase.QUESTION, 4, 9, 20.0, 20.0, 30.0, 30.0)
    earlier = StoredAnswer("p0", "q2", "k9", 0, 3.25, 0)
    put(store, ADA, bob, ANSWER, earlier, progress)
    stored = latest(store)
    assert stored.sessions == (bob, ADA)
    assert stored.answers == (earlier, ANSWER)
    assert stored.progress == progress


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25, deadline=None
)
@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=64),
    number=st.integers(0, 2**31 - 1),
    choice=st.integers(-(2**31), 2**31 - 1),
    at=st.floats(-1e6, 1e6).map(lambda t: round(t * 1024) / 1024),
)
def test_any_values_of_the_wire_come_back(store: SqlStore, name: str, number: int, choice: int, at: float) -> None:
    """Every alphabet, the bounds of the whole numbers, and instants on both sides of the run's zero."""
    lease = _another_run(store)
    row = msgspec.structs.replace(ADA, name=name, instance=name, connection_no=number, generation=number, last_heard=at)
    answer = StoredAnswer("p1", name, name, choice, at, number)
    put(store, row, answer, QuizState(step=number, ends_at=at), lease=lease)
    stored = latest(store)
    assert (stored.sessions, stored.answers) == ((row,), (answer,))
    assert (stored.progress.step, stored.progress.ends_at) == (number, at)


def _another_run(store: SqlStore) -> RunLease:
    earlier = store.latest("quiz", ORIGIN)
    number = 1 if earlier is None else int(earlier.lease.key.partition("#")[2]) + 1
    lease = RunLease(f"quiz#{number}", 1)
    store.create_event(lease, "quiz", PLAN, ORIGIN)
    return lease


def test_instants_are_read_on_the_clock_of_the_caller(store: SqlStore) -> None:
    """A server that started a minute after the first sees everything a minute earlier on its own clock."""
    with_quiz(store)
    put(store, ADA, ANSWER, QuizState(Phase.QUESTION, 0, 1, 1.0, 1.0, 11.0, 11.0))
    stored = latest(store, origin=ORIGIN + 60)
    assert stored.progress == QuizState(Phase.QUESTION, 0, 1, -59.0, -59.0, -49.0, -49.0)
    assert (stored.sessions[0].last_heard, stored.answers[0].received_at) == (-55.5, -56.5)


def test_an_event_that_is_not_there_is_none(store: SqlStore) -> None:
    assert store.latest("quiz", ORIGIN) is None
    assert [run.event for run in store.unfinished()] == []
    assert store.scores("quiz#1") == {}


def test_the_newest_run_is_the_one_created_last_whatever_the_clock_says(store: SqlStore) -> None:
    """A clock that was set back does not bring an old run to life; the runs know nothing of one another."""
    with_quiz(store)
    put(store, ADA)
    second = RunLease("quiz#0", 1)
    store.create_event(second, "quiz", PLAN, ORIGIN - 3600)
    assert latest(store).lease == second
    assert latest(store).sessions == ()
    assert store.scores(LEASE.key) == {"p1": 0}


def test_a_run_is_created_once(store: SqlStore) -> None:
    with_quiz(store)
    with pytest.raises(StoreError, match="did not create event quiz"):
        store.create_event(LEASE, "quiz", PLAN, ORIGIN)
    assert latest(store).plan == PLAN


def test_the_unfinished_are_listed_oldest_first_by_their_newest_run(store: SqlStore) -> None:
    for event, at in (("late", 50.0), ("done", 0.0), ("early", 10.0), ("again", 5.0)):
        store.create_event(RunLease(f"{event}#1", 1), event, PLAN, ORIGIN, at)
    put(store, FINISHED, lease=RunLease("done#1", 1))
    put(store, FINISHED, lease=RunLease("again#1", 1))
    assert [run.event for run in store.unfinished()] == ["early", "late"]
    store.create_event(RunLease("again#2", 1), "again", PLAN, ORIGIN, 60.0)
    store.create_event(RunLease("late#2", 1), "late", PLAN, ORIGIN, 70.0)
    put(store, FINISHED, lease=RunLease("late#2", 1))
    assert [run.event for run in store.unfinished()] == ["early", "again"]


# --- one participant, one row -----------------------------------------------------------------------------------------


def test_the_last_row_of_a_participant_wins_and_the_score_stays(store: SqlStore) -> None:
    """Within a commit and over commits; name and points are never overwritten."""
    with_quiz(store)
    put(store, ADA, ANSWER)
    away = msgspec.structs.replace(ADA, name="Eve", join_status="temporarily_disconnected")
    back = SessionRow("p1", "Eve", "connected", 2, 2, ("bb", "aa"), "tab-3", confirmed=True, last_heard=9.0)
    put(store, away, back)
    assert latest(store).sessions == (msgspec.structs.replace(back, name="Ada"),)
    assert store.scores(LEASE.key) == {"p1": 700}


def test_simultaneous_joins_of_one_participant_give_one_row(store: SqlStore) -> None:
    """Eight threads write the same person at once."""
    with_quiz(store)
    gate = threading.Barrier(8)

    def join(number: int) -> None:
        gate.wait()
        put(store, msgspec.structs.replace(ADA, connection_no=number), JoinAttempt("p1", "created"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(join, range(8)))
    assert len(latest(store).sessions) == 1


def test_a_token_opens_one_session_of_an_event_only(store: SqlStore) -> None:
    with_quiz(store)
    put(store, ADA)
    with pytest.raises(StoreError):
        put(store, SessionRow("p2", "Bob", "connected", 1, 1, ("aa",)))
    other = RunLease("other#1", 1)
    store.create_event(other, "other", PLAN, ORIGIN)
    put(store, ADA, lease=other)


def test_a_forgotten_participant_is_gone(store: SqlStore) -> None:
    """Whether it was stored by an earlier commit, by the same one, or never."""
    with_quiz(store)
    put(store, ADA)
    put(
        store,
        DeleteParticipant("p1"),
        SessionRow("p2", "Bob", "connected", 1, 1, ("bb",)),
        DeleteParticipant("p2"),
        DeleteParticipant("p3"),
    )
    assert store.scores(LEASE.key) == {}


def test_a_participant_who_comes_after_having_been_forgotten_is_there(store: SqlStore) -> None:
    with_quiz(store)
    put(store, ADA, ANSWER)
    put(store, DeleteParticipant("p1"), ADA)
    assert store.scores(LEASE.key) == {"p1": 0}


# --- answers and points -----------------------------------------------------------------------------------------------


QUESTION, LOBBY = QuizState(Phase.QUESTION, 0, 1, 5.0, 5.0, 15.0, 15.0), QuizState(ends_at=30.0)


@pytest.mark.parametrize("together", [True, False])
def test_no_later_row_takes_back_a_step(store: SqlStore, together: bool) -> None:
    """The state of an earlier step that is written afterwards, in the same commit or in another, changes nothing."""
    with_quiz(store)
    put(store, *((QUESTION, LOBBY) if together else (QUESTION,)))
    put(store, ADA, LOBBY)
    assert latest(store).progress == QUESTION
    assert latest(store).sessions == (ADA,)
    put(store, FINISHED)
    put(store, QUESTION)
    assert latest(store).progress == FINISHED


def test_a_step_may_be_written_again(store: SqlStore) -> None:
    """The end of the lobby is set within its step."""
    with_quiz(store)
    put(store, LOBBY)
    assert latest(store).progress == LOBBY


def test_points_are_added_with_their_answer(store: SqlStore) -> None:
    """Also with a participant that the same commit brings, also two in one commit, also none."""
    with_quiz(store)
    put(store, ANSWER, ADA)
    assert store.scores(LEASE.key) == {"p1": 700}
    more = [StoredAnswer("p1", f"q{i}", f"k{i}", 1, 4.0, points) for i, points in ((2, 100), (3, 0), (4, 20))]
    put(store, *more)
    assert store.scores(LEASE.key) == {"p1": 820}


def test_a_second_answer_to_a_question_fails_its_whole_commit(store: SqlStore) -> None:
    """Should the machine ever err, the database does not: neither rows before it nor after it are written."""
    with_quiz(store)
    put(store, ADA, ANSWER)
    before = latest(store)
    other = SessionRow("p2", "Bob", "connected", 1, 1, ("bb",))
    again = StoredAnswer("p1", "q1", "k2", 1, 4.0, 900)
    with pytest.raises(StoreError, match="rejected a commit"):
        put(store, other, QuizState(Phase.REVEAL, step=8), again, StoredAnswer("p1", "q2", "k3", 1, 4.0, 5))
    assert latest(store) == before
    assert store.scores(LEASE.key) == {"p1": 700}
    put(store, other)
    assert len(latest(store).sessions) == 2


def test_a_commit_of_nothing_is_one(store: SqlStore) -> None:
    store.commit([], ORIGIN)
    assert store.latest("quiz", ORIGIN) is None


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_server_that_was_replaced_writes_nothing_more(store: SqlStore) -> None:
    """Its successor does; and a third server ends the second's time."""
    with_quiz(store)
    second = store.acquire_lease(LEASE.key)
    assert second == RunLease(LEASE.key, 2)
    with pytest.raises(FencedError) as refused:
        put(store, ADA)
    assert refused.value.keys == (LEASE.key,)
    put(store, ADA, lease=second)
    assert latest(store).lease == second
    third = store.acquire_lease(LEASE.key)
    with pytest.raises(FencedError):
        put(store, ANSWER, lease=second)
    put(store, ANSWER, lease=third)
    assert store.scores(LEASE.key) == {"p1": 700}


def test_one_lost_claim_of_many_is_named_and_nothing_is_written(store: SqlStore) -> None:
    with_quiz(store)
    other = RunLease("other#1", 1)
    store.create_event(other, "other", PLAN, ORIGIN)
    store.acquire_lease(other.key)
    with pytest.raises(FencedError) as refused:
        store.commit([(LEASE, ADA), (other, ADA)], ORIGIN)
    assert refused.value.keys == (other.key,)
    assert latest(store).sessions == ()


def test_what_was_never_created_can_be_neither_written_nor_recovered(store: SqlStore) -> None:
    with pytest.raises(FencedError, match="quiz#1"):
        put(store, ADA)
    with pytest.raises(StoreError, match="no run quiz#1 to recover"):
        store.acquire_lease(LEASE.key)


def test_of_two_stores_on_one_database_the_later_owner_writes(shared_url: str) -> None:
    old, new = with_quiz(SqlStore(shared_url)), SqlStore(shared_url)
    put(old, ADA)
    lease = new.acquire_lease(LEASE.key)
    with pytest.raises(FencedError, match="another server has recovered it since"):
        put(old, ANSWER)
    put(new, ANSWER, lease=lease)
    assert new.scores(LEASE.key) == old.scores(LEASE.key) == {"p1": 700}
    old.close()
    new.close()


def test_no_commit_of_the_old_server_succeeds_after_a_recovery(shared_url: str) -> None:
    """One store commits as fast as it can while the other takes over: what is read then is all there ever will be."""
    old, new = with_quiz(SqlStore(shared_url)), SqlStore(shared_url)
    started = threading.Event()

    def write() -> int:
        for number in range(1, 100_000):
            try:
                put(old, SessionRow(f"p{number}", "Ada", "connected", 1, 1, (str(number),)))
            except FencedError:
                return number - 1
            if number == 5:
                started.set()
        raise AssertionError("never fenced")

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        assert started.wait(HANG_S)
        new.acquire_lease(LEASE.key)
        seen = len(latest(new).sessions)
        assert written.result(30) == seen
    assert len(latest(new).sessions) == seen
    old.close()
    new.close()


# --- durable ---------------------------------------------------------------------------------------------------------


def test_what_is_committed_another_connection_sees_by_the_agreed_names(shared_url: str) -> None:
    """Times are seconds since 1970."""
    store = with_quiz(SqlStore(shared_url))
    put(store, ADA, ANSWER, JoinAttempt("p1", "created", 4.0), JoinAttempt(None, "refused", 5.0))
    people = found(shared_url, "select join_status, total_score, last_heartbeat - 1700000000 from event_participants")
    assert people == [("connected", 700, 4.5)]
    assert found(shared_url, "select received_at - 1700000000, points from answers") == [(3.5, 700)]
    attempts = found(shared_url, "select participant, outcome, at - 1700000000 from join_attempts order by id")
    assert attempts == [("p1", "created", 4.0), (None, "refused", 5.0)]
    assert found(shared_url, "select phase_since - 1700000000, created_at - 1700000000 from events") == [(1.0, 1.0)]
    store.close()


def test_another_store_continues_where_the_first_stopped(shared_url: str) -> None:
    """Nothing is closed in good order."""
    abandoned = with_quiz(SqlStore(shared_url))
    put(abandoned, ADA, ANSWER)
    store = SqlStore(shared_url)
    lease = store.acquire_lease(LEASE.key)
    assert latest(store).sessions == (ADA,)
    put(store, StoredAnswer("p1", "q2", "k2", 0, 9.0, 50), lease=lease)
    assert store.scores(LEASE.key) == {"p1": 750}
    store.close()
    abandoned.close()


WRITER = """
import sys
from resilience.server.store import SqlStore
from tests.resilience.server.stored import ADA, LEASE, ORIGIN, StoredAnswer, with_quiz

store = with_quiz(SqlStore(sys.argv[1]))
store.commit([(LEASE, ADA)], ORIGIN)
for number in range(1_000_000):
    store.commit([(LEASE, StoredAnswer("p1", f"q{number}", "k", 1, 4.0, 1))], ORIGIN)
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_has_lost_no_commit_that_returned(root: Path, shared_url: str) -> None:
    """SIGKILL, at any point of a commit: the next server reads every answer that was acknowledged, with its points."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, shared_url], stdout=subprocess.PIPE, text=True, cwd=root)
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(25)]
    child.kill()
    acknowledged += [int(line) for line in child.communicate()[0].splitlines()]
    store = SqlStore(shared_url)
    store.acquire_lease(LEASE.key)
    kept = {answer.question for answer in latest(store).answers}
    assert {f"q{number}" for number in acknowledged} <= kept
    assert len(kept) <= len(acknowledged) + 1
    assert store.scores(LEASE.key) == {"p1": len(kept)}
    store.close()


def test_a_commit_comes_from_whichever_thread_is_the_writer(store: SqlStore) -> None:
    """Opened here, written there, read here; one after the other or at once."""
    with_quiz(store)
    with ThreadPoolExecutor(4) as pool:
        rows = [SessionRow(f"p{i}", "Ada", "connected", 1, 1, (str(i),)) for i in range(40)]
        list(pool.map(lambda row: put(store, row), rows))
        reads = list(pool.map(lambda _: len(latest(store).sessions), range(4)))
    assert reads == [40] * 4
