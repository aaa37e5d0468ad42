"""The driver and the connections of its dials, on the virtual network: redirects, ends, and what an idle one holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from resilience.client.client import connect
from resilience.client.dialled_connection import CLOSE_TIMEOUT_S, DialledConnection
from resilience.client.driver import MAX_HOPS, ClientDriver
from resilience.config import ClientConfig, QuizConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.protocol.states import ClientState
from tests.support.machines import joined
from tests.support.virtual_server import HOST, PORT, URL, VirtualServerHarness, act, play

from .scripted import hear, say, scripted

CLASSIC = ClientConfig(preset=Preset.CLASSIC)


async def welcome(connection: ServerConnection) -> None:
    """Let a participant in."""
    await hear(connection)
    await say(connection, joined())
    await connection.wait_closed()


def redirecting(*to: str) -> Callable[[ServerConnection, Request], Response | None]:
    """Redirect the n-th handshake to the n-th place, and accept those after."""
    places = list(to)

    def process(connection: ServerConnection, request: Request) -> Response | None:
        del request
        if not places:
            return None
        response = connection.respond(HTTPStatus.TEMPORARY_REDIRECT, "")
        response.headers["Location"] = places.pop(0)
        return response

    return process


@asynccontextmanager
async def silent_server() -> AsyncIterator[list[asyncio.StreamWriter]]:
    """A server that accepts transports and never says anything, not even that it ends."""
    opened: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        while not reader.at_eof():
            await reader.read(1000)

    async with await asyncio.start_server(accept, HOST, PORT):
        yield opened


@pytest.mark.parametrize("places", [["/other"], [URL, "/ws?again"], [f"ws://{HOST}:81/../ws", URL]])
def test_a_redirect_is_followed_within_the_dial(places: list[str]) -> None:

    async def script(harness: VirtualServerHarness) -> None:
        harness.network.link("another", port=81, upstream=(HOST, PORT))
        server = await scripted(welcome, process_request=redirecting(*places))
        client = harness.client(url=URL)
        client.start()
        await asyncio.sleep(0.5)
        assert client.state is ClientState.OPEN
        assert len(harness.network.connections) == 1
        await client.stop()
        server.close()

    assert len(play(script).events(LogEventKind.TRANSPORT_OPENING)) == 1


@pytest.mark.parametrize(
    "places, cause",
    [
        (["https://elsewhere.test/"], "InvalidURI"),
        (["ws://elsewhere.test:99999/"], "ValueError"),
        (["ws://elsewhere.test/"], "refused"),
        ([URL] * MAX_HOPS, "closed"),
    ],
)
def test_a_redirect_to_no_server_of_ours_is_a_failed_dial(places: list[str], cause: str) -> None:

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(welcome, process_request=redirecting(*places))
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(0.9)
        assert client.state is ClientState.BACKING_OFF
        assert not harness.network.connections
        await harness.opened(client, within=0.5)  # the next dial begins with the URL that was given
        await client.stop()
        server.close()

    (failed,) = play(script).events(LogEventKind.TRANSPORT_FAILED)
    assert failed.cause == cause


def test_a_redirect_without_a_place_is_a_failed_dial() -> None:

    def process(connection: ServerConnection, request: Request) -> Response:
        del request
        return connection.respond(HTTPStatus.FOUND, "")

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(welcome, process_request=process)
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(0.5)
        assert client.state is ClientState.BACKING_OFF
        await client.stop()
        server.close()

    (failed,) = play(script).events(LogEventKind.TRANSPORT_FAILED)
    assert failed.cause == "status_302"


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_a_client_ends_at_once_while_its_handshake_is_not_answered(how: str) -> None:

    async def script(harness: VirtualServerHarness) -> None:
        async with silent_server() as opened:
            client = harness.client(url=URL)
            client.start()
            await asyncio.sleep(0.5)
            assert len(opened) == 1
            before = harness.loop.time()
            await getattr(client, how)()
            assert harness.loop.time() == before
            await asyncio.sleep(0.1)
            assert not harness.network.connections

    play(script)


def test_a_leave_waits_for_a_mute_server_no_longer_than_the_close_may_take() -> None:
    """Two callers wait for the same end."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        client = harness.client()
        await harness.opened(client)
        harness.link.freeze(True)
        before = harness.loop.time()
        await asyncio.gather(client.leave(), client.leave())
        assert harness.loop.time() - before == pytest.approx(CLOSE_TIMEOUT_S)
        harness.link.freeze(False)

    play(script)


def test_a_stop_ends_a_leave_under_way() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        client = harness.client()
        await harness.opened(client)
        harness.link.freeze(True)
        leaving = harness.loop.create_task(client.leave())
        await asyncio.sleep(0.1)
        before = harness.loop.time()
        await client.stop()
        await leaving
        assert harness.loop.time() == before
        harness.link.freeze(False)

    play(script)


def test_a_client_holds_no_task_once_its_transport_is_open() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        clients = harness.crowd(20)
        await harness.opened(*clients)
        running = [getattr(task.get_coro(), "__qualname__", "") for task in harness.loop.pending_tasks()]
        assert not [name for name in running if name.startswith(ClientDriver.__name__)]

    act(script)


def test_a_refused_dial_makes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[DialledConnection] = []
    make = DialledConnection.__init__

    def counted(self: DialledConnection, *arguments: object) -> None:
        made.append(self)
        make(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(DialledConnection, "__init__", counted)

    async def script(harness: VirtualServerHarness) -> None:
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(10)
        assert client.machine.dial > 3
        assert not made

    play(script)


def test_a_server_that_closes_before_the_request_is_a_failed_dial() -> None:
    """As a listener without a server behind it does."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.transport.abort()

    async def script(harness: VirtualServerHarness) -> None:
        async with await asyncio.start_server(accept, HOST, PORT):
            client = connect(URL, name="Ada", config=CLASSIC, log=harness.also_log)
            client.start()
            await asyncio.sleep(0.5)
            assert client.state is ClientState.BACKING_OFF
            await client.stop()

    play(script)
