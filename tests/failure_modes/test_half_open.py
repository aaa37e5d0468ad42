"""Links that are dead without saying so: who notices, how soon, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import ClientMessage, Join, Joined, Ping, Pong, PresenceChanged
from resilience.protocol.states import ClientState, ConnectionState
from tests.support.virtual_server import CALM, LATENCY, SHARED, URL, WAITING, VirtualServerHarness, act, url_of
from tests.support.websocket import dial, hear, say

PROBED = ClientConfig().probe_after + ClientConfig().probe_deadline
GRACE, CLEANUP = ServerConfig().grace_period, ServerConfig().cleanup_interval
PATIENT = ClientConfig().backoff.window_until
"""An outage that lasts longer is waited for with the slow ladder."""

TICK = 0.5


@pytest.mark.parametrize("seconds", [5, 15, 35, 90])
@pytest.mark.parametrize("closes_pass", [True, False])
def test_f01_half_open_both(seconds: int, closes_pass: bool) -> None:
    """Bytes vanish both ways for 5 to 90 s, with and without the closes that the ends send.

    The client notices within its probe limit. Where not even its close gets through, the server marks it away within
    the grace period, give or take a tick. What was answered meanwhile is stored once, when the link is back.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        ada = harness.client()
        await harness.opened(ada)
        await asyncio.sleep(20)
        hit_at = harness.clock.now()
        _silence(harness, on=True, closes_pass=closes_pass)
        await asyncio.sleep(1)
        ada.answer("q1", 1)
        await asyncio.sleep(seconds - 1)
        healed_at = harness.clock.now()
        _silence(harness, on=False, closes_pass=closes_pass)
        soon = 10 if seconds < PATIENT else ClientConfig().backoff.ladder.maximum + TICK
        await harness.until(lambda: ada.state is ClientState.OPEN and not ada.machine.pending, within=soon)
        _noticed(harness, hit_at, healed_at, closes_pass=closes_pass)

    harness = act(script)
    assert len(harness.of(LogEventKind.ANSWER_COMMITTED)) == 1
    assert [event.outcome for event in harness.of(LogEventKind.ANSWER_ACKED)] == ["accepted"]


def _silence(harness: VirtualServerHarness, *, on: bool, closes_pass: bool) -> None:
    if closes_pass:
        harness.link.blackhole(up=on, down=on)
    else:
        harness.link.freeze(on)


def _noticed(harness: VirtualServerHarness, hit_at: float, healed_at: float, *, closes_pass: bool) -> None:
    """Both ends, as soon as they could."""
    lasted = healed_at - hit_at
    dead = harness.of(LogEventKind.PEER_DEAD)
    assert dead if lasted > PROBED else len(dead) <= 1
    assert not dead or dead[0].t - hit_at <= PROBED + TICK
    away = [event for event in harness.of(LogEventKind.SESSION_DETACHED) if event.t < healed_at]
    if closes_pass:
        assert [event.t - hit_at <= PROBED + TICK for event in away[:1]] == [True] * len(dead[:1])
    elif lasted > GRACE:
        assert away[0].cause == "grace"
        assert GRACE - ClientConfig().probe_after - TICK <= away[0].t - hit_at <= GRACE + TICK
    else:
        assert not away
    expired = [event.t - hit_at for event in harness.of(LogEventKind.SESSION_EXPIRED)]
    assert all(CLEANUP - PROBED - TICK <= t <= CLEANUP + PROBED + TICK for t in expired)
    assert len(expired) == (lasted > CLEANUP + PROBED)


@pytest.mark.parametrize("dead", ["up", "down"])
@pytest.mark.parametrize("owed", [True, False])
def test_f02_half_open_oneway(dead: Literal["up", "down"], owed: bool) -> None:
    """Bytes vanish in one direction only, while the room is busy in the other.

    An end that still hears does not take that for proof that it is heard: a client that waits for a verdict finds out
    by its probe, any other is let go by the server at the end of the grace period. Either way both agree in the end.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(flap_hidden=0.0), CALM)
        ada, fidget = harness.client(), harness.client("fidget", url=URL)
        await harness.opened(ada, fidget)
        await asyncio.sleep(5)
        hit_at = harness.clock.now()
        harness.link.blackhole(up=dead == "up", down=dead == "down")
        if owed:
            ada.answer("q1", 1)
        chatter = asyncio.get_running_loop().create_task(_fidgeting(harness))
        limit = GRACE if dead == "up" and not owed else 2 * ClientConfig().probe_after + PROBED
        await harness.until(lambda: ada.state is not ClientState.OPEN, within=limit + TICK)
        await harness.until(lambda: harness.session().connection is None, within=GRACE + TICK)
        assert harness.clock.now() - hit_at <= GRACE + TICK
        chatter.cancel()
        harness.link.blackhole(up=False, down=False)
        await harness.until(lambda: ada.state is ClientState.OPEN and not ada.machine.pending, within=10)
        assert harness.session().state is ConnectionState.CONNECTED

    harness = act(script)
    assert len(harness.told("ada", PresenceChanged)) > (5 if dead == "up" else 0)
    assert len(harness.of(LogEventKind.ANSWER_COMMITTED)) == owed


async def _fidgeting(harness: VirtualServerHarness) -> None:
    """A client comes and goes, so that the room always has presence to send."""
    number = 0
    while True:
        number += 1
        socket = await dial()
        await say(socket, Join(event="quiz", name="x", instance=f"x{number}"))
        await hear(socket, Joined)
        await asyncio.sleep(1)
        await socket.close()


def test_f09_two_strikes() -> None:
    """Exactly one pong is lost on a link that is well otherwise.

    One miss changes nothing, neither for our client, which asks by itself, nor for a peer that only ever answers: it is
    asked again half an interval later. The whole grace period without a message does.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        dull = await dial()
        await say(dull, Join(event="quiz", name="dull", instance="d"))
        await hear(dull, Joined)
        await say(dull, Pong((await hear(dull, Ping)).id))
        await hear(dull, Ping)  # not answered
        await say(dull, Pong((await hear(dull, Ping)).id))
        heard_at = harness.clock.now()
        await asyncio.sleep(29)
        assert harness.session().state is ConnectionState.CONNECTED
        await harness.until(lambda: harness.session().state is not ConnectionState.CONNECTED, within=2)
        assert abs(harness.clock.now() - heard_at - 30) < TICK

    (away,) = act(script).of(LogEventKind.SESSION_DETACHED)
    assert (away.session_id, away.cause) == ("p1", "grace")


def test_f09_two_strikes_of_a_client_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the plain settings, whose grace is two intervals: our client's own probes are signs of life too."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        ada = harness.client()
        await harness.opened(ada)
        lost = _lose_one_pong(ada, monkeypatch)
        await asyncio.sleep(90)
        assert len(lost) == 1
        assert ada.state is ClientState.OPEN

    assert not act(script).of(LogEventKind.SESSION_DETACHED)


def _lose_one_pong(client: ReconnectingClient, patched: pytest.MonkeyPatch) -> list[ClientMessage]:
    """The next pong of this client goes nowhere; returns where it is kept."""
    lost: list[ClientMessage] = []
    send = ReconnectingClient._send

    def send_all_but_one(sender: ReconnectingClient, message: ClientMessage) -> None:
        if sender is client and isinstance(message, Pong) and not lost:
            lost.append(message)
        else:
            send(sender, message)

    patched.setattr(ReconnectingClient, "_send", send_all_but_one)
    return lost


@pytest.mark.parametrize("cut_after", [0.5, 4.5, 5.9])
def test_f10_stale_ack_carried_over(cut_after: float) -> None:
    """The link breaks while a ping, a probe or both are unanswered; the client is back a moment later.

    Liveness begins again with each connection: a reply that the old one owed does not count for the new one, and the
    client does not reconnect again and again.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        ada = harness.client()
        await harness.opened(ada)
        await harness.until(lambda: bool(harness.of(LogEventKind.PONG_SENT)), step=LATENCY / 10)
        harness.link.stall(up=True, down=True)
        await asyncio.sleep(cut_after)
        harness.link.cut()
        harness.link.stall(up=False, down=False)
        assert not harness.of(LogEventKind.HEARTBEAT_ACKED)
        await asyncio.sleep(10 * LATENCY)
        back_in = await harness.opened(ada, within=5)
        assert back_in < 1
        await asyncio.sleep(120)
        assert ada.state is ClientState.OPEN

    harness = act(script)
    assert len(harness.of(LogEventKind.SESSION_RESTORED)) == 1
    assert len(harness.of(LogEventKind.SESSION_DETACHED)) <= 1
    assert not harness.of(LogEventKind.PEER_DEAD)


def test_f13_half_open_owner_lockout() -> None:
    """The old socket is half-open, and its owner is back within milliseconds by another way.

    It is let in at once, not when the old one's ping has timed out, and never rejected because it is connected already.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        ada = harness.client()
        await harness.opened(ada)
        await asyncio.sleep(1)
        harness.link.freeze(True)
        again = harness.tab("ada again", ada, url_of(harness.another_link("mobile")))
        assert await harness.opened(again, within=1) < 20 * LATENCY
        assert again.machine.participant == ada.machine.participant == "p1"
        assert harness.session().connection_no == 2

    harness = act(script, without=SHARED)
    assert not harness.of(LogEventKind.SESSION_REJECTED)
    assert not harness.of(LogEventKind.SESSION_DETACHED)
    assert not harness.of(LogEventKind.BACKOFF_SCHEDULED, "ada again")
