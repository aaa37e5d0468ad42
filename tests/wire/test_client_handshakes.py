"""Responses that complete no handshake (RFC 6455 section 4.1): the client fails the dial, and dials again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.states import ClientState
from tests.hostile.wire import frame
from tests.support.virtual_server import HOST, PORT, URL, VirtualServerHarness, play

from .raw_server import accepted, admit

ACCEPT = b"Sec-WebSocket-Accept: "
RESPONSES: dict[str, Callable[[bytes], bytes]] = {
    "an extension that was not offered": lambda request: accepted(
        request, b"Sec-WebSocket-Extensions: permessage-deflate"
    ),
    "a subprotocol that was not offered": lambda request: accepted(request, b"Sec-WebSocket-Protocol: chat"),
    "another key's accept": lambda request: accepted(request).replace(ACCEPT, ACCEPT + b"A"),
    "no accept": lambda request: accepted(request).replace(ACCEPT, b"X-Accept: "),
    "no upgrade": lambda request: accepted(request).replace(b"Upgrade: websocket\r\n", b""),
    "another status": lambda request: accepted(request).replace(b"101 Switching Protocols", b"200 OK"),
    "no HTTP": lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "nothing": lambda _: b"",
    "half a head": lambda request: accepted(request)[:40],
    "a head without end": lambda request: accepted(request)[:-2] + b"X-Filler: x\r\n" * 10_000,
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
def test_a_dial_fails_and_the_next_one_succeeds(response: Callable[[bytes], bytes]) -> None:
    """What follows the bad head, here a message, is not read."""
    dials = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dials
        dials += 1
        try:
            if dials == 1:
                writer.write(response(await reader.readuntil(b"\r\n\r\n")))
                writer.write(frame(b'{"type":"quiz_finished","seq":1,"leaders":[]}', masked=False))
                await writer.drain()
            else:
                await admit(reader, writer)
                await reader.read()
        except ConnectionError:
            assert dials == 1
        finally:
            writer.transport.abort()

    async def script(harness: VirtualServerHarness) -> None:
        listening = await asyncio.start_server(accept, HOST, PORT)
        client = harness.client(url=URL)
        await harness.opened(client)
        assert dials == 2
        assert client.state is ClientState.OPEN
        await client.stop()
        await asyncio.sleep(1)
        listening.close()

    harness = play(script)
    assert len(harness.events(LogEventKind.TRANSPORT_FAILED)) == 1
    assert [message.__class__.__name__ for message in harness.delivered] == ["Joined"]
