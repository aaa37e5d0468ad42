"""Several servers on one database: each run has one server, and another one when that has gone."""

from __future__ import annotations

import asyncio
import copy
import itertools
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import ClientConnection, connect

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.policy.run_owners import RENEWAL_INTERVAL_S, SILENT_ROUNDS
from resilience.protocol.messages import (
    CreateEvent,
    Host,
    Hosting,
    HostResult,
    Join,
    Joined,
    Message,
    Probe,
    ProbeReply,
    Resume,
    StateRestored,
)
from resilience.runtime import log_to
from resilience.server.app import QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.pages import not_ready
from resilience.server.store import RunExistsError, RunLease, SqlStore
from tests.resilience.server.stored import ORIGIN, PLAN
from tests.support.counted_names import counted
from tests.support.virtual_server import HOST, VirtualServerHarness, empty_store, play
from tests.support.websocket import hear, say

from .test_server import close_code

QUIZ = QuizConfig(lobby=3000)
KEY = "a key of the hosts"
GONE_S = (SILENT_ROUNDS + 2) * RENEWAL_INTERVAL_S
_NUMBERS = itertools.count()


@dataclass
class Node:
    """One server and its address."""

    port: int
    server: QuizServer

    async def start(self) -> None:
        await self.server.start(HOST, self.port)

    async def dial(self, message: Message) -> ClientConnection:
        url = f"ws://{HOST}:{self.port}/ws"
        socket = await connect(url, compression=None, proxy=None, ping_interval=None, close_timeout=1)
        await say(socket, message)
        return socket

    def kill(self, harness: VirtualServerHarness) -> None:
        self.server.simulate_kill()
        harness.network.crash(self.port)

    @property
    def events(self) -> set[str]:
        return set(self.server.hubs)

    @property
    def reasons(self) -> tuple[str, ...]:
        return not_ready(self.server.view("ws://here"))


def node(harness: VirtualServerHarness, store: SqlStore, port: int, event: str = "quiz") -> Node:
    """A server that is not started yet, under a name of its own at the database."""
    own = copy.copy(store)
    own._owner = f"host:{port}"
    server = QuizServer(
        [EventSpec(event, QUIZ.plan(1), f"run{next(_NUMBERS)}")],
        ServerConfig(),
        own,
        clock=harness.clock,
        log=log_to(harness.log, Lane.VIRTUAL, Role.SERVER, f"server {port}"),
        new_id=counted(),
        new_token=lambda _: f"token-{next(_NUMBERS):032d}",
        wall_clock=harness.clock.now,
        runs=lambda: f"run{next(_NUMBERS)}",
        host_key=KEY,
    )
    return Node(port, server)


def test_two_servers_that_start_at_one_moment_make_one_run() -> None:
    """And one of them serves it; the other is not ready, and says why."""

    async def script(harness: VirtualServerHarness) -> None:
        store = empty_store()
        nodes = [node(harness, store, port) for port in (80, 81)]
        await asyncio.gather(*(one.start() for one in nodes))
        await asyncio.sleep(2 * RENEWAL_INTERVAL_S)
        loser, winner = sorted(nodes, key=lambda one: len(one.events))
        assert (loser.events, winner.events) == (set(), {"quiz"})
        assert loser.reasons == ("events: quiz served by another server of this database",)
        (only,) = store.unfinished()
        assert winner.server.hubs["quiz"].lease.key == only.key
        for one in nodes:
            one.kill(harness)

    outcomes = [event.outcome for event in play(script).events(LogEventKind.SERVER_STARTED)]
    assert outcomes.count("fresh") == 1


@pytest.mark.parametrize("gracefully", [False, True])
def test_the_server_that_lost_its_event_takes_over_when_the_other_is_gone(gracefully: bool) -> None:
    """After a kill within some rounds of the watch, after a stop at the next one."""

    async def script(harness: VirtualServerHarness) -> None:
        store = empty_store()
        first, second = node(harness, store, 80), node(harness, store, 81)
        await first.start()
        player = await first.dial(Join(event="quiz", name="Ada", instance="i1"))
        token = (await hear(player, Joined)).credentials.token
        await second.start()
        assert await close_code(player) == 1012
        assert (first.events, second.events) == (set(), {"quiz"})
        assert await close_code(await first.dial(Resume(event="quiz", token=token))) == 1013
        assert await close_code(await first.dial(Host(event="quiz", key=KEY))) == 1013
        await asyncio.sleep(3 * GONE_S)
        assert (first.events, second.events) == (set(), {"quiz"})
        if gracefully:
            await second.server.stop()
            await asyncio.sleep(RENEWAL_INTERVAL_S + 0.1)
        else:
            second.kill(harness)
            await asyncio.sleep(GONE_S)
        back = await first.dial(Resume(event="quiz", token=token))
        await hear(back, StateRestored)
        assert first.reasons == ()
        first.kill(harness)

    play(script)


def test_a_server_for_another_event_leaves_the_first_ones_events_alone() -> None:
    """Those that it was started for and those that hosts created; it takes them over when their server is gone."""

    async def script(harness: VirtualServerHarness) -> None:
        store = empty_store()
        first, second = node(harness, store, 80), node(harness, store, 81, "other")
        await first.start()
        boss = await first.dial(Host(event="pub", key=KEY))
        await hear(boss, Hosting)
        await say(boss, CreateEvent(QUIZ.plan(2)))
        assert (await hear(boss, HostResult)).verdict == "done"
        player = await first.dial(Join(event="pub", name="Ada", instance="i1"))
        await hear(player, Joined)
        await second.start()
        await asyncio.sleep(2 * RENEWAL_INTERVAL_S)
        await say(player, Probe(1))
        await hear(player, ProbeReply)
        assert (first.events, second.events) == ({"quiz", "pub"}, {"other"})
        assert first.reasons == second.reasons == ()
        assert await close_code(await second.dial(Host(event="pub", key=KEY))) == 1013
        first.kill(harness)
        await asyncio.sleep(GONE_S)
        assert second.events == {"quiz", "pub", "other"}
        second.kill(harness)

    play(script)


def test_an_event_is_created_although_its_host_has_gone() -> None:
    """The run that was being stored is served, and the host finds it when it is back."""

    async def script(harness: VirtualServerHarness) -> None:
        only = node(harness, empty_store(), 80)
        await only.start()
        boss = await only.dial(Host(event="pub", key=KEY))
        await hear(boss, Hosting)
        harness.loop.executor_latency = 0.5
        await say(boss, CreateEvent(QUIZ.plan(2)))
        await asyncio.sleep(0.1)
        boss.transport.abort()
        await asyncio.sleep(3)
        assert only.events == {"quiz", "pub"}
        status = (await hear(await only.dial(Host(event="pub", key=KEY)), Hosting)).status
        assert status is not None
        only.kill(harness)

    started = [event.ref for event in play(script).events(LogEventKind.SERVER_STARTED)]
    assert started == ["quiz", "pub"]


def test_a_run_follows_the_one_that_its_creator_knows_or_is_not_created(shared_url: str) -> None:
    """The second of two servers that have read the same finds the first one's run."""
    first, second = SqlStore(shared_url, "a"), SqlStore(shared_url, "b")
    first.create_event(RunLease("quiz#1", 1), "quiz", PLAN, ORIGIN, newest=None)
    with pytest.raises(RunExistsError):
        second.create_event(RunLease("quiz#2", 1), "quiz", PLAN, ORIGIN, newest=None)
    second.create_event(RunLease("quiz#2", 1), "quiz", PLAN, ORIGIN, newest="quiz#1")
    with pytest.raises(RunExistsError):
        first.create_event(RunLease("quiz#3", 1), "quiz", PLAN, ORIGIN, newest="quiz#1")
    (run,) = first.unfinished()
    assert (run.key, run.owner) == ("quiz#2", "b")
    first.close()
    second.close()


def test_an_owner_learns_that_its_lease_is_void(store: SqlStore) -> None:
    """Only the holder of the lease renews or releases a run."""
    old = RunLease("quiz#1", 1)
    store.create_event(old, "quiz", PLAN, ORIGIN)
    assert store.renew([old]) == []
    new = store.acquire_lease(old.key)
    before = store.unfinished()
    assert store.renew([old, new]) == [old]
    store.release([old])
    (run,) = store.unfinished()
    assert run.renewals == before[0].renewals + 1
    store.release([new])
    assert not store.unfinished()[0].owner
