"""How often a client dials, and where: at a server that always says "at once", and at a name of two addresses."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.protocol.states import ClientState
from sim.virtual.loop import ProtocolT
from tests.support.virtual_server import HOST, PORT, URL, WAITING, VirtualServerHarness, act

PAST = "Wed, 21 Oct 2015 07:27:00 GMT"
HOLE = "hole.test"
STORM = 200
"""No ladder dials so often."""


def respond(status: int, advice: str) -> Callable[[ServerConnection, Request], Response]:
    """Reject every handshake with this status and this ``Retry-After``."""

    def reject(connection: ServerConnection, request: Request) -> Response:
        del request
        response = connection.respond(status, "no\n")
        response.headers["Retry-After"] = advice
        return response

    return reject


def alternate() -> Callable[[ServerConnection, Request], Response | None]:
    """Reject every other handshake with advice, and accept the rest, which are then closed with advice."""
    reject, turns = respond(503, "0"), itertools.count()

    def process(connection: ServerConnection, request: Request) -> Response | None:
        return reject(connection, request) if next(turns) % 2 else None

    return process


async def close_at_once(connection: ServerConnection) -> None:
    """Advice in a close frame."""
    await connection.close(1013, "retry_after=0")


@pytest.mark.parametrize("preset", list(Preset))
@pytest.mark.parametrize(
    "process",
    [respond(503, "0"), respond(503, "0.01"), respond(503, PAST), respond(429, "0"), None, alternate()],
    ids=["zero", "tiny", "past", "429", "close", "alternating"],
)
def test_f48_advice_storm(preset: Preset, process: Callable[..., Any] | None) -> None:
    """Every answer says "come back at once": in the handshake, in a close frame, by turns.

    The client dials once more than by its ladder alone, climbs it, and gives up in the end.
    """

    async def script(harness: VirtualServerHarness) -> None:
        ada = harness.client(config=ClientConfig(preset=preset), url=URL)
        async with serve(close_at_once, HOST, PORT, process_request=process, ping_interval=None):
            ada.start()
            await harness.until(
                lambda: ada.state is ClientState.GAVE_UP or ada.machine.dial > STORM, within=700, step=1
            )

    harness = act(script)
    assert harness.of(LogEventKind.GAVE_UP)
    dials = [event.t for event in harness.of(LogEventKind.TRANSPORT_OPENING)]
    first_minute = sum(at < 60 for at in dials)
    if preset is Preset.CLASSIC:
        assert (first_minute, len(dials)) == (7, 12)
    else:
        assert 20 < first_minute < 60
        assert len(dials) < STORM / 2


def test_f49_black_holed_first_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address of the server's name swallows every request to connect; the second is the server.

    The client is in at its first dial, a quarter of a second later, and so it is after a loss. A dial that ends while
    both addresses are under way leaves nothing behind.
    """

    async def script(harness: VirtualServerHarness) -> None:
        dial = harness.network.dial

        async def swallow(factory: Callable[[], ProtocolT], host: str, port: int) -> tuple[Any, ProtocolT]:
            return await (asyncio.Future[tuple[Any, ProtocolT]]() if host == HOLE else dial(factory, host, port))

        async def look_up(host: str, port: int, **_: object) -> list[Any]:
            return [(socket.AF_INET, 0, 0, "", (address, port)) for address in (HOLE, host)]

        monkeypatch.setattr(harness.network, "dial", swallow)
        monkeypatch.setattr(harness.loop, "getaddrinfo", look_up)
        await harness.serve(quiz=WAITING)
        ada, bob = harness.client("ada"), harness.client("bob")
        assert await harness.opened(ada) < 0.3
        harness.link.cut()
        await asyncio.sleep(0.1)
        assert await harness.opened(ada) < 0.6
        bob.start()
        await asyncio.sleep(0.2)
        await bob.stop()

    harness = act(script)
    assert not harness.of(LogEventKind.TRANSPORT_FAILED)
    assert len(harness.of(LogEventKind.TRANSPORT_OPENING, "ada")) == 2
