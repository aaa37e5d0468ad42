"""Handshakes over the wire: how the policy's verdicts reach a program and a browser. The verdicts: policy tests."""

from __future__ import annotations

import asyncio

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.handshake import HandshakeRequest
from resilience.protocol.messages import Joined, Resume, ResumeRejected
from resilience.server.quiz_connection import handshake_request
from tests.support.virtual_server import HOST, VirtualServerHarness, play
from tests.support.websocket import causes, close_code, dial, hear, http, join, rejection, say, serve, upgrade

from .metrics_oracle import assert_agrees


def test_the_policy_sees_each_header_that_decides() -> None:
    headers = Headers(
        [("Origin", "http://a"), ("Host", "b"), ("X-Forwarded-For", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "3.3.3.3")]
    )
    seen = handshake_request(("10.0.0.1", 4711), Request("/ws", headers))
    assert seen == HandshakeRequest("10.0.0.1", ("http://a",), ("b",), ("1.1.1.1, 2.2.2.2", "3.3.3.3"))
    assert handshake_request(None, Request("/ws", Headers())) == HandshakeRequest("unknown")


@pytest.mark.parametrize("header", ["Origin", "Host"])
def test_two_headers_where_there_may_be_one_are_refused_and_counted(header: str) -> None:
    """Not a server error: which of them counts is not guessed."""

    async def script(server_harness: VirtualServerHarness) -> None:
        await serve(server_harness)
        lines = [f"Host: {HOST}", f"Origin: http://{HOST}", f"{header}: http://{HOST}"]
        answer = await http(upgrade(*lines))
        assert answer.startswith(b"HTTP/1.1 403"), answer
        assert not (await http(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")).startswith(b"HTTP/1.1 500")

    assert causes(play(script), LogEventKind.CONNECTION_REFUSED) == ["origin"]


def test_a_program_gets_a_status_and_a_browser_a_close_code() -> None:
    """A page cannot read a refused handshake: it is let in, receives a retry time, and has joined nothing."""

    async def script(server_harness: VirtualServerHarness) -> None:
        _, metrics = await serve(server_harness, ServerConfig(address_rate=1.0, address_burst=1))
        first = await dial()
        assert await rejection() == (429, pytest.approx(1.0, abs=0.01))
        browser = await dial(Origin=f"http://{HOST}")
        code, reason = await close_code(browser)
        assert code == 4100
        assert 0.9 < float(reason.removeprefix("retry_after=")) <= 1.0
        await say(first, join())
        await hear(first, Joined)
        assert_agrees(metrics, server_harness.log)

    server_harness = play(script)
    assert causes(server_harness, LogEventKind.JOIN_SHED) == ["address", "address"]


def test_guessing_tokens_holds_the_guesser_off() -> None:
    """After so many failures a minute from one address even a valid token has to wait."""

    async def script(server_harness: VirtualServerHarness) -> None:
        await serve(server_harness, ServerConfig(address_failures=5))
        for number in range(5):
            socket = await dial()
            await say(socket, Resume(event="quiz", token=f"guess {number}"))
            await hear(socket, ResumeRejected)
            socket.transport.abort()
        refused = await rejection()
        assert isinstance(refused, tuple)
        assert refused[0] == 429
        await asyncio.sleep((refused[1] or 0.0) + 0.01)
        assert await rejection() is None

    server_harness = play(script)
    assert causes(server_harness, LogEventKind.RESUME_REFUSED) == ["unknown"] * 5
