"""A real server and real clients under a virtual clock, for tests of the code that holds sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.messages import Message
from resilience.random_streams import random_for
from resilience.runtime import RunClock, log_to
from resilience.server.app import QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.store import MEMORY, SqlStore, Store
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork
from tests.support.counted_names import counted

HOST, PORT, LINK_PORT = "server.test", 80, 8001
URL = f"ws://{HOST}:{PORT}/ws"
LINKED = f"ws://{HOST}:{LINK_PORT}/ws"


class VirtualServerHarness:
    """What a test acts on: a clock, a network with one link to the server, a log, a server, clients."""

    def __init__(self, loop: VirtualLoop, network: VirtualNetwork) -> None:
        self.loop, self.network = loop, network
        self.clock, self.log = RunClock(0.0, loop.time), EventList()
        self.link = network.link("link", port=LINK_PORT, upstream=(HOST, PORT))
        self.delivered: list[Message] = []
        self._clients: list[ReconnectingClient] = []
        self._servers: list[QuizServer] = []

    async def serve(
        self, server: ServerConfig | None = None, quiz: QuizConfig | None = None, store: Store | None = None
    ) -> QuizServer:
        """A server of the event ``quiz``, listening."""
        app = QuizServer(
            [EventSpec("quiz", (quiz or QuizConfig()).plan(1), "1", 1)],
            server or ServerConfig(),
            store or SqlStore(MEMORY),
            clock=self.clock,
            log=log_to(self.log, Lane.VIRTUAL, Role.SERVER, "server"),
            new_id=counted(),
            new_token=counted("token-", 0, 32),
            wall_clock=self.clock.now,
        )
        with self.loop.instant_executor():
            await app.start(HOST, PORT)
        self._servers.append(app)
        return app

    def client(self, name: str = "ada", config: ClientConfig | None = None, url: str = LINKED) -> ReconnectingClient:
        """A client that has not dialled yet."""
        machine = ParticipantClient(Identity("quiz", name, name), (config or ClientConfig()).rules, random_for(1, name))
        log = log_to(self.log, Lane.VIRTUAL, Role.CLIENT, name)
        client = ReconnectingClient(machine, url, clock=self.clock, log=log, deliver=self.delivered.append)
        self._clients.append(client)
        return client

    def kinds(self, actor: str) -> list[LogEventKind]:
        """What this actor logged, but for stream and heartbeats."""
        dull = ("stream.", "heartbeat.")
        return [event.kind for event in self.log if event.actor == actor and not event.kind.startswith(dull)]

    def events(self, kind: LogEventKind) -> Sequence[LogEvent]:
        """Everything of this kind."""
        return [event for event in self.log if event.kind is kind]

    async def close(self) -> None:
        """End all clients, then all servers."""
        for client in self._clients:
            await client.stop()
        for server in self._servers:
            await server.stop()


def play(script: Callable[[VirtualServerHarness], Awaitable[None]]) -> VirtualServerHarness:
    """Run a script in virtual time; returns its stage for assertions."""
    network = VirtualNetwork(1)

    async def main(loop: VirtualLoop) -> VirtualServerHarness:
        harness = VirtualServerHarness(loop, network)
        await script(harness)
        harness.log = EventList(harness.log)  # what the end of the test itself causes is not of interest
        await harness.close()
        return harness

    return run_virtual(main, network)
