"""A run that this server must read again: until the database answers, whatever fails on the way, or another has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from resilience.config import ServerConfig
from resilience.errors import StoreError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.database_retry import DELAYS, database_retry_delay
from resilience.protocol.messages import (
    CreateEvent,
    Host,
    Hosting,
    HostResult,
    Join,
    Joined,
    Leave,
    Resume,
    StateRestored,
)
from resilience.quiz.plan import QuizPlan
from resilience.server.app import QuizServer
from resilience.server.database import OutcomeUnknownError
from resilience.server.lease_claim import LeaseClaim
from resilience.server.store import MEMORY, RunLease, SqlStore
from tests.support.lost_database import LosableDatabase, LosableStore
from tests.support.virtual_server import HOST, PORT, VirtualServerHarness, play
from tests.support.websocket import hear, say

from .test_event_registry import PLAN, crash, host, server, speak, started
from .test_server import close_code

LEASE = RunLease("quiz#1", 3)
NEXT = RunLease("quiz#1", 4)


# --- whose lease it is ------------------------------------------------------------------------------------------------


def granting(answer: RunLease | StoreError) -> SqlStore:
    """A store that grants this lease, or fails."""

    def acquire_lease(_: str) -> RunLease:
        if isinstance(answer, StoreError):
            raise answer
        return answer

    return SimpleNamespace(acquire_lease=acquire_lease)  # type: ignore[return-value]


def test_a_lease_that_another_server_has_is_not_ours() -> None:
    claim = LeaseClaim(LEASE)
    assert claim.covers(LEASE)
    assert not claim.covers(NEXT)


def test_an_acquired_lease_is_ours_although_what_follows_fails() -> None:
    claim = LeaseClaim(LEASE)
    assert claim.acquire(granting(NEXT)) == NEXT
    assert claim.covers(NEXT)
    assert not claim.covers(LEASE)


def test_an_acquisition_whose_reply_was_lost_may_have_been_granted() -> None:
    """The next lease counts as ours, once: it was, or it is taken from a server that got it in the same outage."""
    claim = LeaseClaim(LEASE)
    with pytest.raises(OutcomeUnknownError):
        claim.acquire(granting(OutcomeUnknownError("lost")))
    assert claim.covers(NEXT)
    assert not claim.covers(RunLease("quiz#1", 5))
    claim = LeaseClaim(LEASE)
    with pytest.raises(OutcomeUnknownError):
        claim.acquire(granting(OutcomeUnknownError("lost")))
    assert claim.covers(LEASE)
    assert not claim.covers(NEXT)


def test_an_acquisition_that_failed_was_not_granted() -> None:
    claim = LeaseClaim(LEASE)
    with pytest.raises(StoreError):
        claim.acquire(granting(StoreError("connection refused")))
    assert not claim.covers(NEXT)


def test_retries_are_bounded_and_spread() -> None:
    delays = [database_retry_delay(attempt, 0.999999) for attempt in range(200)]
    assert delays == sorted(delays)
    assert 3.9 < delays[-1] <= DELAYS.maximum
    assert database_retry_delay(9, 0.0) == DELAYS.maximum / 2
    assert database_retry_delay(0, 0.0) > 0


# --- recovering -------------------------------------------------------------------------------------------------------


T = TypeVar("T")


class StumblingDatabase(LosableDatabase):
    """Fails the next transactions as ``failures`` says; ``None`` is one that succeeds."""

    failures: list[StoreError | None]

    def run(self, work: Callable[[Connection], T], failed: str) -> T:
        """Execute ``work``, or fail as listed; a lost reply is that of a commit that was carried out."""
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, OutcomeUnknownError):
            super().run(work, failed)
        if failure is not None:
            raise failure
        return super().run(work, failed)


GONE, LOST = StoreError("connection refused"), OutcomeUnknownError("the reply was lost")


def stumble(store: LosableStore, *failures: StoreError | None) -> None:
    """Let the store's next transactions fail in this way."""
    store.database.__class__ = StumblingDatabase
    assert isinstance(store.database, StumblingDatabase)
    store.database.failures = list(failures)


async def with_a_lost_reply(
    harness: VirtualServerHarness, *failures: StoreError | None
) -> tuple[QuizServer, LosableStore, str]:
    """A server with a participant whose next commit's reply is lost; its recovery meets these failures."""
    store = LosableStore()
    app = server(harness, store)
    await app.start(HOST, PORT)
    socket = await speak(Join(event="quiz", name="Ada", instance="i1"))
    token = (await hear(socket, Joined)).credentials.token
    stumble(store, LOST, *failures)
    await speak(Join(event="quiz", name="Bob", instance="i2"))
    assert await close_code(socket) == 1013
    return app, store, token


@pytest.mark.parametrize(
    "failures",
    [
        [],
        [GONE, GONE],
        [None, GONE],
        [None, LOST],
        [None, None, GONE],
        [None, LOST, None, None, GONE, None, LOST, GONE],
    ],
)
def test_a_recovery_continues_whatever_fails_on_the_way(failures: list[StoreError | None]) -> None:
    """Reading the run, acquiring its lease, also if the reply is lost, reading it whole: each may fail in turn."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _, token = await with_a_lost_reply(harness, *failures)
        await harness.until(lambda: "quiz" in app.hubs, within=20.0)
        await hear(await speak(Resume(event="quiz", token=token)), StateRestored)
        assert not app._registry.elsewhere
        assert not app._registry.recovering

    harness = play(script)
    assert [how for _, how, _ in started(harness)] == ["fresh", "recovered"]
    retries = [event for event in harness.events(LogEventKind.COMMIT_FAILED) if event.value == 0.0]
    assert len(retries) == sum(failure is not None for failure in failures)


def test_a_run_that_another_server_recovered_during_the_outage_is_left_to_it() -> None:
    async def script(harness: VirtualServerHarness) -> None:
        app, store, token = await with_a_lost_reply(harness, *[GONE] * 3)
        assert app._registry.recovering == {"quiz"}
        stumble(store)
        run = store.newest_run("quiz", 0.0)
        assert run is not None
        store.acquire_lease(run.lease.key)
        await harness.until(lambda: not app._registry.recovering, within=20.0)
        assert app._registry.elsewhere == {"quiz"}
        assert await close_code(await speak(Resume(event="quiz", token=token))) == 1013

    assert [how for _, how, _ in started(play(script))] == ["fresh"]


def test_a_leave_in_the_lost_commit_is_stored_by_the_recovery() -> None:
    """No client waits for it, so none would send it again: the participant would be expected back."""

    async def script(harness: VirtualServerHarness) -> None:
        store = LosableStore()
        app = server(harness, store)
        await app.start(HOST, PORT)
        socket = await speak(Join(event="quiz", name="Ada", instance="i1"))
        await hear(socket, Joined)
        store.database.lands = False
        await say(socket, Leave())
        await harness.until(lambda: bool(app._registry.recovering))
        await harness.until(lambda: "quiz" in app.hubs)
        stored = store.latest("quiz", 0.0)
        assert stored is not None
        assert not stored.sessions, "one that left without an answer is forgotten"
        assert app.states() == {"connected": 0, "temporarily_disconnected": 0, "disconnected": 0}

    play(script)


def test_hosts_of_an_event_that_waits_for_its_database_receive_that() -> None:
    """Not that they may create it; and a host that is there already cannot."""

    async def script(harness: VirtualServerHarness) -> None:
        app, store, _ = await with_a_lost_reply(harness)
        await harness.until(lambda: "quiz" in app.hubs)
        boss = await host("other")
        await hear(boss, Hosting)
        stumble(store, LOST)
        await speak(Join(event="quiz", name="Cy", instance="i3"))
        await harness.until(lambda: bool(app._registry.recovering))
        store.database.is_away = True
        newcomer = await speak(Host(event="quiz", key="a key of the hosts"))
        assert await close_code(newcomer) == 1013
        assert newcomer.close_reason is not None
        assert "the database is away" in newcomer.close_reason
        with pytest.raises(UsageError, match="is being recovered"):
            await app._registry.create("quiz", PLAN)
        await say(boss, CreateEvent(PLAN))
        assert "refused" in (await hear(boss, HostResult)).rule

    play(script)


def test_a_killed_server_asks_no_more() -> None:
    async def script(harness: VirtualServerHarness) -> None:
        app, store, _ = await with_a_lost_reply(harness)
        store.database.is_away = True
        await asyncio.sleep(1.0)
        await crash(harness, app)
        before = store.database.calls
        await asyncio.sleep(60.0)
        assert store.database.calls == before

    play(script)


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_recovering", [True, False])
def test_a_server_stops_although_its_database_is_away_and_says_so(*, is_recovering: bool) -> None:
    """With the sockets closed, nothing left that asks, and an error for the operator."""

    async def script(harness: VirtualServerHarness) -> None:
        if is_recovering:
            app, store, _ = await with_a_lost_reply(harness)
        else:
            store = LosableStore()
            app = server(harness, store, ServerConfig(drain_window=0.5))
            await app.start(HOST, PORT)
            await hear(await speak(Join(event="quiz", name="Ada", instance="i1")), Joined)
        store.database.is_away = True
        await asyncio.sleep(0.01)
        with pytest.raises(StoreError, match="recover" if is_recovering else "connection refused"):
            await app.stop()
        before = store.database.calls
        await asyncio.sleep(60.0)
        assert store.database.calls == before
        with pytest.raises(ConnectionError):
            await speak(Join(event="quiz", name="Ada", instance="i1"))

    play(script)


# --- creating ---------------------------------------------------------------------------------------------------------


class BrokenStore(SqlStore):
    """A store with a defect in ``create_event``, for some titles."""

    def create_event(self, lease: RunLease, event: str, plan: QuizPlan, *arguments: Any) -> None:  # noqa: ANN401 - passed on
        if plan.title == "broken":
            raise ZeroDivisionError
        super().create_event(lease, event, plan, *arguments)


def test_a_defect_in_a_creation_does_not_block_its_host(caplog: pytest.LogCaptureFixture) -> None:
    """The host receives a refusal, the next plan is opened, and the defect is logged with its traceback."""

    async def script(harness: VirtualServerHarness) -> None:
        await server(harness, BrokenStore(MEMORY)).start(HOST, PORT)
        boss = await host()
        await hear(boss, Hosting)
        await say(boss, CreateEvent(QuizPlan(PLAN.questions, "broken")))
        refused = await hear(boss, HostResult)
        assert (refused.verdict, refused.rule) == ("refused", "the server failed; try again")
        await say(boss, CreateEvent(PLAN))
        assert (await hear(boss, HostResult)).verdict == "done"

    with caplog.at_level(logging.ERROR):
        play(script)
    (logged,) = caplog.records
    assert logged.exc_info is not None
