"""The numbered stream: no event is lost, doubled or sent too early, whenever a client comes back."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from resilience.config import ClientConfig, QuizConfig
from resilience.protocol.messages import (
    Join,
    Joined,
    LeaderboardShown,
    Message,
    QuestionOpened,
    QuestionRevealed,
    QuizFinished,
    Resume,
    SequencedMessage,
    Snapshot,
    StateRestored,
)
from resilience.protocol.states import ClientState
from tests.support.machines import RoomHarness
from tests.support.virtual_server import URL, WAITING, VirtualServerHarness, act
from tests.support.websocket import dial, hear, say

MS = 0.001
OPENS_AT = 10.0
QUIZ = QuizConfig(questions=2, lobby=OPENS_AT, question_time=10, reveal_time=10, leaderboard_time=1000)
PHASE_AFTER: dict[type[Message], str] = {
    QuestionOpened: "question",
    QuestionRevealed: "reveal",
    LeaderboardShown: "leaderboard",
    QuizFinished: "finished",
}


@pytest.mark.parametrize("lost", ["question", "reveal", "leaderboard"])
def test_f25_quiet_gap(lost: str) -> None:
    """The last event before a long silence is lost: nothing that comes later could show the gap.

    The client detects the silence by itself, comes back, and receives the position of the stream at once.
    """
    at = {"question": 10.0, "reveal": 20.0, "leaderboard": 30.0}[lost]

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUIZ)
        ada = harness.client()
        await harness.opened(ada)
        await asyncio.sleep(at - 0.5 - harness.clock.now())
        harness.link.blackhole(up=False, down=True)
        probed = ClientConfig().probe_after + ClientConfig().probe_deadline
        await harness.until(lambda: ada.state is not ClientState.OPEN, within=probed + 1)
        assert harness.room.game.phase == lost
        assert ada.machine.seq < harness.room.seq
        harness.link.heal()
        await harness.opened(ada, within=1)
        assert ada.machine.seq == harness.room.seq
        assert harness.told("ada", StateRestored)[-1].snapshot.phase == lost

    act(script)


@pytest.mark.parametrize("back", [False, True])
def test_f26_snapshot_live_gap(back: bool) -> None:
    """Sixty clients join, or come back, a quarter of a millisecond apart while a question opens and presence changes.

    Each gets a snapshot at some position and then every number after it: no gap, nothing twice.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUIZ)
        host = harness.client("first", url=URL)
        await harness.opened(host)
        crowd = harness.crowd(60)
        if back:
            await harness.opened(*crowd)
            await asyncio.sleep(1)
            harness.link.refuse(True)
            await asyncio.sleep(1)
        opens_at = harness.room.game.phase_ends_at
        assert opens_at is not None
        await asyncio.sleep(opens_at - 0.012 - harness.clock.now())
        harness.link.refuse(False)
        for client in crowd:
            client.wake() if back else client.start()
            await asyncio.sleep(MS / 4)
        await harness.opened(*crowd, within=5)
        await asyncio.sleep(5)
        assert {client.machine.seq for client in crowd} == {harness.room.seq}
        kind: type[Joined | StateRestored] = StateRestored if back else Joined
        positions = {harness.told(name, kind)[0].snapshot.phase for name in harness.heard if name != "first"}
        assert positions == {"lobby", "question"}

    act(script)


def test_f27_zero_event_resume() -> None:
    """A client drops out before it has heard a single event.

    It resumes all the same, from position 0 on, and then hears what the others hear.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        socket = await dial()
        await say(socket, Join(event="quiz", name="ada", instance="i"))
        joined = await hear(socket, Joined)
        socket.transport.abort()
        assert joined.snapshot.seq == 0
        again = await dial()
        mine = joined.credentials.token
        await say(again, Resume(event="quiz", token=mine))
        back = await hear(again, StateRestored)
        assert (back.rejoined, back.credentials.participant) == (False, "p1")
        await again.close()

    act(script)


def test_f27_zero_event_resume_at_position_0() -> None:
    """The room itself has sent nothing yet; the snapshot lists the participants all the same."""
    room_harness = RoomHarness()
    token = room_harness.join(1).token
    assert room_harness.room.seq == 0
    room_harness.lose(1)
    back = room_harness.resume(2, token)
    assert (back.participant, room_harness.restored(2).snapshot.seq) == ("p1", 0)
    room_harness.run(20.0)
    numbers = [message.seq for message in room_harness.sent[2] if isinstance(message, SequencedMessage)]
    assert numbers == list(range(1, len(numbers) + 1)) != []


@pytest.mark.parametrize("closing", ["question", "reveal"])
def test_f31_rejoin_phase_change(closing: str) -> None:
    """Sixty handshakes are under way while a question closes, or its reveal ends.

    The phase of each snapshot is the one that the stream had reached at its position. The right answer, and the points
    it brought, are in none that was made before the reveal.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUIZ)
        observer, crowd = harness.client("observer", url=URL), harness.crowd(60)
        await harness.opened(observer, *crowd)
        await harness.until(lambda: harness.room.game.phase == "question")
        for client in crowd:
            client.answer("q1", harness.room.game.questions[0].correct)
        await harness.until(lambda: harness.room.game.phase == closing)
        await asyncio.sleep(1)
        harness.link.refuse(True)
        ends_at = harness.room.game.phase_ends_at
        assert ends_at is not None
        await asyncio.sleep(ends_at - 0.012 - harness.clock.now())
        harness.link.refuse(False)
        for client in crowd:
            client.wake()
            await asyncio.sleep(MS / 4)
        await harness.opened(*crowd, within=5)
        await asyncio.sleep(1)

    harness = act(script)
    phase_at = _phases([message for message in harness.heard["observer"] if isinstance(message, SequencedMessage)])
    snapshots = [m.snapshot for name in harness.heard for m in harness.told(name, StateRestored)]
    assert len({snapshot.phase for snapshot in snapshots}) == 2
    assert [line for snapshot in snapshots for line in _wrong(snapshot, phase_at)] == []


def _phases(stream: list[SequencedMessage]) -> dict[int, str]:
    """The phase at each position, as a client knows it that received the whole stream."""
    assert all(after.seq == before.seq + 1 for before, after in pairwise(stream))
    phase, phases = "lobby", {0: "lobby"}
    for message in stream:
        phase = PHASE_AFTER.get(type(message), phase)
        phases[message.seq] = phase
    return phases


def _wrong(snapshot: Snapshot, phase_at: dict[int, str]) -> list[str]:
    secret = snapshot.phase == "question"
    found = []
    if phase_at[snapshot.seq] != snapshot.phase:
        found.append(f"{snapshot.phase} at {snapshot.seq}, the stream was in {phase_at[snapshot.seq]}")
    if snapshot.question is None or (snapshot.question.correct is None) != secret:
        found.append(f"the right answer in {snapshot.phase}: {snapshot.question}")
    if (snapshot.score == 0) != secret:
        found.append(f"a score of {snapshot.score} in {snapshot.phase}")
    return found
