"""Clocks that jump, machines that sleep, processes that stall, timers that are throttled: whose time it was."""

from __future__ import annotations

import asyncio
import time

import pytest
from websockets.asyncio.client import connect
from websockets.protocol import State

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.protocol import codec
from resilience.protocol.messages import Host, Join, Joined, StateRestored
from resilience.protocol.states import ClientState, ConnectionState
from resilience.quiz.phases import Phase
from sim.virtual.pipe import ControlSignal
from tests.failure_modes.suspended_timers import CoarseTimer, Machine
from tests.support.virtual_server import CALM, LINKED, WAITING, VirtualServerHarness, act, play, url_of

HOUR = 3600.0
KEY = "the-key-of-the-hosts"
DEAF = ClientConfig(probe_after=1000)
"""A client that never asks by itself: only the server's heartbeat keeps the two together."""


@pytest.mark.parametrize("config", [ClientConfig(), DEAF])
def test_f05_background_tab_throttle(config: ClientConfig) -> None:
    """A page is in the background for ten minutes: its timers fire once a minute, its pongs need up to 10 s.

    Pongs answer messages, so no client is disconnected by mistake. When the link does break meanwhile, coming to the
    foreground brings the client back within a second.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        ada = harness.client(config=config)
        await harness.opened(ada)
        timer = ada._timer = CoarseTimer(ada._clock, ada._on_deadline)
        ada._pump()
        harness.link.set_latency(up=lambda u: 10 * u, down=0.001)
        await asyncio.sleep(600)
        assert ada.state is ClientState.OPEN
        assert not harness.of(LogEventKind.SESSION_DETACHED)
        harness.link.set_latency(up=0.001, down=0.001)
        await asyncio.sleep(20)
        harness.link.cut()
        await asyncio.sleep(5)
        assert ada.state is not ClientState.OPEN
        timer.every = 0
        ada.wake()
        assert await harness.opened(ada, within=1) < 1
        assert len(harness.told("ada", StateRestored)) == 1

    harness = act(script)
    assert max(event.value or 0 for event in harness.of(LogEventKind.HEARTBEAT_ACKED)) > 8
    assert not harness.of(LogEventKind.PEER_DEAD)


@pytest.mark.parametrize("timers_first", [False, True])
@pytest.mark.parametrize("asleep", [5, 45, 300])
def test_f06_sleep_wake(asleep: int, timers_first: bool) -> None:
    """A laptop sleeps for 5, 45 or 300 s, and wakes; its client receives no notice.

    The client doubts at once what it held for an open connection. Within the clean-up time it resumes, later it
    rejoins; either way within a second, as the same participant and with its score. Its budget did not pay for the
    sleep.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(
            quiz=QuizConfig(questions=2, lobby=1, question_time=5, reveal_time=2, leaderboard_time=3000)
        )
        ada = harness.client(config=ClientConfig(budget=60))
        laptop = Machine.of_client(ada, harness.link)
        await harness.opened(ada)
        await harness.until(lambda: harness.room.game.phase is Phase.QUESTION)
        ada.answer("q1", harness.room.game.questions[0].correct)
        await harness.until(lambda: harness.room.game.phase is Phase.LEADERBOARD)
        laptop.sleep()
        await asyncio.sleep(asleep)
        assert ada.state is ClientState.OPEN, "it knows nothing of it"
        woken_at = harness.clock.now()
        laptop.wake(timers_first=timers_first)
        await asyncio.sleep(1)
        assert ada.state is ClientState.OPEN
        assert harness.session().state is ConnectionState.CONNECTED
        doubted = [
            *harness.of(LogEventKind.PEER_SUSPECTED, since=woken_at),
            *harness.of(LogEventKind.TRANSPORT_LOST, "ada"),
        ]
        assert min(event.t for event in doubted) - woken_at < 0.1
        back = harness.told("ada", StateRestored)
        assert [message.rejoined for message in back] == {5: [], 45: [False], 300: [True]}[asleep]
        assert all(message.snapshot.score > 0 for message in back)
        await asyncio.sleep(100)
        assert ada.state is ClientState.OPEN

    harness = act(script)
    assert not harness.of(LogEventKind.PEER_DEAD)
    assert not harness.of(LogEventKind.GAVE_UP)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_f07_clock_step(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock of both machines is set an hour forward or back while a question is open.

    No decision reads it: no state changes, no score, and the question closes when it should.
    """
    quiz = QuizConfig(questions=2, lobby=1, question_time=20, reveal_time=1000)

    async def script(harness: VirtualServerHarness) -> None:
        monkeypatch.setattr(time, "time", harness.wall_clock)
        await harness.serve(quiz=quiz)
        ada = harness.client()
        await harness.opened(ada)
        await asyncio.sleep(6)
        harness.wall_ahead += step
        ada.answer("q1", harness.room.game.questions[0].correct)
        await asyncio.sleep(10)
        harness.link.cut()
        await harness.until(lambda: ada.state is not ClientState.OPEN)
        await harness.opened(ada, within=1)
        await harness.until(lambda: harness.room.game.phase is Phase.REVEAL)
        assert 500 < harness.room.game.scores["p1"] < 1000
        await asyncio.sleep(200)
        assert ada.state is ClientState.OPEN

    harness = act(script)
    (opened,), (closed,) = harness.of(LogEventKind.QUESTION_OPENED), harness.of(LogEventKind.QUESTION_CLOSED)
    assert abs(closed.t - opened.t - 20) < 0.001
    assert len(harness.of(LogEventKind.SESSION_RESTORED)) == 1
    assert not harness.of(LogEventKind.SESSION_EXPIRED)


@pytest.mark.parametrize("step, closes_after", [(0.0, 13.0), (-3.0, 16.0), (3.0, 10.0), (-HOUR, 20.0), (HOUR, 0.0)])
def test_f07_clock_step_across_a_restart(step: float, closes_after: float) -> None:
    """The server is killed while a question of 20 s is open, and its clock is set before another server starts.

    Between two processes only the wall clock counts, so a step is taken for time that passed. But a question never
    opens for longer than it was to be, and one that an hour has closed stays closed; no score or name is lost.
    """
    quiz = QuizConfig(questions=2, lobby=6, question_time=20, reveal_time=3600, leaderboard_time=3600)

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=quiz)
        ada = harness.client()
        await harness.opened(ada)
        await harness.until(lambda: harness.room.game.phase is Phase.QUESTION)
        ada.answer("q1", harness.room.game.questions[0].correct)
        await asyncio.sleep(5)
        harness.crash()
        harness.wall_ahead += step
        await asyncio.sleep(2)
        began_at = harness.clock.now()
        await harness.restart()
        await harness.opened(ada, within=5)
        await harness.until(lambda: harness.room.game.phase is Phase.REVEAL, step=0.001)
        (closed,) = harness.of(LogEventKind.QUESTION_CLOSED)
        assert abs(closed.t - began_at - closes_after) < 0.02
        await asyncio.sleep(1)
        assert ada.state is ClientState.OPEN
        assert harness.room.game.scores == {"p1": harness.room.game.recomputed_score("p1")} != {"p1": 0}

    act(script)


@pytest.mark.parametrize("stall", [5, 20, 40])
def test_f08_server_stall(stall: int) -> None:
    """The process that holds the server and a hundred clients does nothing for 5, 20 or 40 s.

    The sweeper measures its own lag and extends all deadlines by it: no connection counts as dead.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        crowd = harness.crowd(50) + [harness.client(f"deaf {i}", DEAF) for i in range(50)]
        await harness.opened(*crowd)
        await asyncio.sleep(40)
        harness.loop.call_soon(_stand_still, harness, stall)
        await asyncio.sleep(100)
        assert all(client.state is ClientState.OPEN for client in crowd)

    harness = act(script)
    assert not harness.of(LogEventKind.SESSION_DETACHED)
    assert not harness.of(LogEventKind.PEER_DEAD)


def _stand_still(harness: VirtualServerHarness, seconds: float) -> None:
    harness.loop.now += seconds


@pytest.mark.parametrize("timers_first", [False, True])
def test_f08_server_stall_of_the_server_alone(timers_first: bool) -> None:
    """Only the server is suspended, for 40 s, longer than its own grace period; clients say nothing by themselves.

    Their pongs wait in its buffers, or were never asked for. None of them is let go, whatever it sees first.
    """

    async def script(harness: VirtualServerHarness) -> None:
        server = await harness.serve(quiz=WAITING)
        machine = Machine.of_server(server, [harness.link])
        crowd = harness.crowd(100, DEAF)
        await harness.opened(*crowd)
        await asyncio.sleep(40)
        machine.sleep()
        await asyncio.sleep(40)
        machine.wake(timers_first=timers_first)
        await asyncio.sleep(100)

    assert not act(script).of(LogEventKind.SESSION_DETACHED)


@pytest.mark.parametrize("timers_first", [False, True])
def test_f08_server_stall_of_a_server_with_hosts_and_absentees(timers_first: bool) -> None:
    """The server is suspended for 50 s: a host, a client that has just connected, one that was cut a second before.

    The stall is charged to none of them: the host stays, the first message is read, the absent client resumes.
    """

    async def script(harness: VirtualServerHarness) -> None:
        server, _ = await harness.serve_hosts(quiz=WAITING, host_key=KEY)
        machine, own_link = Machine.of_server(server, [harness.link]), harness.another_link("ada")
        ada = harness.client("ada", DEAF, url_of(own_link))
        await harness.opened(ada, *harness.crowd(30, DEAF))
        host = await connect(LINKED, ping_interval=None)
        await host.send(codec.encode(Host(event="quiz", key=KEY)).decode())
        await asyncio.sleep(20)
        newcomer = await connect(LINKED, ping_interval=None)
        own_link.refuse(True)
        own_link.cut()
        await asyncio.sleep(1)
        machine.sleep()
        await newcomer.send(codec.encode(Join(event="quiz", name="Eve", instance="eve")).decode())
        await asyncio.sleep(50)
        machine.wake(timers_first=timers_first)
        own_link.refuse(False)
        assert isinstance(codec.decode_server(await newcomer.recv(decode=False)), Joined)
        await harness.opened(ada, within=35)
        assert [message.rejoined for message in harness.told("ada", StateRestored)] == [False]
        assert host.state is State.OPEN
        await host.close()
        await newcomer.close()

    history = play(script)
    assert not [event for event in history.of(LogEventKind.SESSION_DETACHED) if event.cause == DetachCause.GRACE]
    assert not history.of(LogEventKind.SESSION_EXPIRED)
    assert not history.of(LogEventKind.CONNECTION_REFUSED)


@pytest.mark.parametrize("timers_first", [False, True])
@pytest.mark.parametrize("stall", [8, 15, 40])
def test_f40_stall_echo(stall: int, timers_first: bool) -> None:
    """The server is suspended for longer than its clients wait; all of them dial when it continues.

    The stall is over then: no join is rejected because of it, and all have a session within two seconds.
    """

    async def script(harness: VirtualServerHarness) -> None:
        server, _ = await harness.serve_hosts(quiz=WAITING, host_key=None)
        machine = Machine.of_server(server, [harness.link])
        crowd = harness.crowd(60)
        await harness.opened(*crowd)
        await asyncio.sleep(20)
        machine.sleep()
        await asyncio.sleep(stall)
        assert all(client.state is not ClientState.OPEN for client in crowd)
        machine.wake(timers_first=timers_first)
        await asyncio.sleep(2)
        assert all(client.state is ClientState.OPEN for client in crowd)

    assert not play(script).of(LogEventKind.JOIN_SHED)


@pytest.mark.parametrize("idle", [10, 30, 60])
@pytest.mark.parametrize("asks", [True, False])
def test_f33_idle_proxy_cut(idle: int, asks: bool) -> None:
    """A proxy on the way ends connections on which the server said nothing for 10, 30 or 60 s.

    The ping of every 15 s keeps those of 30 and 60 s open, and a client's own probes any of them. A client that only
    answers loses its connection again and again to one of 10 s, and comes back each time with all it had.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        ada = harness.client(config=ClientConfig() if asks else DEAF)
        await harness.opened(ada)
        await asyncio.sleep(2)
        ada.answer("q1", 1)
        await _impatient_proxy(harness, idle, lasts=300)
        await harness.opened(ada, within=2)
        assert harness.session().state is ConnectionState.CONNECTED

    harness = act(script)
    cuts = len(harness.of(LogEventKind.SESSION_DETACHED))
    assert (cuts > 5) if idle == 10 and not asks else cuts == 0
    assert all(message.snapshot.answer == 1 for message in harness.told("ada", StateRestored))


def test_f33_idle_proxy_cut_at_the_period_of_the_ping() -> None:
    """A proxy whose limit equals the interval races with the ping: docs/operations.md warns of it.

    Pings leave exactly as often as the proxy asks for; a jitter of 50 ms is enough to lose the connection.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(heartbeat_interval=15), CALM)
        ada = harness.client(config=DEAF)
        await harness.opened(ada)
        harness.link.latency_s = lambda u: 0.05 * u
        await _impatient_proxy(harness, 15, lasts=300)
        await harness.opened(ada, within=2)

    assert act(script).of(LogEventKind.SESSION_DETACHED)


async def _impatient_proxy(harness: VirtualServerHarness, idle: float, lasts: float) -> None:
    """End both sides of what said nothing downstream for too long, as nginx does by ``proxy_read_timeout``."""
    ends_at = harness.clock.now() + lasts
    passed_at: dict[int, float] = {}
    while (now := harness.clock.now()) < ends_at:
        for connection in harness.link.connections:
            number, arrives_at = connection.number, connection.down._last
            if arrives_at <= now:
                passed_at[number] = max(arrives_at, connection.opened_at)
            if now - passed_at.get(number, now) >= idle:
                connection.sever(ControlSignal.FIN)
        await asyncio.sleep(0.01)
