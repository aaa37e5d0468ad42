"""A busy hour of unmodified websockets with drops, faults and a shutdown, printed line by line.

Run as a script, so that two processes can be compared: ``history.py SEED``.
"""

from __future__ import annotations

import asyncio
import random
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from sim.virtual.link import VirtualLink
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork

HOST, PORT, LINK = "server.test", 80, 8001
CLIENTS = 50
URL = f"ws://{HOST}:{LINK}/"


class OneHourRun:
    """The scenario and what happened in it."""

    def __init__(self, loop: VirtualLoop, network: VirtualNetwork, seed: int) -> None:
        self.loop, self.network, self.seed = loop, network, seed
        self.lines: list[str] = []
        self.link: VirtualLink = network.link(
            "all", port=LINK, upstream=(HOST, PORT), latency_s=lambda u: 0.005 + 0.02 * u
        )

    def note(self, *words: object) -> None:
        """One line of history."""
        self.lines.append(" ".join([f"{self.loop.time():.9f}", *map(str, words)]))

    async def run(self) -> list[str]:
        """Serve, disturb, close the server under its clients."""
        async with serve(self.handle, HOST, PORT, compression=None, ping_interval=None) as server:
            clients = [self.loop.create_task(self.client(k)) for k in range(CLIENTS)]
            for minute in range(10):
                await asyncio.sleep(60.0)
                self.disturb(minute)
                broadcast(server.connections, f"minute {minute}")
            # The library closes its connections in the order of a set. Where each answers, the network puts that in
            # order; timeouts of a frozen link would not, so a server that closes under a fault must close in order.
            self.link.heal()
            await asyncio.sleep(10.0)
        self.note("server closed")
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await asyncio.sleep(5.0)
        self.note("over", len(self.network.connections), "left")
        return self.lines

    def disturb(self, minute: int) -> None:
        """A different fault each minute; the one of the minute before ends."""
        self.link.heal()
        faults = (
            self.link.cut,
            lambda: self.link.blackhole(up=True, down=True),
            lambda: self.link.stall(up=False, down=True),
            lambda: self.link.freeze(True),
            self.link.reset,
            lambda: self.link.refuse(True),
        )
        faults[minute % len(faults)]()
        self.note("minute", minute)

    async def handle(self, ws: ServerConnection) -> None:
        """Echo, with a stroke of work in the executor."""
        try:
            async for message in ws:
                await self.loop.run_in_executor(None, int, 1)
                await ws.send(message)
        except ConnectionClosed as error:
            self.note("server saw", ws.remote_address, error)

    async def client(self, number: int) -> None:
        """Echo at odd moments, reconnect without a limit."""
        rng = random.Random(f"{self.seed}/{number}")
        while True:
            await asyncio.sleep(rng.uniform(0.0, 5.0))
            try:
                async with connect(URL, proxy=None, compression=None, ping_interval=None, close_timeout=1.0) as ws:
                    self.note(number, "up")
                    await self.talk(ws.send, ws.recv, rng, number)
            except (OSError, WebSocketException, TimeoutError) as error:
                self.note(number, "down", type(error).__name__)

    async def talk(self, send: object, recv: object, rng: random.Random, number: int) -> None:
        """Some questions and their echoes."""
        for k in range(rng.randrange(20)):
            await asyncio.sleep(rng.uniform(0.0, 10.0))
            await send(f"{number}.{k}")  # type: ignore[operator]
            async with asyncio.timeout(15.0):
                self.note(number, "heard", await recv())  # type: ignore[operator]


def history(seed: int) -> list[str]:
    """The lines of one run."""
    network = VirtualNetwork(seed)
    return run_virtual(lambda loop: OneHourRun(loop, network, seed).run(), network)


if __name__ == "__main__":
    sys.stdout.write("\n".join(history(int(sys.argv[1]))) + "\n")
