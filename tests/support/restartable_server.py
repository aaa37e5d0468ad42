"""A server, its clients and the ways between them under an owned clock; the history of each scene must be clean.

What every scene has in common is checked here, so that no test of one failure can overlook another: the stream, the
answers, one live connection, what was restored, and that nothing is left running.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.protocol import codec
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.effects import Record
from resilience.protocol.messages import Message
from resilience.protocol.server.room import Room
from resilience.protocol.server.session import ServerSession
from resilience.protocol.states import ClientState
from resilience.random_streams import random_for
from resilience.runtime import RecordSink, ignore_record, log_to, tee
from resilience.server.app import QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.store import MEMORY, SqlStore, Store
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualLink, VirtualNetwork
from tests.resilience.protocol import invariants
from tests.support.counted_names import counted
from tests.support.virtual_server import HOST, LINK_PORT, LINKED, PORT, URL, VirtualServerHarness

M = TypeVar("M", bound=Message)

LATENCY = 0.001
COMMIT = 0.002
SPRING = 1_700_000_000.0
"""What the wall clock shows when the run clock shows 0."""

CALM = QuizConfig(questions=2, lobby=1, question_time=600)
"""One question that is open for as long as most scenes last."""

WAITING = QuizConfig(lobby=3000)
"""A quiz that does nothing."""


class RestartableServerHarness(VirtualServerHarness):
    """A stage whose server can die and come back, with more links, and a wall clock that can be turned."""

    server: QuizServer

    def __init__(self, loop: VirtualLoop, network: VirtualNetwork) -> None:
        super().__init__(loop, network)
        self.store: Store = empty_store()
        self.heard: dict[str, list[Message]] = {}
        self.wall_ahead = SPRING
        self.also_log: RecordSink = ignore_record
        self._settings = (ServerConfig(), QuizConfig())
        self._new_id, self._new_token = counted(), counted("token-", 0, 32)
        self._runs = itertools.count(1)
        self._ports = itertools.count(LINK_PORT + 1)

    # the server -------------------------------------------------------------------------------------------------------

    async def serve(
        self, server: ServerConfig | None = None, quiz: QuizConfig | None = None, store: Store | None = None
    ) -> QuizServer:
        """A server of the event ``quiz``, listening."""
        self._settings = (server or ServerConfig(), quiz or QuizConfig())
        self.store = store or self.store
        return await self.restart()

    async def restart(self) -> QuizServer:
        """Another server, with the settings of the last one, on the same database."""
        config, quiz = self._settings
        self.server = QuizServer(
            [EventSpec("quiz", quiz.plan(1), str(next(self._runs)), 1)],
            config,
            self.store,
            clock=self.clock,
            log=tee(log_to(self.log, Lane.VIRTUAL, Role.SERVER, "server"), self._tell),
            new_id=self._new_id,
            new_token=self._new_token,
            wall_clock=self.wall_clock,
        )
        with self.loop.instant_executor():
            await self.server.start(HOST, PORT)
        self._servers[:] = [self.server]
        return self.server

    def crash(self) -> None:
        """Kill the server: what it has not committed by now never will be."""
        self.server.simulate_kill()
        self.network.crash(PORT)
        self._servers.clear()

    def _tell(self, record: Record) -> None:
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
        """A client that has not dialled yet; what it is told is in ``heard[name]``."""
        machine = ParticipantClient(Identity("quiz", name, name), (config or ClientConfig()).rules, random_for(1, name))
        log = log_to(self.log, Lane.VIRTUAL, Role.CLIENT, name)
        told = self.heard.setdefault(name, [])
        client = ReconnectingClient(machine, url, clock=self.clock, log=log, deliver=told.append)
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

    def another_way(self, name: str) -> VirtualLink:
        """One more link to the server."""
        return self.network.link(name, port=next(self._ports), upstream=(HOST, PORT))

    async def until(self, condition: Callable[[], bool], within: float = 60.0, step: float = 0.005) -> float:
        """Wait for a condition, looking every ``step`` seconds; returns how long that took."""
        began = self.clock.now()
        while not condition():
            assert self.clock.now() - began < within, f"not within {within} s"
            await asyncio.sleep(step)
        return self.clock.now() - began

    async def opened(self, *clients: ReconnectingClient, within: float = 60.0) -> float:
        """Start these clients if need be and wait until each has an open session."""
        for client in clients:
            if client.state is ClientState.IDLE:
                client.start()
        return await self.until(lambda: all(client.state is ClientState.OPEN for client in clients), within)

    # the history ------------------------------------------------------------------------------------------------------

    def of(self, kind: LogEventKind, actor: str | None = None, since: float = 0.0) -> list[LogEvent]:
        """Everything of this kind that this actor logged from some time on."""
        return [event for event in self.events(kind) if actor in (None, event.actor) and event.t >= since]

    def told(self, name: str, kind: type[M]) -> list[M]:
        """What a client was told of this kind."""
        return [message for message in self.heard[name] if isinstance(message, kind)]


@functools.cache
def _database() -> SqlStore:
    return SqlStore(MEMORY)


def empty_store() -> SqlStore:
    """A database in memory that holds nothing. There is one, made once: its migrations take longer than most scenes."""
    store = _database()
    store.clear()
    return store


def act(
    script: Callable[[RestartableServerHarness], Awaitable[None]],
    *,
    latency: float = LATENCY,
    commit: float = COMMIT,
    alone: bool = True,
) -> RestartableServerHarness:
    """Play a scene and hold its history against the invariants; ``alone``: nobody loses, or takes over, an identity."""
    network = VirtualNetwork(1, latency_s=latency)

    async def main(loop: VirtualLoop) -> RestartableServerHarness:
        harness = RestartableServerHarness(loop, network)
        await script(harness)
        harness.log = EventList(harness.log)  # what the end of the test itself causes is not of interest
        for link in network.links.values():
            link.heal()
        await harness.close()
        await asyncio.sleep(10)
        left = [task for task in loop.pending_tasks() if task is not asyncio.current_task()]
        assert not left, left
        assert not network.connections
        return harness

    harness = run_virtual(main, network, executor_latency=commit)
    assert clean(harness.log, alone=alone) == []
    return harness


def clean(log: Sequence[LogEvent], *, alone: bool = True) -> list[str]:
    """Every violation in a history. What a killed server stored without a word is told of by its successor."""
    told = {event.ref for event in log if event.kind is LogEventKind.ANSWER_COMMITTED}
    log = [
        msgspec.structs.replace(event, kind=LogEventKind.ANSWER_COMMITTED)
        if event.kind is LogEventKind.ANSWER_RECOVERED and event.ref not in told
        else event
        for event in log
    ]
    checks: list[Callable[[Any], Any]] = [
        invariants.stream_gaps,
        invariants.lost_acks,
        invariants.double_verdicts,
        invariants.double_commits,
        invariants.two_live,
        invariants.wrong_restores,
    ]
    if alone:
        checks.append(invariants.lost_identities)
    return [line for check in checks for line in check(log)]


# bare connections, to say what no client of ours would ----------------------------------------------------------------


async def dial(url: str = URL) -> ClientConnection:
    """A WebSocket that has said nothing yet."""
    return await connect(url, compression=None, proxy=None, ping_interval=None, close_timeout=1)


async def say(socket: ClientConnection, *messages: Message) -> None:
    """Send messages."""
    for message in messages:
        await socket.send(codec.encode(message), text=True)


async def hear(socket: ClientConnection, kind: type[M], within: float = 60.0) -> M:
    """The next message of this kind."""
    async with asyncio.timeout(within):
        while True:
            message = codec.decode_server(await socket.recv())
            if isinstance(message, kind):
                return message


async def close_code(socket: ClientConnection, within: float = 60.0) -> int:
    """How the server ends it."""
    async with asyncio.timeout(within):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


def url_of(link: VirtualLink) -> str:
    """The server through this link."""
    return f"ws://{HOST}:{link.port}/ws"
