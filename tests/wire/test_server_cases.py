"""Autobahn's cases against the server: all in virtual time, and all against one process over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from resilience.config import ServerConfig
from tests.hostile.wire import frame, handshake
from tests.support.processes import eventually
from tests.support.server_process import ADDRESS, target
from tests.support.virtual_server import HOST, PORT, WAITING, VirtualServerHarness, empty_store, play

from .cases import CASES, Case
from .ends import ServerEnd
from .exchange import check, play_case, read_message

SERVER = ServerEnd()
LIMITS = ServerConfig(address_failures=0, address_rate=0, message_rate=0)
AT_ONCE = 16
SETTINGS = """
[server]
address_failures = 0
address_rate = 0
message_rate = 0
heartbeat_interval = 600.0
grace_period = 1200.0
cleanup_interval = 1200.0
[quiz]
lobby = 3000.0
"""


async def joined(host: str, port: int, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A raw connection of a participant that has joined."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(handshake(host))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    writer.write(frame(b'{"type":"join","event":"quiz","name":"%s","instance":"%s"}' % (name.encode(), name.encode())))
    await read_message(reader, b'"joined"', masked=False)
    return reader, writer


async def run_case(case: Case, host: str, port: int, pause: float) -> None:
    """One case over a connection of its own."""
    reader, writer = await joined(host, port, f"case {case.number}")
    try:
        check(case, SERVER, await play_case(case, SERVER, reader, writer, pause=pause))
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("group", CASES)
def test_cases(group: str) -> None:
    async def script(harness: VirtualServerHarness) -> None:
        server = await harness.serve(LIMITS, WAITING, empty_store())
        for case in CASES[group]:
            await run_case(case.at(SERVER), HOST, PORT, pause=0.001)
        await harness.until(lambda: server.connections() == 0)

    play(script)


async def test_all_cases_over_real_sockets(tmp_path: Path) -> None:
    """A process answers them as in virtual time, writes no traceback, and keeps no connection and no file."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def run(case: Case) -> None:
        async with at_once:
            await run_case(case.at(SERVER), ADDRESS, served.port, pause=0)

    async with target(tmp_path, SETTINGS) as served:
        files = served.descriptors()
        cases = [case for group in CASES.values() for case in group]
        failures = await asyncio.gather(*map(run, cases), return_exceptions=True)
        await eventually(lambda: served.descriptors() <= files)
        assert served.noise() == []
    assert [failure for failure in failures if failure is not None] == []
