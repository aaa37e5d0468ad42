"""What the clients rely on in ``websockets`` beyond its documentation; each test names what breaks without it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import pytest
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage, InvalidStatus, InvalidURI, SecurityError
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import Protocol, Side, State

from resilience.client.dial_failures import failure_of
from resilience.client.dialled_connection import DialledConnection
from resilience.client.dialling import open_transport, redirect_of, uri_of
from resilience.protocol import codec
from sim.virtual.loop import run_virtual
from sim.virtual.network import VirtualNetwork
from tests.support.machines import joined

HOST, PORT = "server.test", 80
URL = f"ws://{HOST}:{PORT}/ws"


def redirect(place: str, status: int = 307) -> InvalidStatus:
    """What a handshake that was answered so ends with."""
    return InvalidStatus(Response(status, "Away", Headers([("Location", place)])))


def test_a_text_is_sent_at_once_and_rejected_once_the_connection_is_closing() -> None:
    """``Endpoint.send_text``: effects are carried out in one turn, and ``is_open`` must say when that is possible."""
    protocol = ClientProtocol(uri_of(URL), state=State.OPEN)
    protocol.send_text(codec.encode(joined()))
    (sent,) = protocol.data_to_send()
    assert sent[:1] == b"\x81"
    assert sent[1] & 0x80, "a client's frames are masked"
    protocol.send_close(1000)
    assert protocol.state is State.CLOSING
    assert protocol.close_expected()


@pytest.mark.parametrize("side", list(Side))
def test_a_protocol_can_start_without_a_handshake(side: Side) -> None:
    """``Endpoint.release_handshake``: the state is an argument, and the handshake's protocol is not needed."""
    protocol = Protocol(side, state=State.OPEN, max_size=(10, None))
    protocol.receive_data(Frame(Opcode.TEXT, b"x").serialize(mask=side is Side.SERVER))
    (event,) = protocol.events_received()
    assert isinstance(event, Frame)
    assert event.data == b"x"
    assert protocol.handshake_exc is None


def test_the_end_of_the_stream_ends_a_handshake_with_an_error_and_an_open_connection_without_one() -> None:
    """``DialledConnection.ended``: tells a failed dial from a lost connection."""
    shaking = ClientProtocol(uri_of(URL))
    shaking.receive_eof()
    assert isinstance(shaking.handshake_exc, InvalidMessage)
    opened = ClientProtocol(uri_of(URL), state=State.OPEN)
    opened.receive_eof()
    assert (opened.handshake_exc, opened.close_rcvd, opened.state) == (None, None, State.CLOSED)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_found_by_the_library(status: int) -> None:
    """``redirect_of``: ``process_redirect`` has no documentation of its own."""
    assert redirect_of(URL, redirect("/other", status)) == f"ws://{HOST}:{PORT}/other"
    assert redirect_of(URL, redirect("wss://elsewhere.test/x", status)) == "wss://elsewhere.test/x"


def test_what_is_no_redirect_that_may_be_followed_is_an_error() -> None:
    for unchanged in (OSError("no"), redirect("/", 404), InvalidStatus(Response(302, "Found", Headers()))):
        assert redirect_of(URL, unchanged) is unchanged
    assert isinstance(redirect_of(URL, redirect("https://elsewhere.test/")), InvalidURI)
    assert isinstance(redirect_of("wss://a.test/", redirect("ws://a.test/")), SecurityError)
    assert isinstance(redirect_of(URL, redirect("ws://a.test:99999/")), ValueError)


def test_a_redirect_needs_no_loop() -> None:
    """``redirect_of`` makes a ``connect`` that never connects."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert connect(URL, compression=None, proxy=None).process_redirect(redirect("/x")) == f"ws://{HOST}:{PORT}/x"


def test_a_dial_that_is_cancelled_leaves_no_connection_behind() -> None:
    """``ClientDriver._abandon``: a dial beyond its timeout is abandoned, and the next one must be the only one."""
    opened: list[asyncio.StreamWriter] = []
    ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        with suppress(ConnectionResetError):
            assert not await reader.read()
        ended.set()
        writer.close()

    async def main(_: object) -> None:
        async with await asyncio.start_server(accept, HOST, PORT):
            uri = uri_of(URL)
            dialling = asyncio.create_task(open_transport(uri, partial(DialledConnection, uri)))
            await asyncio.sleep(0.0015)
            assert len(opened) == 1
            assert not dialling.done()
            dialling.cancel()
            await asyncio.wait([dialling])
            assert dialling.cancelled()
            async with asyncio.timeout(5):
                await ended.wait()

    run_virtual(main, VirtualNetwork(1))


@pytest.mark.parametrize("answer", [b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_broken_handshake_is_an_error_with_a_cause(answer: bytes) -> None:
    """``DialledConnection``: whatever a server sends, the parser raises nothing and says why in ``handshake_exc``."""
    protocol = ClientProtocol(uri_of(URL))
    if answer:
        protocol.receive_data(answer)
    protocol.receive_eof()
    assert protocol.handshake_exc is not None
    assert failure_of(protocol.handshake_exc).cause == ("status_200" if b"200" in answer else "closed")
