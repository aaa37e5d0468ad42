"""Identity: tokens that are stolen, replies that are lost, sessions that expire while their owner reconnects."""

from __future__ import annotations

import asyncio
import itertools
from typing import Literal

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol import codec
from resilience.protocol.messages import (
    Join,
    Joined,
    Leave,
    Probe,
    Resume,
    ResumeRejected,
    StateRestored,
    TokenStored,
)
from resilience.protocol.states import ClientState, ConnectionState
from resilience.quiz.phases import Phase
from tests.support.machines import RoomHarness, credentials_in, resume
from tests.support.virtual_server import CALM, HOST, SHARED, URL, WAITING, VirtualServerHarness, act, empty_store
from tests.support.websocket import close_code, dial, hear, say

JOIN = Join(event="quiz", name="ada", instance="i")
CLEANUP = ServerConfig().cleanup_interval
MS = 0.001


def back_with(token: str) -> Resume:
    """Come back with a token."""
    return Resume(event="quiz", token=token)


def test_f14_token_theft() -> None:
    """An attacker tries a made-up token, a token that was replaced, and another's name.

    The first two are refused, and the second is recorded with its owner's id; the name makes a new participant.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        owner, thief = await dial(), await dial()
        await say(owner, JOIN)
        old = (await hear(owner, Joined)).credentials
        await say(owner, TokenStored(1))
        again = await dial()
        await say(again, back_with(old.token))
        await hear(again, StateRestored)
        await say(again, TokenStored(2))
        await asyncio.sleep(2)
        await say(thief, back_with("made up"))
        assert (await hear(thief, ResumeRejected)).reason == "unknown"
        await say(thief, back_with(old.token))
        assert (await hear(thief, ResumeRejected)).reason == "retired"
        assert (await close_code(thief))[0] == 4200
        thief = await dial()
        await say(thief, JOIN)
        assert (await hear(thief, Joined)).credentials.participant == "p2"
        await thief.close()

    refused = act(script, without=SHARED).of(LogEventKind.RESUME_REFUSED)
    assert [(event.cause, event.session_id) for event in refused] == [("unknown", None), ("retired", "p1")]


def test_f14_token_theft_of_the_token_of_now() -> None:
    """The current token lets any client in, and its owner is notified; no restart makes an old token valid again."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        owner, sniffer = await dial(), await dial()
        await say(owner, JOIN)
        old = (await hear(owner, Joined)).credentials
        await say(owner, TokenStored(1))
        await say(sniffer, back_with(old.token))
        fresh = (await hear(sniffer, StateRestored)).credentials
        assert (await close_code(owner))[0] == 4200
        await say(sniffer, TokenStored(2))
        await asyncio.sleep(2)
        harness.crash()
        await harness.restart()
        late = await dial()
        await say(late, back_with(old.token))
        await hear(late, ResumeRejected)
        await say(late, back_with(fresh.token))
        await hear(late, StateRestored)
        await late.close()

    act(script, without=SHARED)


@pytest.mark.parametrize("how", ["cut", "hole"])
@pytest.mark.parametrize("back", [False, True])
def test_f15_lost_rotation_reply(how: Literal["cut", "hole"], back: bool) -> None:
    """The link breaks at each half millisecond of a join, or of a return: so between any two messages of it, too.

    The server may have given a new token that its client never saw. In the end the client is the same participant with
    what it had, and no other participant exists.
    """
    restored = sum(len(_broken_off(how, 0.0005 * i, back=back).of(LogEventKind.SESSION_RESUMED)) for i in range(28))
    assert restored > (28 if back else 10)


def _broken_off(how: Literal["cut", "hole"], after: float, *, back: bool) -> VirtualServerHarness:
    """One scene in which a handshake is broken off twice, so many seconds after it began."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        ada = harness.client()
        if back:
            await harness.opened(ada)
            await asyncio.sleep(6)
            harness.link.cut()
            await harness.until(lambda: ada.state is ClientState.BACKING_OFF, step=MS)
        ada.start()
        for _ in range(2):
            ada.wake()
            await asyncio.sleep(after)
            await _break(harness, how)
        await harness.opened(ada, within=15)
        await asyncio.sleep(3)
        assert list(harness.room.sessions) == [ada.machine.participant]
        assert back is False or ada.machine.participant == "p1"
        assert len(harness.room._attendance._tokens.state_of(str(ada.machine.participant)).hashes) == 1

    return act(script)


async def _break(harness: VirtualServerHarness, how: Literal["cut", "hole"]) -> None:
    if how == "hole":
        harness.link.blackhole(up=False, down=True)
        await asyncio.sleep(0.02)
        harness.link.blackhole(up=False, down=False)
    harness.link.cut()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("away", [2, 100])
def test_f28_blank_state_on_rejoin(away: int) -> None:
    """A player drops out and comes back in every phase of a quiz, before and after the clean-up.

    It finds its score, its answer and its place as they were: the session and the event keep the same objects.
    """
    phases = [Phase.LOBBY, Phase.QUESTION, Phase.REVEAL, Phase.LEADERBOARD, Phase.FINISHED]
    for phase in phases:
        _returns_in(phase, away)


def _returns_in(phase: Phase, away: float) -> None:
    long = QuizConfig(questions=1, lobby=200, question_time=200, reveal_time=200, leaderboard_time=200)

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=long)
        ada = harness.client()
        await harness.opened(ada)
        before = harness.session()
        if phase is not Phase.LOBBY:
            await asyncio.sleep(201)
            ada.answer("q1", harness.room.game.questions[0].correct)
        await harness.until(lambda: harness.room.game.phase is phase, within=1000, step=1)
        score, seen = harness.room.game.visible_score("p1"), ada.machine.seq
        await asyncio.sleep(6)
        harness.link.refuse(True)
        await asyncio.sleep(away)
        harness.link.refuse(False)
        await harness.opened(ada, within=31)
        (back,) = harness.told("ada", StateRestored)
        assert harness.session() is before
        assert (back.snapshot.phase, back.snapshot.score) == (phase, score)
        assert back.rejoined == (away > CLEANUP)
        assert back.snapshot.seq >= seen
        open_now = phase not in {Phase.LOBBY, Phase.FINISHED}
        assert back.snapshot.answer == (harness.room.game.questions[0].correct if open_now else None)
        assert (score > 0) == (phase in {Phase.REVEAL, Phase.LEADERBOARD, Phase.FINISHED})

    act(script)


AROUND = [*range(-50, -1, 7), *(i / 5 for i in range(-5, 6)), *range(2, 51, 7)]
"""Milliseconds from the clean-up; a fifth of one where it matters."""


@pytest.mark.parametrize("offset", AROUND)
def test_f30_sweep_vs_rejoin(offset: float) -> None:
    """The owner's resume reaches the server within 50 ms of the clean-up of its session, before or after it.

    Either the clean-up has happened, and the answer says so, or it never does: no session is half of each, and it then
    lives on as any other.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        socket = await dial()
        await say(socket, JOIN)
        token = (await hear(socket, Joined)).credentials.token
        await socket.close()
        await harness.until(lambda: harness.session().connection is None, step=MS)
        expires_at = harness.room._attendance._heartbeats.next_deadline()
        assert expires_at is not None
        await asyncio.sleep(expires_at - 1 - harness.clock.now())
        again = await dial()
        await asyncio.sleep(expires_at + offset * MS - harness.clock.now() - MS)
        await say(again, back_with(token))
        back = await hear(again, StateRestored)
        assert back.rejoined == bool(harness.of(LogEventKind.SESSION_EXPIRED))
        if abs(offset) >= 1:
            assert back.rejoined == (offset > 0)
        answering = asyncio.get_running_loop().create_task(_lively(again))
        await asyncio.sleep(2 * CLEANUP)
        assert (harness.session().state, harness.session().connection_no) == (ConnectionState.CONNECTED, 2)
        assert len(harness.of(LogEventKind.SESSION_EXPIRED)) == back.rejoined
        assert harness.of(LogEventKind.SESSION_RESUMED)[0].outcome == ("rejoined" if back.rejoined else "resumed")
        await again.close()
        await answering

    act(script)


async def _lively(socket: ClientConnection) -> None:
    """Say something every few seconds."""
    try:
        for i in itertools.count():
            await say(socket, Probe(i))
            await asyncio.sleep(5)
    except ConnectionClosed:
        return


@pytest.mark.parametrize("first", ["sweep", "resume"])
def test_f30_sweep_vs_rejoin_at_one_instant(first: Literal["sweep", "resume"]) -> None:
    """Both fall on the very same instant, in either order: the room alone, whose driver may call it in any order."""
    room_harness = RoomHarness()
    token = room_harness.join(1).token
    room_harness.run(10.0)
    room_harness.lose(1)
    at = room_harness.room._attendance._heartbeats.next_deadline()
    assert at is not None
    room_harness.run(at - 0.001)  # what else is due comes on time: a late call would give the absence its lag back
    room_harness.now = at
    for step in ("sweep", "resume") if first == "sweep" else ("resume", "sweep"):
        if step == "sweep":
            room_harness.room.handle_timeout(at)
            room_harness.collect()
        else:
            room_harness.say(2, resume(token))
    assert room_harness.restored(2).rejoined == (first == "sweep")
    assert room_harness.room.sessions["p1"].state is ConnectionState.CONNECTED
    for second in range(1, 200):
        room_harness.run(at + second)
        room_harness.say(2, Probe(second))
    assert room_harness.room.sessions["p1"].state is ConnectionState.CONNECTED
    assert credentials_in(room_harness.restored(2)).connection_no == 2


def test_f36_resume_loop() -> None:
    """The server does not know the token: it has lost its database.

    The client asks once, and then joins as a new participant over the same connection, within one dial.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        first, ada = await dial(), harness.client()
        await say(first, JOIN)
        await hear(first, Joined)
        await say(first, Leave())
        await harness.opened(ada)
        await asyncio.sleep(6)
        harness.crash()
        await harness.serve(quiz=WAITING, store=empty_store())
        dials = ada.machine.dial
        await harness.until(lambda: ada.state is not ClientState.OPEN)
        await harness.opened(ada, within=5)
        assert ada.machine.dial == dials + 1
        await asyncio.sleep(60)

    harness = act(script, without=(*SHARED, "one_live_connection", "announced_once"))
    assert len(harness.of(LogEventKind.SESSION_REJECTED)) == 1
    assert len(harness.of(LogEventKind.SESSION_JOINED, "ada")) == 2
    assert len(harness.of(LogEventKind.RESUME_REFUSED)) == 1


def test_f36_resume_loop_of_a_server_that_rejects_everything() -> None:
    """A broken server rejects whatever is said to it: the client climbs its ladder, and asks each time for little."""
    asked: list[str] = []

    async def reject(socket: ServerConnection) -> None:
        async for data in socket:
            asked.append(type(codec.decode_client(data)).__name__)
            await socket.send(codec.encode(ResumeRejected("unknown")), text=True)

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        ada = harness.client(url=URL)
        await harness.opened(ada)
        await asyncio.sleep(6)
        harness.crash()
        async with serve(reject, HOST, 80, ping_interval=None):
            await asyncio.sleep(60)
            await ada.stop()

    act(script, without=SHARED)
    assert asked[:2] == ["Resume", "Join"]
    assert set(asked[2:]) == {"Join"}
    assert len(asked) < 50
