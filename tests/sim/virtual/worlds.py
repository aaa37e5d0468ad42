"""One server, one link and protocols that write down what they see and when; what the tests of this folder share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sim.virtual.link import VirtualLink
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork
from sim.virtual.pipe import WINDOW_BYTES
from sim.virtual.transport import VirtualTransport

LATENCY = 0.125  # exact in binary, so that instants can be compared for equality
RTT = 2 * LATENCY
HOST, PORT, LINK = "server.test", 80, 8001

Seen = tuple[float, str, object]


class Recorder(asyncio.Protocol):
    """Writes down every callback as (virtual seconds, name, detail)."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.keep_open = keep_open
        self.seen: list[Seen] = []
        self.transport: VirtualTransport

    def note(self, what: str, detail: object = None) -> None:
        self.seen.append((asyncio.get_running_loop().time(), what, detail))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, VirtualTransport)
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.note("data", data)

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost", None if exc is None else type(exc).__name__)

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def after(self, since: float) -> list[Seen]:
        """What was seen from ``since`` on."""
        return [entry for entry in self.seen if entry[0] >= since]

    def received(self) -> bytes:
        """All bytes, in order."""
        return b"".join(detail for _, _, detail in self.seen if isinstance(detail, bytes))


class VirtualScenario:
    """A server on (HOST, PORT), a link to it on LINK; ``accepted`` are the server's ends, oldest first."""

    def __init__(self, loop: VirtualLoop, network: VirtualNetwork, *, resets_cross: bool = False) -> None:
        self.loop, self.network = loop, network
        self.accepted: list[Recorder] = []
        self.keep_open = False
        self.link: VirtualLink = network.link("cohort", port=LINK, upstream=(HOST, PORT), resets_cross=resets_cross)
        self.server: asyncio.AbstractServer

    async def listen(self) -> None:
        """Start the server."""
        self.server = await self.loop.create_server(self._accept, HOST, PORT, backlog=7)

    async def dial(self, port: int = LINK, *, keep_open: bool = False) -> Recorder:
        """A connected client."""
        _, client = await self.loop.create_connection(lambda: Recorder(keep_open=keep_open), HOST, port)
        return client

    async def pair(self, port: int = LINK, *, keep_open: bool = False) -> tuple[Recorder, Recorder]:
        """A connected client and its server's end; leaves one latency for both to be made."""
        self.keep_open = keep_open
        client = await self.dial(port, keep_open=keep_open)
        return client, self.accepted[-1]

    def _accept(self) -> Recorder:
        self.accepted.append(Recorder(keep_open=self.keep_open))
        return self.accepted[-1]


def play(
    scenario: Callable[[VirtualScenario], Awaitable[None]],
    *,
    resets_cross: bool = False,
    listen: bool = True,
    window: int = WINDOW_BYTES,
) -> None:
    """Run a scenario in a fresh world whose packets take LATENCY."""
    network = VirtualNetwork(1, latency_s=LATENCY, window=window)

    async def main(loop: VirtualLoop) -> None:
        world = VirtualScenario(loop, network, resets_cross=resets_cross)
        if listen:
            await world.listen()
        await scenario(world)

    run_virtual(main, network)
