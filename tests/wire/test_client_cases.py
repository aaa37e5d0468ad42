"""Autobahn's cases against the client, in virtual time: a raw server plays the part of the fuzzing server."""

from __future__ import annotations

import asyncio

import pytest

from resilience.policy.close_codes import RetryClass, retry_class
from resilience.protocol.states import ClientState
from tests.support.virtual_server import HOST, PORT, URL, VirtualServerHarness, play

from .cases import CASES, FRAMES, Case
from .ends import ClientEnd
from .exchange import Outcome, check, play_case
from .raw_server import RawServer

CLIENT = ClientEnd()
MOST_PIECES = 1100
"""Cases of more pieces take seconds. They differ from others only in that number."""


def piece_count(case: Case) -> int:
    """How often a case writes to the socket, if it is cut at all."""
    frames = list(case.frames(CLIENT))
    return len(frames) if case.cut <= FRAMES else sum(len(each.payload) // case.cut for each in frames)


def run_case(case: Case) -> None:
    """Check what the client sends, and the outcome of the connection."""
    found: list[Outcome] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.append(await play_case(case, CLIENT, reader, writer, pause=0.001))
        if found[0].is_open:
            await reader.read()

    async def script(harness: VirtualServerHarness) -> None:
        server = RawServer(handler)
        listening = await server.listen(HOST, PORT)
        client = harness.client(url=URL)
        client.start()
        await harness.until(lambda: bool(found or server.error))
        assert server.error is None, f"case {case.number}: {server.error!r}"
        check(case, CLIENT, found[0])
        if found[0].is_open:
            assert client.state is ClientState.OPEN
        elif case.is_closing and retry_class(found[0].closes or 1005) is RetryClass.NEVER:
            await harness.until(lambda: client.state is ClientState.CLOSED)
        else:
            await harness.until(lambda: server.dials == 2)
        await client.stop()
        await asyncio.sleep(1)
        listening.close()

    play(script)


@pytest.mark.parametrize("group", CASES)
def test_cases(group: str) -> None:
    """The client answers as RFC 6455 asks, and dials again unless the server dismissed it with a close code."""
    for case in CASES[group]:
        if piece_count(case) <= MOST_PIECES:
            run_case(case.at(CLIENT))
