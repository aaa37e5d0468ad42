"""Connections of bad peers: silent, talkative, deaf, without a key. Each ends, is counted, harms no other."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import (
    CreateEvent,
    Error,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    Join,
    Joined,
    Probe,
    ProbeReply,
    Resume,
    ResumeRejected,
    StateRestored,
    TokenStored,
)
from resilience.protocol.states import ClientState
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from tests.hostile.wire import CONTINUATION, PING, TEXT, announced, frame
from tests.support.virtual_server import HOST, PORT, URL, WAITING, VirtualServerHarness, play
from tests.support.websocket import (
    KEY,
    causes,
    close_code,
    dial,
    hear,
    http,
    join,
    rejection,
    say,
    serve,
    upgrade,
)

from .metrics_oracle import assert_agrees

NO_LIMITS = ServerConfig(address_failures=0, address_rate=0, message_rate=0)
PLAN = QuizPlan(arithmetic_questions(7, 2, 5.0), "Sums")

REFUSED, MESSAGE = LogEventKind.CONNECTION_REFUSED, LogEventKind.MESSAGE_REFUSED


# the first message ----------------------------------------------------------------------------------------------------


def test_who_never_finishes_a_handshake_is_shown_out() -> None:
    """A byte a second is no progress: the deadline counts from the connection."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness)
        _, writer = await asyncio.open_connection(HOST, PORT)
        for byte in upgrade(f"Host: {HOST}"):
            writer.write(bytes([byte]))
            await asyncio.sleep(1.0)
            if writer.is_closing():
                break
        assert harness.clock.now() < 8
        assert app.connections() == 0

    assert causes(play(script), REFUSED) == ["late"]


@pytest.mark.parametrize("request_bytes", [b"", b"\x00" * 100, b"GET /ws HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\r\n" * 50])
def test_what_is_no_http_ends(request_bytes: bytes) -> None:
    """At once or at the deadline; nothing is left of it."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness)
        answer = await http(request_bytes)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        await asyncio.sleep(1)
        assert app.connections() == 0

    play(script)


def test_too_much_nonsense_first_is_a_strike_and_not_a_delay() -> None:
    """Before any word of who it is: closed for good, with the right cause."""

    async def script(harness: VirtualServerHarness) -> None:
        _, metrics = await serve(harness, ServerConfig(strike_limit=3))
        socket = await dial()
        for text in ("}{", '{"type":"probe","id":1}', b"\xff\xfe"):
            await say(socket, text)
        assert (await close_code(socket))[0] == 4203
        assert harness.clock.now() < 1
        assert_agrees(metrics, harness.log)

    harness = play(script)
    assert causes(harness, REFUSED) == ["strikes"]
    assert causes(harness, MESSAGE) == ["malformed", "unexpected", "malformed"]


def test_after_a_refused_token_the_deadline_applies_again() -> None:
    """The client has it to identify itself; a half-open connection must not stay."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness)
        socket = await dial()
        await say(socket, Resume(event="quiz", token="guess"))
        await hear(socket, ResumeRejected)
        assert (await close_code(socket))[0] == 4001
        assert harness.clock.now() < 6
        await asyncio.sleep(2)
        assert app.connections() == 0

    assert causes(play(script), REFUSED) == ["late"]


def test_a_refused_token_may_still_be_followed_by_a_join() -> None:
    """On the same connection, within the deadline, for as long as it likes after that."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness, quiz=WAITING)
        socket = await dial()
        await say(socket, Resume(event="quiz", token="guess"))
        await asyncio.sleep(4)
        await say(socket, join())
        await hear(socket, Joined)
        await asyncio.sleep(20)
        await say(socket, Probe(1))
        await hear(socket, ProbeReply)

    play(script)


def test_guesses_over_one_connection_are_bounded_too() -> None:
    """Not only new connections: when its address has failed too often, the connection that guesses is closed."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness, ServerConfig(address_failures=5))
        socket = await dial()
        with suppress(ConnectionClosed):
            for number in range(100):
                await say(socket, Resume(event="quiz", token=f"guess {number}"))
        assert (await close_code(socket))[0] in {4100, 4203}
        assert len(harness.events(LogEventKind.RESUME_REFUSED)) <= 7

    play(script)


@pytest.mark.parametrize("event", ["nowhere", "quiz ", "QUIZ", "quiz#1"])
def test_an_event_that_is_not_here(event: str) -> None:
    """Closed for good, and counted."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        for first in (Join(event=event, name="e", instance="e"), Resume(event=event, token="t")):
            socket = await dial()
            await say(socket, first)
            assert (await close_code(socket))[0] == 4202

    assert causes(play(script), REFUSED) == ["event", "event"]


# too much -------------------------------------------------------------------------------------------------------------


def test_who_says_too_much_is_read_late_and_loses_nothing() -> None:
    """50 a second after a burst of 200: every reply comes, in order, at the rate; another is answered at once."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        loud, other = await dial(), await dial()
        for socket, name in ((loud, "loud"), (other, "other")):
            await say(socket, join(name))
            await hear(socket, Joined)
        for number in range(400):
            await loud.send(f'{{"type":"probe","id":{number}}}')
        began = harness.clock.now()
        await say(other, Probe(7))
        await hear(other, ProbeReply)
        assert harness.clock.now() - began < 0.1
        assert [(await hear(loud, ProbeReply)).id for _ in range(400)] == list(range(400))
        assert harness.clock.now() == pytest.approx(4.0, abs=0.5)

    harness = play(script)
    assert 190 <= len(harness.events(LogEventKind.MESSAGE_DELAYED)) <= 210


@pytest.mark.parametrize("size", [16_385, 1_048_576])
@pytest.mark.parametrize("is_joined", [False, True])
def test_a_message_over_the_limit_ends_the_connection(size: int, is_joined: bool) -> None:
    """Before and after the first message; its announcement is enough."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        socket = await dial()
        if is_joined:
            await say(socket, join())
            await hear(socket, Joined)
        socket.transport.write(announced(size))
        assert (await close_code(socket))[0] == 1009

    play(script)


def test_a_message_in_endless_pieces_ends_the_connection() -> None:
    """Empty pieces cost memory too; their number is bounded, or their time."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness, NO_LIMITS)
        socket = await dial()
        await say(socket, join())
        await hear(socket, Joined)
        socket.transport.write(frame(b"", TEXT, fin=False))
        for _ in range(100):
            if socket.protocol.eof_sent:
                break
            socket.transport.write(frame(b"", CONTINUATION, fin=False) * 100)
            await asyncio.sleep(0.01)
        assert (await close_code(socket))[0] in {1002, 1009, 1006}
        assert harness.clock.now() < 5
        assert app.connections() == 0

    play(script)


def test_a_deaf_peer_that_pings_is_cut_off() -> None:
    """The library answers pings by itself: the answers that no peer reads must not pile up in memory."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness, NO_LIMITS)
        reader, writer = await asyncio.open_connection(HOST, PORT)
        writer.write(upgrade(f"Host: {HOST}"))
        await asyncio.sleep(0.1)
        writer.write(frame(json.dumps({"type": "join", "event": "quiz", "name": "d", "instance": "d"}).encode()))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        most = 0
        with suppress(ConnectionError):
            for _ in range(400):
                writer.write(frame(b"p" * 125, PING) * 100)
                await asyncio.sleep(0.02)
                buffers = [
                    connection.transport.get_write_buffer_size() for connection in app._gateway.connections.values()
                ]
                most = max([most, *buffers])
        assert most <= 2 * NO_LIMITS.write_buffer_bytes
        assert app.connections() == 0
        del reader

    harness = play(script)
    assert causes(harness, LogEventKind.SESSION_DETACHED) == ["slow"]


# hosts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, KEY])
def test_a_wrong_host_key_is_refused_for_good_and_counted(key: str | None) -> None:
    """Whether or not there is a right one; too many wrong ones shut the door."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness, ServerConfig(address_failures=3), host_key=key)
        for guess in ("wrong", KEY + "x", "x" * 256):
            socket = await dial()
            await say(socket, Host(event="quiz", key=guess))
            code, reason = await close_code(socket)
            assert code == 4204
            assert "xxx" not in reason
            assert KEY not in reason
        refused = await rejection()
        assert isinstance(refused, tuple)
        assert refused[0] == 429

    harness = play(script)
    assert causes(harness, REFUSED) == ["key"] * 3
    assert LogEventKind.HOST_ATTACHED not in [event.kind for event in harness.log]


def test_a_host_may_send_a_megabyte_and_another_client_may_not() -> None:
    """The limit is lifted by the key, for that connection alone."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        long = QuizPlan(arithmetic_questions(1, 400, 5.0), "Long")
        client = await dial()
        await say(client, CreateEvent(long))
        assert (await close_code(client))[0] == 1009
        host = await dial()
        await say(host, Host(event="long", key=KEY))
        assert (await hear(host, Hosting)).status is None
        await say(host, CreateEvent(long))
        assert (await hear(host, HostResult)).verdict == "done"
        host.transport.write(announced(1_048_577))
        assert (await close_code(host))[0] == 1009

    play(script)


def test_a_host_without_an_event_that_falls_silent_is_let_go() -> None:
    """A half-open host without an event must not stay forever; one that probes may wait without a limit."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness)
        silent, patient = await dial(), await dial()
        for host in (silent, patient):
            await say(host, Host(event="later", key=KEY))
            await hear(host, Hosting)
        for _ in range(20):
            await asyncio.sleep(5)
            await say(patient, Probe(1))
            await hear(patient, ProbeReply)
        assert app.connections() == 1

    play(script)


def test_orders_without_a_key_change_nothing() -> None:
    """First or after a join, on a connection with a participant or without one."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness)
        stranger = await dial()
        await say(stranger, HostCommand(HostAction.START, 0))
        assert (await hear(stranger, Error)).code == "unexpected"
        await say(stranger, join())
        await hear(stranger, Joined)
        await say(stranger, HostCommand(HostAction.FINISH, 0))
        assert (await hear(stranger, Error)).rule == "only a host may say this"
        await say(stranger, CreateEvent(PLAN))
        assert (await hear(stranger, Error)).rule == "only a host may say this"
        assert list(app.hubs) == ["quiz"]
        assert app.hubs["quiz"].room.game.progress.step == 0

    play(script)


def test_a_host_whose_event_is_refused_receives_the_cause_and_stays() -> None:
    """Other questions for an event that is under way."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        host = await dial()
        await say(host, Host(event="quiz", key=KEY))
        await hear(host, Hosting)
        await say(host, CreateEvent(PLAN))
        result = await hear(host, HostResult)
        assert result.verdict == "refused"
        assert "under way" in result.rule
        await say(host, HostCommand(HostAction.START, 0))
        assert (await hear(host, HostResult)).verdict == "done"

    play(script)


# tokens ---------------------------------------------------------------------------------------------------------------


def test_a_token_that_was_replaced_opens_nothing_and_disturbs_no_session() -> None:
    """Its replay is distinguished from a guess, counted, and the owner keeps its connection."""

    async def script(harness: VirtualServerHarness) -> None:
        _, metrics = await serve(harness)
        first = await dial()
        await say(first, join())
        old = (await hear(first, Joined)).credentials
        await say(first, TokenStored(1))
        first.transport.abort()
        owner = await dial()
        await say(owner, Resume(event="quiz", token=old.token))
        fresh = (await hear(owner, StateRestored)).credentials
        await say(owner, TokenStored(fresh.generation))
        for _ in range(3):
            thief = await dial()
            await say(thief, Resume(event="quiz", token=old.token))
            assert (await hear(thief, ResumeRejected)).reason == "retired"
            thief.transport.abort()
        await say(owner, Probe(1))
        await hear(owner, ProbeReply)
        assert_agrees(metrics, harness.log)

    harness = play(script)
    assert causes(harness, LogEventKind.RESUME_REFUSED) == ["retired"] * 3
    assert LogEventKind.SESSION_FENCED not in [event.kind for event in harness.log]


def test_no_secret_is_in_the_log() -> None:
    """Neither tokens nor the key, from any peer and in any message."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        for text in (
            json.dumps({"type": "resume", "event": "quiz", "token": "sesame" * 3}),
            json.dumps({"type": "host", "event": "quiz", "key": "sesame" * 3}),
            json.dumps({"type": "host", "event": "quiz", "key": ["sesame"]}),
            json.dumps({"type": "resume", "event": "quiz", "token": "sesame", "sesame": 1}),
        ):
            socket = await dial()
            await say(socket, text)
            await asyncio.sleep(0.2)
            socket.transport.abort()
        owner = await dial()
        await say(owner, join())
        await hear(owner, Joined)
        host = await dial()
        await say(host, Host(event="quiz", key=KEY))
        await hear(host, Hosting)

    harness = play(script)
    written = repr(harness.log)
    assert "sesame" not in written
    assert "token-" not in written
    assert KEY not in written


# all peers at once ----------------------------------------------------------------------------------------------------


def test_nothing_is_left_after_a_wave_of_bad_peers() -> None:
    """Tasks, timers, sockets and the room's own books are back where they were; an honest client saw nothing of it."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness, ServerConfig(address_failures=0, address_rate=0), QuizConfig(lobby=3000))
        honest = harness.client(url=URL)
        honest.start()
        await asyncio.sleep(2)
        counts = []
        for _ in range(2):
            await asyncio.gather(*(_misbehave(kind, number) for number in range(20) for kind in range(7)))
            await asyncio.sleep(100)
            tasks, timers = len(harness.loop.pending_tasks()), _timers(harness)
            room = app.hubs["quiz"].room
            counts.append(
                (tasks, timers, app.connections(), len(room._attendance._by_connection), len(app.hubs["quiz"]._peers))
            )
        assert counts[0][2:] == (1, 1, 1)
        assert counts[0][0] == counts[1][0]
        assert counts[1][1] <= counts[0][1] + 1
        assert honest.machine.state is ClientState.OPEN

    harness = play(script)
    assert [event.kind for event in harness.events(LogEventKind.TRANSPORT_LOST) if event.actor == "ada"] == []


def _timers(harness: VirtualServerHarness) -> int:
    return sum(not timer.cancelled() for _, _, timer in harness.loop._timers)


async def _misbehave(kind: int, number: int) -> None:
    """One bad peer of a kind, to its end or for a while."""
    if kind == 0:
        await http(b"GET /ws HTTP/1.1\r\n")
        return
    socket = await dial()
    with suppress(ConnectionClosed):
        if kind == 1:
            await close_code(socket)
        elif kind == 2:
            for _ in range(12):
                await say(socket, "nonsense")
            await close_code(socket)
        elif kind == 3:
            await say(socket, join(f"bad{number}"))
            await asyncio.sleep(3)
        elif kind == 4:
            await say(socket, Resume(event="quiz", token="x"))
            await close_code(socket)
        elif kind == 5:
            await say(socket, Host(event="quiz", key="wrong"))
            await close_code(socket)
        else:
            await say(socket, join(f"loud{number}"))
            socket.transport.write(frame(b'{"type":"probe","id":1}') * 300)
            await asyncio.sleep(1)
    socket.transport.abort()
