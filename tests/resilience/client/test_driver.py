"""The driver against servers that misbehave, on the virtual network."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from resilience.client.driver import checked_url, retry_after_of_response
from resilience.config import ClientConfig, QuizConfig
from resilience.errors import LocalProtocolError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.policy.close_codes import retry_after_in_reason
from resilience.protocol.messages import Join, QuizFinished, Resume, ResumeRejected
from resilience.protocol.states import ClientState
from tests.support.machines import joined
from tests.support.virtual_server import URL, VirtualServerHarness, play

from .scripted import hear, say, scripted

CLASSIC = ClientConfig(preset=Preset.CLASSIC)


def dials(harness: VirtualServerHarness) -> list[float]:
    """When the client dialled."""
    return [round(event.t, 2) for event in harness.events(LogEventKind.TRANSPORT_OPENING)]


# what a server may say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("news", ['{"type":"fireworks"}', '{"type":"fireworks","seq":1,"of":["everything"]}'])
def test_what_only_newer_servers_say_is_passed_over(news: str) -> None:
    """Forward compatibility: neither the session nor the stream is lost over it."""
    following = QuizFinished(2 if "seq" in news else 1, ())

    async def part(connection: ServerConnection) -> None:
        await hear(connection)
        for message in (joined(), news, following):
            await say(connection, message)
        await connection.wait_closed()

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(part)
        client = harness.client(url=URL)
        client.start()
        await asyncio.sleep(1)
        assert client.state is ClientState.OPEN
        assert harness.delivered[-1] == following
        await client.stop()
        server.close()

    assert len(dials(play(script))) == 1


@pytest.mark.parametrize("nonsense", ["", "[]", '{"type":"ping"}', '{"kind":"ping"}', '{"type":7}'])
def test_what_cannot_be_read_ends_the_connection(nonsense: str) -> None:
    """A known message that is broken, or none at all, is no newer server's: come back and ask for the state."""

    async def part(connection: ServerConnection) -> None:
        await hear(connection)
        for message in (joined(), nonsense):
            await say(connection, message)
        await connection.wait_closed()

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(part)
        client = harness.client(url=URL)
        client.start()
        await asyncio.sleep(0.1)
        await client.stop()
        server.close()

    (lost, *_) = play(script).events(LogEventKind.TRANSPORT_LOST)
    assert lost.cause is not None
    assert lost.cause.startswith("malformed")


def test_accept_then_close_is_no_storm() -> None:
    """F17: the dials of half a minute are those of the ladder."""

    async def part(connection: ServerConnection) -> None:
        await hear(connection)
        await say(connection, joined())
        await connection.close(1011)

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(part)
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(30.5)
        await client.stop()
        server.close()

    assert dials(play(script)) == pytest.approx([0, 1, 3, 7, 15], abs=0.1)


def test_a_server_that_rejects_every_resume_gets_one_join_for_each_dial() -> None:
    """F36: over a real socket."""
    heard: list[type] = []

    async def part(connection: ServerConnection) -> None:
        first = await hear(connection)
        heard.append(type(first))
        if isinstance(first, Resume):
            await say(connection, ResumeRejected("unknown"))
            heard.append(type(await hear(connection)))
        await say(connection, joined())
        await connection.close(1011)

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(part)
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(10)
        await client.stop()
        server.close()

    play(script)
    assert heard == [Join, Resume, Join, Resume, Join, Resume, Join]


@pytest.mark.parametrize("status, waits", [(503, 7.0), (429, 7.0), (500, 1.0)])
def test_a_refused_handshake_may_say_when_to_come_back(status: int, waits: float) -> None:
    """Retry-After counts for the two statuses that it is defined for."""

    def refuse(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus(status), "no\n")
        response.headers["Retry-After"] = "7"
        return response

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(hear, process_request=refuse)  # type: ignore[arg-type]
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(0.5)
        await client.stop()
        server.close()

    (scheduled,) = play(script).events(LogEventKind.BACKOFF_SCHEDULED)
    assert scheduled.value == waits


@pytest.mark.parametrize(
    "headers, expected",
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "3.5"}, 3.5),
        ({"Retry-After": "Tue, 24 Nov 2026 10:00:30 GMT", "Date": "Tue, 24 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"Retry-After": "Tue, 24 Nov 2026 09:00:00 GMT", "Date": "Tue, 24 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 24 Nov 2026 10:00:30 GMT"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_by_hand(headers: dict[str, str], expected: float | None) -> None:
    """Seconds or a date; a date is held against the server's own clock."""
    assert retry_after_of_response(InvalidStatus(Response(503, "no", Headers(headers)))) == expected


@pytest.mark.parametrize(
    "reason, expected", [("retry_after=2.5 busy", 2.5), ("x retry_after=3", 3.0), ("retry_after=-1", None), ("", None)]
)
def test_advice_in_a_reason(reason: str, expected: float | None) -> None:
    """Wherever in the text it stands."""
    assert retry_after_in_reason(reason) == expected


# waking up ------------------------------------------------------------------------------------------------------------


def test_a_phone_that_wakes_with_a_dead_dial_is_back_at_once() -> None:
    """C3: not after the five seconds that the stale dial may take."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        harness.link.blackhole(up=True, down=True)
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        client.url = URL  # the other network
        client.wake()
        await asyncio.sleep(0.1)
        assert client.state is ClientState.OPEN

    play(script)


@pytest.mark.parametrize("asleep, rejoined", [(40.0, False), (120.0, True)])
def test_a_client_that_slept_comes_back_with_its_score(asleep: float, rejoined: bool) -> None:
    """F6: within the clean-up it resumes, after it it rejoins; the same participant in both."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=QuizConfig(questions=1, lobby=1, question_time=5))
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        client.answer("q1", 0)
        await asyncio.sleep(0.5)
        timer, client._timer._wake = client._timer._wake, lambda: None  # type: ignore[method-assign]
        harness.link.freeze(True)  # a sleeper reads nothing, and its timers stand still
        await asyncio.sleep(asleep)
        harness.link.freeze(False)
        client._timer._wake = timer  # type: ignore[method-assign]
        client._timer.stop()
        client._on_deadline()
        await asyncio.sleep(5)
        assert client.state is ClientState.OPEN
        assert list(app.hubs["quiz"].room.sessions) == ["p1"]

    harness = play(script)
    outcomes = [event.outcome for event in harness.events(LogEventKind.SESSION_RESUMED)]
    assert outcomes == ["rejoined" if rejoined else "resumed"]


@pytest.mark.parametrize("up, down", [(True, False), (False, True)])
def test_half_of_a_link_is_no_link(up: bool, down: bool) -> None:
    """F2: each direction by itself; the answer is taken in the end, and both ends agree."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=QuizConfig(questions=1, lobby=1, question_time=40))
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        harness.link.blackhole(up=up, down=down)
        client.answer("q1", 0)
        await asyncio.sleep(8)
        assert harness.events(LogEventKind.PEER_DEAD)
        harness.link.blackhole(up=False, down=False)
        await asyncio.sleep(10)
        assert client.state is ClientState.OPEN
        assert not client.machine.pending
        assert app.states()["connected"] == 1

    assert len(play(script).events(LogEventKind.ANSWER_COMMITTED)) == 1


# the end --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_what_is_over_cannot_be_started(how: str) -> None:
    """Silence would look like a start."""

    async def script(harness: VirtualServerHarness) -> None:
        client = harness.client()
        client.start()
        await getattr(client, how)()
        with pytest.raises(LocalProtocolError, match="make another one"):
            client.start()
        client.wake()

    assert len(dials(play(script))) == 1


@pytest.mark.parametrize(
    "url", ["http://x/", "ws://", "x", "", "ws://x:0/", "ws://x:99999/", "ws://" + "a" * 70 + "/", "ws://[::1/"]
)
def test_urls_that_no_socket_can_be_opened_at(url: str) -> None:
    """One line, before anything is dialled."""
    with pytest.raises(UsageError, match="must be a WebSocket URL"):
        checked_url(url)
