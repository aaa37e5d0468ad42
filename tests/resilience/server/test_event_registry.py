"""Which events a server runs: recovered from the database, created by hosts, released, or lost to another server."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from resilience.config import QuizConfig, ServerConfig
from resilience.errors import PortInUseError, StoreError
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    CreateEvent,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    HostStatus,
    Join,
    Joined,
    Message,
    QuestionOpened,
    Resume,
    StateRestored,
)
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question
from resilience.runtime import log_to
from resilience.server.app import QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.store import MEMORY, RunLease, SqlStore, StoredEvent
from tests.support.counted_names import counted
from tests.support.virtual_server import HOST, PORT, URL, VirtualServerHarness, play
from tests.support.websocket import hear, say

from .test_server import close_code

KEY = "a key of the hosts"
QUIZ = QuizConfig(questions=2, lobby=1, question_time=20)
PLAN = QuizPlan((Question("q1", "1 + 1?", ("1", "2"), 1, 30.0), Question("q2", "2 + 2?", ("4", "5"), 0, 30.0)), "Sums")
_NUMBERS = itertools.count()


def server(
    harness: VirtualServerHarness, store: SqlStore, config: ServerConfig | None = None, *, fresh: bool = False
) -> QuizServer:
    """A server that is not started yet, with the automatic event ``quiz`` and a host key."""
    return QuizServer(
        [EventSpec("quiz", QUIZ.plan(1), f"run{next(_NUMBERS)}")],
        config or ServerConfig(),
        store,
        clock=harness.clock,
        log=log_to(harness.log, Lane.VIRTUAL, Role.SERVER, "server"),
        new_id=counted(),
        new_token=lambda _: f"token-{next(_NUMBERS):032d}",
        wall_clock=harness.clock.now,
        runs=lambda: f"run{next(_NUMBERS)}",
        host_key=KEY,
        fresh=fresh,
    )


async def crash(harness: VirtualServerHarness, old: QuizServer) -> None:
    """Kill a server: its sockets end, its timers and commits with it."""
    old.simulate_kill()
    harness.network.crash(PORT)
    await asyncio.sleep(0.1)


async def dial(url: str = URL) -> ClientConnection:
    """A bare connection."""
    return await connect(url, compression=None, proxy=None, ping_interval=None, close_timeout=1)


async def speak(message: Message) -> ClientConnection:
    """A bare connection that has said its first words."""
    socket = await dial()
    await say(socket, message)
    return socket


async def host(event: str = "sums") -> ClientConnection:
    """A host of an event."""
    return await speak(Host(event=event, key=KEY))


def started(harness: VirtualServerHarness) -> list[tuple[str | None, str | None, float | None]]:
    """Which events servers opened: id, how, with how many sessions."""
    return [(event.ref, event.outcome, event.value) for event in harness.events(LogEventKind.SERVER_STARTED)]


def test_a_restarted_server_continues_where_the_killed_one_stopped() -> None:
    """Same person, same answer, same deadline, although the question was open while no server ran."""

    async def script(harness: VirtualServerHarness) -> None:
        store = SqlStore(MEMORY)
        old = server(harness, store)
        await old.start(HOST, PORT)
        socket = await speak(Join(event="quiz", name="Ada", instance="i1"))
        me = (await hear(socket, Joined)).credentials
        opened = await hear(socket, QuestionOpened)
        closes_at = harness.clock.now() + opened.question.remaining_ms / 1000
        await say(socket, Answer("q1", 1, "k1"))
        await hear(socket, AnswerResult)
        await crash(harness, old)
        await asyncio.sleep(5)
        await server(harness, store).start(HOST, PORT)
        back = await speak(Resume(event="quiz", token=me.token))
        restored = await hear(back, StateRestored)
        snapshot = restored.snapshot
        assert restored.credentials.participant == me.participant
        assert snapshot.question is not None
        assert (snapshot.answer, snapshot.question.id) == (1, "q1")
        assert harness.clock.now() + snapshot.question.remaining_ms / 1000 == pytest.approx(closes_at, abs=0.01)
        assert snapshot.epoch.endswith(".2")

    assert started(play(script)) == [("quiz", "fresh", 0), ("quiz", "recovered", 1)]


def test_a_reply_that_the_crash_swallowed_makes_no_second_person() -> None:
    """The join was durable, the answer to it was not sent: the same instance is the same person."""

    async def script(harness: VirtualServerHarness) -> None:
        store = SqlStore(MEMORY)
        old = server(harness, store)
        await old.start(HOST, PORT)
        await speak(Join(event="quiz", name="Ada", instance="i1"))
        await asyncio.sleep(0.003)
        await crash(harness, old)
        new = server(harness, store)
        await new.start(HOST, PORT)
        again = await speak(Join(event="quiz", name="Ada", instance="i1"))
        assert (await hear(again, Joined)).credentials.participant == "p1"
        assert len(new.hubs["quiz"].room.sessions) == 1

    play(script)


def test_a_run_that_is_long_over_is_not_continued() -> None:
    """Over for less than the clean-up, players may come back to see the end; later a new run begins."""

    async def script(harness: VirtualServerHarness) -> None:
        store = SqlStore(MEMORY)
        for pause in (0, 70, 200):
            await asyncio.sleep(pause)
            current = server(harness, store)
            await current.start(HOST, PORT)
            if pause == 0:
                await hear(await speak(Join(event="quiz", name="Ada", instance="i1")), Joined)
            await crash(harness, current)

    assert [how for _, how, _ in started(play(script))] == ["fresh", "recovered", "fresh"]


def test_fresh_begins_a_new_run() -> None:
    """Even though there is a run to continue, which stays as it is."""

    async def script(harness: VirtualServerHarness) -> None:
        store = SqlStore(MEMORY)
        first = server(harness, store)
        await first.start(HOST, PORT)
        await hear(await speak(Join(event="quiz", name="Ada", instance="i1")), Joined)
        await crash(harness, first)
        await server(harness, store, fresh=True).start(HOST, PORT)
        assert len(store.scores(first.hubs["quiz"].lease.key)) == 1

    assert [how for _, how, _ in started(play(script))] == ["fresh", "fresh"]


def test_a_host_runs_an_event_and_a_restarted_server_recovers_it_unasked() -> None:
    """Created over the wire, started, killed, and there again with the same question open."""

    async def script(harness: VirtualServerHarness) -> None:
        store = SqlStore(MEMORY)
        old = server(harness, store)
        await old.start(HOST, PORT)
        boss = await host()
        assert (await hear(boss, Hosting)).status is None
        await say(boss, CreateEvent(PLAN))
        assert (await hear(boss, HostResult)).verdict == "done"
        await say(boss, HostCommand(HostAction.START, 0))
        assert (await hear(boss, HostResult)) == HostResult("start", "done", 1)
        assert (await hear(boss, HostStatus)).phase == "question"
        await crash(harness, old)
        await server(harness, store).start(HOST, PORT)
        status = (await hear(await host(), Hosting)).status
        assert status is not None
        assert (status.title, status.phase, status.step, status.text) == ("Sums", "question", 1, "1 + 1?")
        await hear(await speak(Join(event="sums", name="Ada", instance="i1")), Joined)
        await hear(await speak(Join(event="quiz", name="Ada", instance="i1")), Joined)

    play(script)


async def _create(plan: QuizPlan, event: str = "sums") -> HostResult:
    boss = await host(event)
    await hear(boss, Hosting)
    await say(boss, CreateEvent(plan))
    return await hear(boss, HostResult)


def test_creating_again_is_harmless_with_the_same_plan_only() -> None:
    """A resend is done; other questions under the same name are refused while it is under way."""

    async def script(harness: VirtualServerHarness) -> None:
        await server(harness, SqlStore(MEMORY)).start(HOST, PORT)
        other = QuizPlan(PLAN.questions[:1])
        assert [(await _create(plan)).verdict for plan in (PLAN, PLAN, other)] == ["done", "done", "refused"]

    assert [ref for ref, _, _ in started(play(script))] == ["quiz", "sums"]


def test_a_finished_event_may_be_created_again() -> None:
    """Under the same name, as a run of its own."""

    async def script(harness: VirtualServerHarness) -> None:
        app = server(harness, SqlStore(MEMORY))
        await app.start(HOST, PORT)
        await _create(PLAN)
        boss = await host()
        await say(boss, HostCommand(HostAction.FINISH, 0))
        assert (await hear(boss, HostResult)).verdict == "done"
        assert (await _create(PLAN)).verdict == "done"
        assert app.hubs["sums"].room.game.phase == "lobby"

    assert [ref for ref, _, _ in started(play(script))] == ["quiz", "sums", "sums"]


def test_no_more_events_than_allowed_until_one_is_over() -> None:
    """The one that has been over for longest makes room."""

    async def script(harness: VirtualServerHarness) -> None:
        app = server(harness, SqlStore(MEMORY), ServerConfig(max_events=2))
        await app.start(HOST, PORT)
        assert (await _create(PLAN, "one")).verdict == "done"
        refused = await _create(PLAN, "two")
        assert (refused.verdict, "max_events" in refused.rule) == ("refused", True)
        boss = await host("one")
        await say(boss, HostCommand(HostAction.FINISH, 0))
        await hear(boss, HostResult)
        assert (await _create(PLAN, "two")).verdict == "done"
        assert set(app.hubs) == {"quiz", "two"}

    play(script)


def test_the_return_window_is_that_of_all_events_of_the_process() -> None:
    """All of them lose a process at once. An event that has made room for another counts no more."""

    async def script(harness: VirtualServerHarness) -> None:
        app = server(harness, SqlStore(MEMORY), ServerConfig(max_events=2, join_capacity=10.0))
        await app.start(HOST, PORT)
        await _create(PLAN, "one")
        windows = [await spread_of("quiz"), await spread_of("one"), await spread_of("one")]
        assert windows == [100, 200, 300]
        boss = await host("one")
        await say(boss, HostCommand(HostAction.FINISH, 0))
        await hear(boss, HostResult)
        await _create(PLAN, "two")
        assert await spread_of("two") == 200

    play(script)


async def spread_of(event: str) -> int:
    """Join this event; the spread that its server announces, milliseconds."""
    socket = await speak(Join(event=event, name="Ada", instance=f"i{next(_NUMBERS)}"))
    return (await hear(socket, Joined)).timing.spread_ms


def test_a_host_without_the_key_is_refused() -> None:
    """For good, and counted."""

    async def script(harness: VirtualServerHarness) -> None:
        await server(harness, SqlStore(MEMORY)).start(HOST, PORT)
        assert await close_code(await speak(Host(event="sums", key="another key"))) == 4204

    (refused,) = play(script).events(LogEventKind.CONNECTION_REFUSED)
    assert refused.cause == "key"


def test_a_run_that_another_server_has_recovered_is_left_to_it() -> None:
    """The older server's clients are closed with a time to return; it stores nothing more of that run."""

    async def script(harness: VirtualServerHarness) -> None:
        store = SqlStore(MEMORY)
        app = server(harness, store)
        await app.start(HOST, PORT)
        socket = await speak(Join(event="quiz", name="Ada", instance="i1"))
        await hear(socket, Joined)
        store.acquire_lease(app.hubs["quiz"].lease.key)
        await speak(Join(event="quiz", name="Bob", instance="i2"))
        assert await close_code(socket) == 1012
        assert await close_code(await speak(Join(event="quiz", name="Cy", instance="i3"))) == 1013
        assert "quiz" not in app.hubs
        assert "sums" not in app.hubs
        assert (await _create(PLAN)).verdict == "done"

    harness = play(script)
    assert len(harness.events(LogEventKind.COMMIT_FAILED)) == 1
    assert len(harness.events(LogEventKind.SESSION_CREATED)) == 1


def test_a_port_that_is_taken_is_noticed_before_any_run_is_touched() -> None:
    """Starting twice by mistake does not take the events from the server that is running."""

    async def script(harness: VirtualServerHarness) -> None:
        store = SqlStore(MEMORY)
        app = server(harness, store)
        await app.start(HOST, PORT)
        with pytest.raises(PortInUseError):
            await server(harness, store).start(HOST, PORT)
        await hear(await speak(Join(event="quiz", name="Ada", instance="i1")), Joined)

    assert len(started(play(script))) == 1


def test_an_automatic_plan_moves_by_itself() -> None:
    """A host that sets a pace need not stay."""

    async def script(harness: VirtualServerHarness) -> None:
        await server(harness, SqlStore(MEMORY)).start(HOST, PORT)
        quick = tuple(msgspec.structs.replace(question, time_s=5.0) for question in PLAN.questions)
        plan = QuizPlan(quick, pace=Pace(2.0, 1.0, 1.0))
        await _create(plan)
        player = await speak(Join(event="sums", name="Ada", instance="i1"))
        await hear(player, Joined)
        assert (await hear(player, QuestionOpened)).question.id == "q1"
        assert (await hear(player, QuestionOpened)).question.id == "q2"

    play(script)


class CountingStore(SqlStore):
    """A database that counts whole reads of each event, and that does not create events while ``full``."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.read, self.full = Counter[str](), False

    def latest(self, event: str, origin: float) -> StoredEvent | None:
        self.read[event] += 1
        return super().latest(event, origin)

    def create_event(self, lease: RunLease, event: str, *rest: Any) -> None:  # noqa: ANN401 - as the store's own
        if self.full:
            raise StoreError("the database did not create the event: disk full")
        super().create_event(lease, event, *rest)


def test_a_restarting_server_reads_every_event_once() -> None:
    async def script(harness: VirtualServerHarness) -> None:
        store = CountingStore(MEMORY)
        old = server(harness, store)
        await old.start(HOST, PORT)
        await hear(await speak(Join(event="quiz", name="Ada", instance="i1")), Joined)
        for event in ("sums", "more"):
            assert (await _create(PLAN, event)).verdict == "done"
        await crash(harness, old)
        store.read.clear()
        new = server(harness, store)
        await new.start(HOST, PORT)
        assert store.read == {"quiz": 1, "sums": 1, "more": 1}
        assert set(new.hubs) == {"quiz", "sums", "more"}

    play(script)


@pytest.mark.parametrize("successor", ["sums", "other"])
def test_a_finished_event_stays_when_its_successor_cannot_be_stored(successor: str) -> None:
    """Neither one of the same name nor one that has to go for another is lost to a failing database."""

    async def script(harness: VirtualServerHarness) -> None:
        store = CountingStore(MEMORY)
        app = server(harness, store, ServerConfig(max_events=2))
        await app.start(HOST, PORT)
        await _create(PLAN)
        old = app.hubs["sums"]
        player = await speak(Join(event="sums", name="Ada", instance="i1"))
        token = (await hear(player, Joined)).credentials.token
        await say(await host(), HostCommand(HostAction.FINISH, 0))
        await asyncio.sleep(1)
        store.full = True
        other = PLAN if successor == "other" else msgspec.structs.replace(PLAN, title="Other sums")
        assert (await _create(other, successor)).verdict == "refused"
        assert app.hubs["sums"] is old
        back = await speak(Resume(event="sums", token=token))
        assert (await hear(back, StateRestored)).snapshot.phase == "finished"
        store.full = False
        assert (await _create(other, successor)).verdict == "done"
        assert (await close_code(back), app.hubs.get("sums") is old) == (1000, False)
        assert set(app.hubs) == {"quiz", successor}

    play(script)


def test_events_that_are_created_at_once_do_not_exceed_the_limit() -> None:
    async def script(harness: VirtualServerHarness) -> None:
        app = server(harness, CountingStore(MEMORY), ServerConfig(max_events=3))
        await app.start(HOST, PORT)
        results = await asyncio.gather(*(_create(PLAN, f"sums {number}") for number in range(5)))
        assert sorted(result.verdict for result in results) == ["done"] * 2 + ["refused"] * 3
        assert len(app.hubs) == 3

    play(script)
