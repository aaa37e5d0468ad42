"""The driver with misbehaving servers, on the virtual network."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from resilience.client.driver import checked_url
from resilience.config import ClientConfig, QuizConfig
from resilience.errors import LocalProtocolError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.policy.close_codes import retry_after_in_reason
from resilience.protocol.client.dismissal import Dismissal
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.messages import Error, Join, QuizFinished, Resume, ResumeRejected, ServerMessage
from resilience.protocol.states import ClientState
from tests.support.machines import joined
from tests.support.virtual_server import URL, VirtualServerHarness, play

from .scripted import hear, say, scripted

CLASSIC = ClientConfig(preset=Preset.CLASSIC)


def dials(harness: VirtualServerHarness) -> list[float]:
    """The times of the client's dials."""
    return [round(event.t, 2) for event in harness.events(LogEventKind.TRANSPORT_OPENING)]


# the server's messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("news", ['{"type":"fireworks"}', '{"type":"fireworks","seq":1,"of":["everything"]}'])
def test_messages_of_newer_servers_are_ignored(news: str) -> None:
    """Neither the session nor the stream is lost."""
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
def test_an_invalid_message_ends_the_connection_and_the_client_resumes(nonsense: str) -> None:

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


def test_accept_then_close_dials_no_more_than_the_ladder_allows() -> None:
    """F17, over half a minute."""

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
    """F36, over a real socket."""
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
    expected: list[type] = [Join, Resume, Join, Resume, Join, Resume, Join]
    assert heard == expected


@pytest.mark.parametrize("status, waits", [(503, 7.0), (429, 7.0), (500, 1.0)])
def test_the_retry_after_of_a_rejected_handshake_is_used(status: int, waits: float) -> None:
    """For the two statuses for which it is defined."""

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
    "reason, expected", [("retry_after=2.5 busy", 2.5), ("x retry_after=3", 3.0), ("retry_after=-1", None), ("", None)]
)
def test_a_retry_time_is_found_anywhere_in_a_close_reason(reason: str, expected: float | None) -> None:
    assert retry_after_in_reason(reason) == expected


# waking up ------------------------------------------------------------------------------------------------------------


def test_a_wake_up_during_a_dead_dial_reconnects_at_once() -> None:
    """C3: not after the five seconds that the old dial may take."""

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
def test_a_client_that_slept_returns_with_its_score(asleep: float, rejoined: bool) -> None:
    """F6: it resumes within the clean-up time and rejoins after it, as the same participant."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=QuizConfig(questions=1, lobby=1, question_time=5))
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        client.answer("q1", 0)
        await asyncio.sleep(0.5)
        fire, client._timer._fire = client._timer._fire, lambda: None
        harness.link.freeze(True)  # a suspended machine reads nothing, and its timers stop
        await asyncio.sleep(asleep)
        harness.link.freeze(False)
        client._timer._fire = fire
        client._timer.stop()
        client._on_deadline()
        await asyncio.sleep(5)
        assert client.state is ClientState.OPEN
        assert list(app.hubs["quiz"].room.sessions) == ["p1"]

    harness = play(script)
    outcomes = [event.outcome for event in harness.events(LogEventKind.SESSION_RESUMED)]
    assert outcomes == ["rejoined" if rejoined else "resumed"]


@pytest.mark.parametrize("up, down", [(True, False), (False, True)])
def test_a_link_that_works_one_way_is_replaced(up: bool, down: bool) -> None:
    """F2, each direction: the answer is accepted in the end, and both ends agree."""

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
def test_a_client_that_is_over_raises_on_start(how: str) -> None:

    async def script(harness: VirtualServerHarness) -> None:
        client = harness.client()
        client.start()
        await getattr(client, how)()
        with pytest.raises(LocalProtocolError, match="create another one"):
            client.start()
        client.wake()

    assert len(dials(play(script))) == 1


@pytest.mark.parametrize(
    "url",
    [
        *("http://x/", "ws://", "x", "", "ws://x:0/", "ws://x:99999/", "ws://" + "a" * 70 + "/", "ws://[::1/"),
        *("ws://x/\udcf6", "ws://x/#top", "ws://x/a b", "ws://x/a\r\nX: y", "ws://x\x1b[2J/", "ws://me@x/"),
    ],
)
def test_an_invalid_url_is_rejected_before_dialling(url: str) -> None:
    with pytest.raises(UsageError, match="must be a WebSocket URL"):
        checked_url(url)


# rejected for good, and unforeseen errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 426])
def test_a_handshake_rejected_for_good_ends_the_client_with_the_status(status: int) -> None:
    """One dial, where the ladder took ten minutes."""

    def refuse(connection: ServerConnection, request: Request) -> Response:
        del request
        return connection.respond(HTTPStatus(status), "no\n")

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(hear, process_request=refuse)  # type: ignore[arg-type]
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(700)
        assert client.is_over
        assert client.dismissal == Dismissal(status=status)
        with pytest.raises(LocalProtocolError):
            client.start()
        server.close()

    harness = play(script)
    assert len(dials(harness)) == 1
    (ended,) = harness.events(LogEventKind.CLIENT_DISMISSED)
    assert ended.cause == f"status_{status}"


def test_a_rejected_join_is_final_and_closes_the_connection() -> None:
    """By a real server, whose rule is stricter than what the client sends; it was tried every five seconds."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=QuizConfig(lobby=100))
        client = harness.client()
        client.machine.identity = Identity("quiz", "a\tb", "i")
        client.start()
        await asyncio.sleep(30)
        assert client.is_over
        assert client.dismissal is not None
        assert client.dismissal.reason.startswith("name: ")
        assert not app.hubs["quiz"].room.sessions
        assert not harness.network.connections

    harness = play(script)
    assert len(dials(harness)) == 1
    assert [type(message) for message in harness.delivered] == [Error]


def test_the_servers_reason_for_an_end_is_kept() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        client = harness.client()
        client.machine.identity = Identity("nope", "ada", "i")
        client.start()
        await asyncio.sleep(1)
        assert client.dismissal == Dismissal(code=4202, reason="there is no such event here")

    play(script)


def test_an_unforeseen_error_in_a_dial_is_reported_and_the_client_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error was lost with the dial's task, and the connection with it until its timeout."""
    reported: list[BaseException] = []
    failures = [RuntimeError("a bug")]

    async def part(connection: ServerConnection) -> None:
        await hear(connection)
        await say(connection, joined())
        await connection.wait_closed()

    async def script(harness: VirtualServerHarness) -> None:
        harness.loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        server = await scripted(part)
        client = harness.client(url=URL, config=CLASSIC)
        receive = ParticipantClient.receive

        def broken(machine: ParticipantClient, message: ServerMessage, dial: int, now: float) -> None:
            if failures:
                raise failures.pop()
            receive(machine, message, dial, now)

        monkeypatch.setattr(ParticipantClient, "receive", broken)
        client.start()
        await asyncio.sleep(2)
        assert client.state is ClientState.OPEN
        await client.stop()
        server.close()

    harness = play(script)
    assert [str(error) for error in reported] == ["a bug"]
    assert dials(harness) == pytest.approx([0, 1], abs=0.1)
    (lost,) = harness.events(LogEventKind.TRANSPORT_LOST)
    assert lost.cause == "RuntimeError"


def test_a_redirect_that_cannot_be_followed_is_a_failed_dial() -> None:
    """No exception of the library ends a client in silence."""

    def away(connection: ServerConnection, request: Request) -> Response:
        del request
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = "https://elsewhere.test/ws"
        return response

    async def script(harness: VirtualServerHarness) -> None:
        server = await scripted(hear, process_request=away)  # type: ignore[arg-type]
        client = harness.client(url=URL, config=CLASSIC)
        client.start()
        await asyncio.sleep(0.5)
        assert client.state is ClientState.BACKING_OFF
        await client.stop()
        server.close()

    (failed,) = play(script).events(LogEventKind.TRANSPORT_FAILED)
    assert failed.cause == "InvalidURI"
