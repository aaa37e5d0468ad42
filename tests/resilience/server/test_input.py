"""Bytes between transport and parser: in order, none lost, none early, and no loop that one peer holds."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import pytest

from resilience.policy.rate_limits import TURN_TOKENS, InputMeter, TokenBucket
from resilience.runtime import RunClock
from resilience.server.input import MeteredInput
from resilience.units import Instant, Seconds
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork
from tests.support.deadlines import HANG_S

PING = 6
"""The size of an empty ping."""


class Reader(asyncio.Transport):
    """As much of a transport as is paused and resumed."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Peer:
    """One metered input whose parser counts empty pings, and what was seen of it: parsed bytes, with their times."""

    def __init__(self, loop: VirtualLoop, rate: float, burst: float) -> None:
        self.transport, self.parsed, self.waits = Reader(), b"", list[Seconds]()
        self.clock = RunClock(0.0, loop.time)
        self.meter = InputMeter(TokenBucket(rate, burst))
        self.input = MeteredInput(self, self.meter, self.clock)

    def feed(self, data: bytes) -> int:
        before = len(self.parsed) // PING
        self.parsed += data
        return len(self.parsed) // PING - before

    def input_wait(self, now: Instant) -> Seconds:
        wait = self.meter.wait(now)
        self.waits.append(wait)
        return wait


def run(script: Callable[[VirtualLoop], object]) -> None:
    """Run a coroutine function in virtual time."""

    async def main(loop: VirtualLoop) -> None:
        await script(loop)  # type: ignore[misc]

    run_virtual(main, VirtualNetwork(1))


def test_a_flood_in_one_read_is_parsed_at_the_rate_and_pauses_its_own_transport() -> None:
    async def script(loop: VirtualLoop) -> None:
        peer, flood = Peer(loop, 50.0, 200.0), bytes(range(250)) * 1024
        peer.input.receive(flood)
        await asyncio.sleep(10)
        assert 700 - 5 <= len(peer.parsed) // PING <= 700 + 5
        assert not peer.transport.reading
        assert flood.startswith(peer.parsed)
        peer.input.stop()

    run(script)


@pytest.mark.parametrize("rate", [0.0, 1e6])
def test_a_turn_is_short_whatever_the_limit(rate: float) -> None:
    """A timer that is due runs after a few dozen frames, not after all that was read."""

    async def script(loop: VirtualLoop) -> None:
        peer, flood = Peer(loop, rate, 1e6), b"p" * PING * 5000
        turns = []
        peer.input.receive(flood)
        while not peer.transport.reading:
            turns.append(len(peer.parsed))
            await asyncio.sleep(0)
        assert peer.parsed == flood
        most = max(after - before for before, after in itertools.pairwise(turns))
        assert most <= (TURN_TOKENS + 1) * PING + 2048
        assert len(turns) >= 5000 // (2 * TURN_TOKENS)

    run(script)


def test_what_is_within_the_limits_does_not_wait() -> None:
    async def script(loop: VirtualLoop) -> None:
        peer = Peer(loop, 50.0, 200.0)
        for number in range(200):
            peer.input.receive(b"p" * 120)
            await asyncio.sleep(1.0)
            assert len(peer.parsed) == 120 * (number + 1)
            assert peer.transport.reading
        assert not any(peer.waits)

    run(script)


def test_nothing_is_parsed_after_the_end() -> None:
    async def script(loop: VirtualLoop) -> None:
        peer = Peer(loop, 1.0, 1.0)
        peer.input.receive(b"p" * 6000)
        before = len(peer.parsed)
        peer.input.stop()
        await asyncio.sleep(60)
        assert len(peer.parsed) == before
        assert not [task for task in loop.pending_tasks() if task is not asyncio.current_task()]

    run(script)


class PausesAtOnce(asyncio.Protocol):
    """Pauses its transport within ``data_received``, every time."""

    def __init__(self) -> None:
        self.reads = 0
        self.read, self.lost = asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        del data
        self.reads += 1
        self.transport.pause_reading()
        self.read.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()


def loops() -> list[str]:
    """The event loops on which the server runs."""
    found = ["asyncio"]
    with suppress(ImportError):
        __import__("uvloop")
        found.append("uvloop")
    return found


@pytest.mark.parametrize("name", loops())
def test_a_pause_within_a_read_is_the_last_read_of_its_turn(name: str) -> None:
    """Some loops read a socket many times in a row; a pause must end that, or one peer's bytes pile up here."""

    async def main() -> None:
        loop, protocol = asyncio.get_running_loop(), PausesAtOnce()
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            peer.setblocking(False)
            for expected in (1, 2, 3):
                with suppress(BlockingIOError):
                    while True:
                        peer.send(b"p" * 65_536)
                await protocol.read.wait()
                protocol.read.clear()
                await asyncio.sleep(0.01)
                assert protocol.reads == expected
                protocol.transport.resume_reading()
            protocol.transport.abort()
        await protocol.lost.wait()
        server.close()
        await server.wait_closed()

    loop = asyncio.new_event_loop() if name == "asyncio" else __import__("uvloop").new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), HANG_S))
    finally:
        loop.close()
