"""The store of runs whose server is never replaced: the same rows, the same errors and the same history as with SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.errors import FencedError, StoreError
from resilience.eventlog.writer import EventList
from resilience.experiment.faults import ServerDrainFault, ServerKillFault, ServerSuspendFault
from resilience.experiment.loader import load, load_file
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.lab.recording import Recording
from resilience.lab.run import RunOutcome, conduct
from resilience.lab.run_directory import RunStatus
from resilience.protocol.effects import DeleteParticipant, JoinAttempt, Row, SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import Question
from resilience.server.store import MEMORY, RunExistsError, RunLease, SqlStore, Store
from sim.virtual import lane
from sim.virtual.lane import VirtualLane
from sim.virtual.memory_store import MemoryStore

ORIGIN = 1.7e9
PLAN = QuizPlan(questions=(Question("q1", "one?", ("a", "b"), 0, 5.0), Question("q2", "two?", ("a", "b"), 1, 5.0)))
PLANTED_FOLDER = Path(__file__).parents[2] / "support" / "planted"
PLANTED, TABS = (load_file(PLANTED_FOLDER / f"{name}.toml") for name in ("planted", "tabs"))
FIRST = RunLease("quiz#1", 1)
WITHOUT_RESTART = tuple(fault for fault in PLANTED.faults if not isinstance(fault, ServerKillFault))
SUSPENDED = Experiment(
    "suspended",
    20.0,
    (Cohort("a", 4),),
    ramp=0.5,
    hypothesis=Hypothesis(within=2.0),
    faults=(ServerSuspendFault(5.0, duration=2.0),),
)


@pytest.fixture(scope="module")
def database() -> Iterator[SqlStore]:
    store = SqlStore(MEMORY)
    yield store
    store.close()


def history(driver: VirtualLane, experiment: Experiment, seed: int) -> tuple[object, ...]:
    """Everything that a run records."""
    recording = Recording.in_memory()
    assert conduct(driver, experiment, seed, recording) == RunOutcome(RunStatus.COMPLETED)
    assert isinstance(recording.events, EventList)
    return list(recording.events), recording.observations, recording.stored


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "experiment",
    [
        load("smoke"),
        load("demo", scale=0.03),
        TABS,
        SUSPENDED,
        msgspec.structs.replace(PLANTED, name="planted-without-restart", faults=WITHOUT_RESTART),
    ],
    ids=lambda experiment: experiment.name,
)
def test_the_history_is_that_of_a_run_on_a_database(database: SqlStore, experiment: Experiment, seed: int) -> None:
    """Events, what clients were shown, and what the store held at the end."""
    assert history(VirtualLane(), experiment, seed) == history(VirtualLane(store=database), experiment, seed)


@pytest.mark.parametrize(
    "experiment, databases",
    [
        (SUSPENDED, 0),
        (msgspec.structs.replace(SUSPENDED, faults=(ServerKillFault(6.0, duration=1.0),)), 1),
        (msgspec.structs.replace(SUSPENDED, faults=(ServerDrainFault(6.0, duration=3.5),)), 1),
    ],
    ids=["suspended", "killed", "drained"],
)
def test_a_database_is_made_when_the_server_is_replaced(
    monkeypatch: pytest.MonkeyPatch, experiment: Experiment, databases: int
) -> None:
    made: list[str] = []

    def make(url: str) -> SqlStore:
        made.append(url)
        return SqlStore(url)

    monkeypatch.setattr(lane, "SqlStore", make)
    history(VirtualLane(), experiment, 1)
    assert made == [MEMORY] * databases


# --- rows -------------------------------------------------------------------------------------------------------------

WHO = st.sampled_from(["ann", "bob", "cid"])
WHEN = st.floats(0.0, 1000.0)
SESSIONS = st.builds(
    SessionRow,
    participant=WHO,
    name=st.sampled_from(["Ann", "Bob"]),
    join_status=st.sampled_from(["connected", "disconnected"]),
    connection_no=st.integers(1, 9),
    generation=st.integers(1, 9),
    token_hashes=st.just(()),
    instance=st.sampled_from(["", "i"]),
    confirmed=st.booleans(),
    last_heard=WHEN,
)
ANSWERS = st.builds(
    StoredAnswer,
    participant=WHO,
    question=st.sampled_from(["q1", "q2"]),
    key=st.sampled_from(["k", "l"]),
    choice=st.integers(0, 1),
    received_at=WHEN,
    points=st.sampled_from([0, 500, 1000]),
)
STATES = st.builds(
    QuizState,
    phase=st.sampled_from(Phase),
    index=st.integers(-1, 1),
    step=st.integers(0, 5),
    since=WHEN,
    opened_at=WHEN,
    closes_at=WHEN,
    ends_at=st.none() | WHEN,
)
ATTEMPTS = st.builds(JoinAttempt, participant=st.none() | WHO, outcome=st.just("created"), at=WHEN)
LEASES = st.sampled_from([FIRST, FIRST, FIRST, RunLease("quiz#1", 2), RunLease("other#1", 1)])
COMMITS = st.lists(
    st.lists(
        st.tuples(LEASES, st.one_of(SESSIONS, ANSWERS, STATES, ATTEMPTS, st.builds(DeleteParticipant, WHO))), max_size=6
    ),
    max_size=8,
)


def with_tokens(rows: Sequence[tuple[RunLease, Row]], commit: int) -> list[tuple[RunLease, Row]]:
    """Hashes that no other row has: two participants never share a token."""
    return [
        (
            lease,
            SessionRow(
                row.participant,
                row.name,
                row.join_status,
                row.connection_no,
                row.generation,
                tuple(f"{row.participant}{commit}{at}{i}" for i in range(1 + row.generation % 3)),
                row.instance,
                row.confirmed,
                row.last_heard,
            )
            if isinstance(row, SessionRow)
            else row,
        )
        for at, (lease, row) in enumerate(rows)
    ]


def outcome(store: Store, rows: Sequence[tuple[RunLease, Row]]) -> type[Exception] | None:
    """The class of the error of one commit."""
    try:
        store.commit(rows, ORIGIN)
    except StoreError as error:
        return type(error)
    return None


@settings(max_examples=40, deadline=None)
@given(commits=COMMITS)
def test_any_commits_leave_the_same_rows_and_errors(
    database: SqlStore, commits: list[list[tuple[RunLease, Row]]]
) -> None:
    database.clear()
    stores: tuple[Store, Store] = (database, MemoryStore())
    for store in stores:
        store.create_event(FIRST, "quiz", PLAN, ORIGIN, 1.5, None)
    for number, rows in enumerate(commits):
        made = with_tokens(rows, number)
        one, other = (outcome(store, made) for store in stores)
        assert one is other
    one_run, other_run = (store.latest("quiz", ORIGIN) for store in stores)
    assert one_run == other_run
    assert stores[0].newest_run("quiz", ORIGIN) == stores[1].newest_run("quiz", ORIGIN)
    assert list(stores[0].scores("quiz#1").items()) == list(stores[1].scores("quiz#1").items())
    assert stores[0].unfinished() == stores[1].unfinished()


def test_leases_are_granted_and_void_as_in_the_database(database: SqlStore) -> None:
    """A second run of an event, a recovery, an absent run, a lease that another one replaced."""
    database.clear()
    for store in (database, MemoryStore()):
        assert store.newest_run("quiz", ORIGIN) is store.latest("quiz", ORIGIN) is None
        store.create_event(FIRST, "quiz", PLAN, ORIGIN)
        with pytest.raises(RunExistsError):
            store.create_event(RunLease("quiz#2", 1), "quiz", PLAN, ORIGIN, 0.0, None)
        assert store.acquire_lease("quiz#1") == RunLease("quiz#1", 2)
        assert store.renew([FIRST, RunLease("quiz#1", 2)]) == [FIRST]
        with pytest.raises(FencedError):
            store.commit([(FIRST, QuizState())], ORIGIN)
        with pytest.raises(StoreError):
            store.acquire_lease("absent#1")
        store.create_event(RunLease("quiz#2", 1), "quiz", PLAN, ORIGIN, 0.0, "quiz#1")
        assert [run.key for run in store.unfinished()] == ["quiz#2"]
        store.release([RunLease("quiz#2", 1)])
        assert store.scores("absent#1") == {}
