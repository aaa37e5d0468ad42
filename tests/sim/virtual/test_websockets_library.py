"""The real websockets library over the virtual network: it sees every fault, in virtual seconds, always alike."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from .worlds import HOST, LATENCY, LINK, PORT, RTT, VirtualScenario, play


def over_websockets(
    scenario: Callable[[VirtualScenario], Awaitable[None]], handler: Callable[[ServerConnection], Awaitable[None]]
) -> None:
    """Run a scenario with a websockets server where the recorder's would be."""

    async def main(world: VirtualScenario) -> None:
        async with serve(handler, HOST, PORT, compression=None, ping_interval=None):
            await scenario(world)

    play(main, listen=False)


async def echo(ws: ServerConnection) -> None:
    """Give back what comes."""
    async for message in ws:
        await ws.send(message)


def dial_websocket() -> connect:
    """The client's side."""
    return connect(f"ws://{HOST}:{LINK}/", proxy=None, compression=None, ping_interval=None)


def test_websockets_echo_and_close() -> None:
    """Handshake two round trips, an echo one, a close handshake one and a bit; both ends end in order."""

    async def scenario(world: VirtualScenario) -> None:
        async with dial_websocket() as ws:
            assert world.loop.time() == 2 * RTT
            await ws.send("hello")
            assert await ws.recv() == "hello"
            assert world.loop.time() == 3 * RTT
        assert ws.close_code == 1000
        await asyncio.sleep(1.0)
        assert world.link.connections == []

    over_websockets(scenario, echo)


def test_websockets_sees_cuts_and_resets() -> None:
    """A cut is 1006 without a close frame; the client knows one latency later."""

    async def scenario(world: VirtualScenario) -> None:
        for fault in (world.link.cut, world.link.reset):
            ws: ClientConnection = await dial_websocket()
            before = world.loop.time()
            fault()
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
            assert world.loop.time() == before + LATENCY

    over_websockets(scenario, echo)


def test_websockets_server_closes_with_its_clients() -> None:
    """server.close() sends 1001 to all clients and returns when all connections are gone."""

    async def scenario(world: VirtualScenario) -> None:
        server = await serve(echo, HOST, 81, compression=None, ping_interval=None)
        clients = [
            await connect(f"ws://{HOST}:81/", proxy=None, compression=None, ping_interval=None) for _ in range(20)
        ]
        server.close()
        await server.wait_closed()
        for ws in clients:
            with pytest.raises(ConnectionClosedOK):
                await ws.recv()
            assert ws.close_code == 1001

    over_websockets(scenario, echo)


def test_a_websockets_client_that_stops_reading_pauses_its_server() -> None:
    """The server's send waits once the receive queue, the window and the write buffer are full, then resumes."""
    sent: list[int] = []

    async def flood(ws: ServerConnection) -> None:
        for k in range(200):
            await ws.send(b"x" * 4096)
            sent.append(k)

    async def scenario(world: VirtualScenario) -> None:
        ws = await dial_websocket()
        await asyncio.sleep(60.0)
        stuck = len(sent)
        (connection,) = world.link.connections
        assert stuck < 100
        assert connection.server.get_write_buffer_size() > 32768
        for _ in range(200):
            assert len(await ws.recv()) == 4096
        assert len(sent) == 200

    over_websockets(scenario, flood)


def test_two_processes_write_the_same_history() -> None:
    """Fifty websockets clients under every fault: byte-identical whatever Python's hash seed."""
    script = Path(__file__).with_name("history.py")
    root = Path(__file__).resolve().parents[3]

    def run(hash_seed: str, seed: str) -> bytes:
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        return subprocess.run([sys.executable, script, seed], env=env, check=True, capture_output=True).stdout

    first = run("0", "5")
    assert first.count(b"\n") > 3000
    assert first == run("4242", "5")
    assert first != run("0", "6")
