"""What a dial and its join cost in the virtual lane, both ends together, compared with a bare handshake and echo."""

from __future__ import annotations

import asyncio
import time

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork
from tests.support.virtual_server import HOST, PORT, URL, WAITING, VirtualServerHarness, empty_store, play

from .conftest import RecordRows
from .lab.results import Row, middle, spread

WARM = 20


def join_cost(count: int) -> float:
    """Microseconds of CPU for each of ``count`` clients that dial and join at once."""
    seconds: list[float] = []

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING, store=empty_store())
        clients = harness.crowd(WARM + count, url=URL)
        await harness.opened(*clients[:WARM])
        began = time.process_time()
        await harness.opened(*clients[WARM:])
        seconds.append(time.process_time() - began)

    play(script)
    return seconds[0] / count * 1e6


def echo_cost(count: int) -> float:
    """The same for handshake and one echo, server and clients both of ``websockets``."""
    seconds: list[float] = []

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def dial(held: list[object]) -> None:
        connection = await connect(URL, compression=None, proxy=None, ping_interval=None)
        held.append(connection)
        await connection.send("a text as long as a join is, with a name and an instance in it")
        await connection.recv()

    async def main(loop: VirtualLoop) -> None:
        held: list[object] = []
        async with serve(echo, HOST, PORT, compression=None, ping_interval=None):
            await asyncio.gather(*(dial(held) for _ in range(WARM)))
            began = time.process_time()
            await asyncio.gather(*(dial(held) for _ in range(count)))
            seconds.append(time.process_time() - began)

    run_virtual(main, VirtualNetwork(1))
    return seconds[0] / count * 1e6


def rows(count: int, rounds: int) -> list[Row]:
    """The cost of a dial and join, and of the bare one, in turn."""
    pairs = [(join_cost(count), echo_cost(count)) for _ in range(rounds)]
    ratios = [ours / bare for ours, bare in pairs]
    return [
        Row(
            f"CPU of a dial and join in the virtual lane, both ends, {count:,} at once",
            f"{middle([pair[0] for pair in pairs]):.0f} µs",
            f"bare handshake + echo {middle([pair[1] for pair in pairs]):.0f} µs",
            middle(ratios),
            spread(ratios),
            "reported",
            True,
        )
    ]


def test_a_few_dials_are_measured() -> None:
    (row,) = rows(10, 1)
    assert row.ratio is not None
    assert row.ratio > 0


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_cpu_per_dial_and_join(record_rows: RecordRows) -> None:
    record_rows(rows(1000, 5))
