"""Answers on bad links: acknowledged when stored, stored once, and never without a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    Join,
    Joined,
    QuestionRevealed,
    Resume,
    StateRestored,
    TokenStored,
)
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from tests.support.virtual_server import CALM, URL, VirtualServerHarness, act
from tests.support.websocket import dial, hear, say

MS = 0.001
SHORT = QuizConfig(questions=2, lobby=1, question_time=10, reveal_time=60)
CLOSES_AT = 11.0
"""When the first question of ``SHORT`` closes, give or take what the first join took."""


@pytest.mark.parametrize("after", [i / 2 for i in range(1, 19)])
def test_f22_lost_ack(after: float) -> None:
    """The link breaks ``after`` ms after an answer was sent: before it arrives, before it is stored, before the ack.

    The client sends it again. There is exactly one row, one score and one verdict, the same as without the break.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        ada = harness.client()
        await harness.opened(ada)
        await asyncio.sleep(5)
        ada.answer("q1", harness.room.game.questions[0].correct)
        await asyncio.sleep(after * MS)
        harness.link.cut()
        await asyncio.sleep(MS)
        await harness.until(lambda: ada.state is ClientState.OPEN and not ada.machine.pending, within=5)
        await asyncio.sleep(5)
        assert harness.room.game.scores["p1"] == harness.room.game.recomputed_score("p1") > 0
        assert harness.store.scores("quiz#1") == harness.room.game.scores

    harness = act(script, latency=2 * MS)
    assert len(harness.of(LogEventKind.ANSWER_COMMITTED)) == 1
    assert [result.verdict for result in harness.told("ada", AnswerResult)] == ["accepted"]


@pytest.mark.parametrize(
    "window, answered, away_from, away_until, verdict",
    [
        (0.0, 9.0, 8.0, 9.5, "accepted"),  # back before the close
        (0.0, 9.0, 8.0, 11.5, "rejected_late"),  # there is no late window unless it is wanted
        (2.0, 9.0, 8.0, 12.0, "accepted"),  # the outage overlapped the close, and ended within the window
        (2.0, 9.0, 8.0, 14.0, "rejected_late"),  # it ended after the window
        (2.0, 11.5, 9.0, 9.5, "rejected_late"),  # back in time, but slow
        (2.0, 11.5, 30.0, 30.0, "rejected_late"),  # never away: the late window is not for every participant
    ],
)
def test_f23_offline_answer_late(
    window: float, answered: float, away_from: float, away_until: float, verdict: str
) -> None:
    """An answer is given while its player is offline, and its question closes before the player is back.

    It is rejected as late in so many words, or accepted by the written rule; whenever its client says it was given.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(late_window=window), SHORT)
        ada = harness.client()
        await harness.opened(ada)
        happens: list[tuple[float, Callable[[], object]]] = [
            (answered, lambda: ada.answer("q1", harness.room.game.questions[0].correct)),
            (away_from, lambda: harness.link.refuse(True)),
            (away_until, lambda: harness.link.refuse(False)),
            (away_until + 0.05, ada.wake),
        ]
        for at, action in sorted(happens, key=lambda entry: entry[0]):
            await asyncio.sleep(max(at - harness.clock.now(), 0))
            action()
        await harness.until(lambda: ada.state is ClientState.OPEN and not ada.machine.pending, within=2)
        assert harness.room.game.phase is (Phase.REVEAL if harness.clock.now() > CLOSES_AT + MS else Phase.QUESTION)
        assert harness.store.scores("quiz#1")["p1"] == harness.room.game.recomputed_score("p1")

    harness = act(script)
    assert [result.verdict for result in harness.told("ada", AnswerResult)] == [verdict]
    assert len(harness.of(LogEventKind.ANSWER_COMMITTED)) == (verdict == "accepted")


def test_f41_late_window_take_over() -> None:
    """A connected player is shown the right answer, opens a second socket with its own token, and answers there.

    The late window is for outages: the answer is as late as over the first socket.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(late_window=2.0), SHORT)
        old = await dial()
        await say(old, Join(event="quiz", name="ada", instance="i"))
        token = (await hear(old, Joined)).credentials.token
        await say(old, TokenStored(1))
        shown = await hear(old, QuestionRevealed)
        new = await dial(URL)
        await say(new, Resume(event="quiz", token=token))
        await hear(new, StateRestored)
        await say(new, Answer("q1", shown.correct, "k"))
        assert (await hear(new, AnswerResult)).verdict == "rejected_late"
        assert harness.room.game.scores == {"p1": 0}
        await new.close()

    act(script)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("ahead", [20, 8, 6, 4, 2, 0, -1, -3, -8])
def test_f24_double_submit_race(ahead: int, same: bool) -> None:
    """An answer leaves by the old socket ``ahead`` ms before the new one takes over and sends it again, or another.

    The first to arrive wins. The same answer gets the same verdict twice, another one is a duplicate; what the old
    socket says once it is replaced is not heard.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        old, new = await dial(), await dial(URL)
        await say(old, Join(event="quiz", name="ada", instance="i"))
        token = (await hear(old, Joined)).credentials.token
        await say(old, TokenStored(1))
        await asyncio.sleep(4)
        await asyncio.gather(_submit_old(old, -ahead * MS), _submit_new(new, token, same, ahead * MS))
        await say(new, Answer("q1", 1, "k"))
        repeated = await hear(new, AnswerResult)
        (stored,) = harness.of(LogEventKind.ANSWER_COMMITTED)
        assert (repeated.verdict == "accepted") == (stored.ref == "q1/k")
        await new.close()

    harness = act(script, commit=5 * MS)
    assert len(harness.of(LogEventKind.ANSWER_COMMITTED)) == 1
    accepted = {event.ref for event in harness.of(LogEventKind.ANSWER_REPLIED) if event.outcome == "accepted"}
    assert accepted <= {harness.of(LogEventKind.ANSWER_COMMITTED)[0].ref}


async def _submit_old(socket: ClientConnection, delay: float) -> None:
    await asyncio.sleep(max(delay, 0))
    with suppress(ConnectionClosed):
        for _ in range(3):
            await say(socket, Answer("q1", 1, "k"))
            await asyncio.sleep(2 * MS)


async def _submit_new(socket: ClientConnection, token: str, same: bool, delay: float) -> None:
    await asyncio.sleep(max(delay, 0))
    await say(socket, Resume(event="quiz", token=token))
    await hear(socket, StateRestored)
    answer = Answer("q1", 1, "k") if same else Answer("q1", 2, "other")
    await say(socket, answer)
    assert (await hear(socket, AnswerResult)).verdict in {"accepted", "duplicate"}


def test_f24_double_submit_race_on_one_socket() -> None:
    """Both copies wait for the same commit: one row, the same verdict twice; a third, other one is a duplicate."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        socket = await dial()
        await say(socket, Join(event="quiz", name="ada", instance="i"))
        await hear(socket, Joined)
        await asyncio.sleep(2)
        await say(socket, Answer("q1", 1, "k"), Answer("q1", 1, "k"), Answer("q1", 2, "other"))
        assert [(await hear(socket, AnswerResult)).verdict for _ in range(3)] == ["accepted", "accepted", "duplicate"]
        await socket.close()

    assert len(act(script, commit=50 * MS).of(LogEventKind.ANSWER_COMMITTED)) == 1
