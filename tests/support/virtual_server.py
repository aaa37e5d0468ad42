"""The real server and real clients under a virtual clock, for tests of the code that holds sockets.

One harness: a server that can die and come back on its database, its clients, and the links between them. ``play``
runs a script on it; ``act`` runs it on a shared database, checks the recorded history against the invariants and
checks that nothing is left running. Raw peers are in ``websocket.py``.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.effects import Record
from resilience.protocol.messages import Message
from resilience.protocol.server.room import Room
from resilience.protocol.server.session import ServerSession
from resilience.protocol.states import ClientState
from resilience.random_streams import random_for
from resilience.runtime import RecordSink, RunClock, ignore_record, log_to, tee
from resilience.server.app import QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.metrics import Metrics
from resilience.server.store import MEMORY, SqlStore, Store
from resilience.units import Seconds
from sim.virtual.link import VirtualLink
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork

from .counted_names import counted
from .history import violations

M = TypeVar("M", bound=Message)

HOST, PORT, LINK_PORT = "server.test", 80, 8001
URL = f"ws://{HOST}:{PORT}/ws"
LINKED = f"ws://{HOST}:{LINK_PORT}/ws"

LATENCY: Seconds = 0.001
COMMIT: Seconds = 0.002
SPRING = 1_700_000_000.0
"""What the wall clock of ``act`` shows when the run clock shows 0."""

CALM = QuizConfig(questions=2, lobby=1, question_time=600)
"""One question that is open for as long as most scripts last."""

WAITING = QuizConfig(lobby=3000)
"""A quiz that does nothing."""

SHARED = ("identities_kept",)
"""What does not hold where clients take, or lose, an identity."""


class VirtualServerHarness:
    """What a test acts on: a clock, a network with one link to the server, a log, a server, clients.

    ``delivered`` holds what all clients received, ``heard`` the same by client. ``wall_ahead`` is what the server's
    wall clock shows at 0, ``store`` the database of the newest server. ``also_log`` receives each record of the server.
    """

    server: QuizServer
    store: Store

    def __init__(self, loop: VirtualLoop, network: VirtualNetwork, store: Store | None = None) -> None:
        self.loop, self.network, self._given = loop, network, store
        self.clock, self.log = RunClock(0.0, loop.time), EventList()
        self.link = network.link("link", port=LINK_PORT, upstream=(HOST, PORT))
        self.delivered: list[Message] = []
        self.heard: dict[str, list[Message]] = {}
        self.wall_ahead = 0.0
        self.also_log: RecordSink = ignore_record
        self._settings = (ServerConfig(), QuizConfig())
        self._clients: list[ReconnectingClient] = []
        self._servers: list[QuizServer] = []
        self._runs, self._ports = itertools.count(1), itertools.count(LINK_PORT + 1)
        self._new_id, self._new_token = counted(), counted("token-", 0, 32)

    # the server -------------------------------------------------------------------------------------------------------

    async def serve(
        self, server: ServerConfig | None = None, quiz: QuizConfig | None = None, store: Store | None = None
    ) -> QuizServer:
        """A server of the event ``quiz``, listening; on ``store``, else on the harness's, else on an empty one."""
        self._settings = (server or ServerConfig(), quiz or QuizConfig())
        return await self._start(store or self._given or SqlStore(MEMORY))

    async def serve_hosts(
        self,
        server: ServerConfig | None = None,
        quiz: QuizConfig = WAITING,
        *,
        host_key: str | None,
        store: Store | None = None,
    ) -> tuple[QuizServer, Metrics]:
        """A server that hosts may use and that counts what it does."""
        self._settings, metrics = (server or ServerConfig(), quiz), Metrics()
        return await self._start(store or SqlStore(MEMORY), host_key, metrics), metrics

    async def restart(self) -> QuizServer:
        """Another server, with the settings and on the database of the last one, which has ended."""
        self._servers.clear()
        return await self._start(self.store)

    async def _start(self, store: Store, host_key: str | None = None, metrics: Metrics | None = None) -> QuizServer:
        config, quiz = self._settings
        self.store = store
        log = tee(log_to(self.log, Lane.VIRTUAL, Role.SERVER, "server"), self._forward_record)
        self.server = QuizServer(
            [EventSpec("quiz", quiz.plan(1), str(next(self._runs)), 1)],
            config,
            store,
            clock=self.clock,
            log=tee(metrics.record, log) if metrics else log,
            new_id=self._new_id,
            new_token=self._new_token,
            wall_clock=self.wall_clock,
            runs=lambda: f"run{next(self._runs)}",
            host_key=host_key,
            metrics=metrics,
        )
        with self.loop.instant_executor():
            await self.server.start(HOST, PORT)
        self._servers.append(self.server)
        return self.server

    def crash(self) -> None:
        """Kill the server: what it has not committed by now never will be."""
        self.server.simulate_kill()
        self.network.crash(PORT)
        self._servers.clear()

    def _forward_record(self, record: Record) -> None:
        self.also_log(record)

    def wall_clock(self) -> float:
        """Seconds since 1970, as the server's machine sees it."""
        return self.wall_ahead + self.loop.time()

    @property
    def room(self) -> Room:
        """The room of the event."""
        return self.server.hubs["quiz"].room

    def session(self, participant: str = "p1") -> ServerSession:
        """The server's side of one participant."""
        return self.room.sessions[participant]

    # the clients ------------------------------------------------------------------------------------------------------

    def client(self, name: str = "ada", config: ClientConfig | None = None, url: str = LINKED) -> ReconnectingClient:
        """A client that has not dialled yet; what it receives is in ``heard[name]`` and in ``delivered``."""
        machine = ParticipantClient(Identity("quiz", name, name), (config or ClientConfig()).rules, random_for(1, name))
        log = log_to(self.log, Lane.VIRTUAL, Role.CLIENT, name)
        heard = self.heard.setdefault(name, [])

        def deliver(message: Message) -> None:
            heard.append(message)
            self.delivered.append(message)

        client = ReconnectingClient(machine, url, clock=self.clock, log=log, deliver=deliver)
        self._clients.append(client)
        return client

    def crowd(self, size: int, config: ClientConfig | None = None, url: str = LINKED) -> list[ReconnectingClient]:
        """So many clients, not yet dialling."""
        return [self.client(f"c{i:04d}", config, url) for i in range(size)]

    def tab(self, name: str, other: ReconnectingClient, url: str = LINKED) -> ReconnectingClient:
        """A second client of the same person: what the first one stored, an instance of its own."""
        client = self.client(name, url=url)
        client.machine.credentials = other.machine.credentials
        client.machine.epoch, client.machine.seq = other.machine.epoch, other.machine.seq
        return client

    def another_link(self, name: str) -> VirtualLink:
        """One more link to the server."""
        return self.network.link(name, port=next(self._ports), upstream=(HOST, PORT))

    async def until(self, condition: Callable[[], bool], within: Seconds = 60.0, step: Seconds = 0.005) -> Seconds:
        """Wait for a condition, checked every ``step`` seconds; returns how long that took, in virtual time."""
        began = self.clock.now()
        while not condition():
            assert self.clock.now() - began < within, f"not within {within} s"
            await asyncio.sleep(step)
        return self.clock.now() - began

    async def opened(self, *clients: ReconnectingClient, within: Seconds = 60.0) -> Seconds:
        """Start these clients if need be and wait until each has an open session."""
        for client in clients:
            if client.state is ClientState.IDLE:
                client.start()
        return await self.until(lambda: all(client.state is ClientState.OPEN for client in clients), within)

    # the history ------------------------------------------------------------------------------------------------------

    def kinds(self, actor: str) -> list[LogEventKind]:
        """What this actor logged, but for stream and heartbeats."""
        dull = ("stream.", "heartbeat.")
        return [event.kind for event in self.log if event.actor == actor and not event.kind.startswith(dull)]

    def events(self, kind: LogEventKind) -> Sequence[LogEvent]:
        """Everything of this kind."""
        return [event for event in self.log if event.kind is kind]

    def of(self, kind: LogEventKind, actor: str | None = None, since: Seconds = 0.0) -> list[LogEvent]:
        """Everything of this kind that this actor logged from some time on."""
        return [event for event in self.events(kind) if actor in (None, event.actor) and event.t >= since]

    def told(self, name: str, kind: type[M]) -> list[M]:
        """What a client received of this kind."""
        return [message for message in self.heard[name] if isinstance(message, kind)]

    async def close(self) -> None:
        """End all clients, then all servers. What that logs is not of interest."""
        self.log = EventList(self.log)
        for client in self._clients:
            await client.stop()
        for server in self._servers:
            await server.stop()


Script = Callable[[VirtualServerHarness], Awaitable[None]]


def play(script: Script) -> VirtualServerHarness:
    """Run a script in virtual time; returns its harness for assertions."""
    network = VirtualNetwork(1)

    async def main(loop: VirtualLoop) -> VirtualServerHarness:
        harness = VirtualServerHarness(loop, network)
        await script(harness)
        await harness.close()
        return harness

    return run_virtual(main, network)


def act(
    script: Script, *, latency: Seconds = LATENCY, commit: Seconds = COMMIT, without: Collection[str] = ()
) -> VirtualServerHarness:
    """Run a script and check its history against every invariant but those called ``without``."""
    network = VirtualNetwork(1, latency_s=latency)

    async def main(loop: VirtualLoop) -> VirtualServerHarness:
        harness = VirtualServerHarness(loop, network, empty_store())
        harness.wall_ahead = SPRING
        await script(harness)
        for link in network.links.values():
            link.heal()
        await harness.close()
        await asyncio.sleep(10)
        left = [task for task in loop.pending_tasks() if task is not asyncio.current_task()]
        assert not left, left
        assert not network.connections
        return harness

    harness = run_virtual(main, network, executor_latency=commit)
    broken = violations(harness.log, without=without)
    assert not broken, broken
    return harness


@functools.cache
def _database() -> SqlStore:
    return SqlStore(MEMORY)


def empty_store() -> SqlStore:
    """The one database in memory, emptied: its migrations take longer than most scripts."""
    store = _database()
    store.clear()
    return store


def url_of(link: VirtualLink) -> str:
    """The server through this link."""
    return f"ws://{HOST}:{link.port}/ws"
