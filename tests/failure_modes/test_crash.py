"""The server dies: what it had acknowledged lives on. The whole of it is in the crash tests of both lanes."""

from __future__ import annotations

import asyncio

import pytest

from resilience.config import QuizConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import AnswerResult, StateRestored
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from tests.support.virtual_server import VirtualServerHarness, act

MS = 0.001
QUIZ = QuizConfig(questions=2, lobby=6, question_time=20, reveal_time=100)


@pytest.mark.parametrize("after", [0.0, 1.5, 2.5, 3.5, 4.5, 6.0, 1000.0])
def test_f29_crash_restart(after: float) -> None:
    """The server is killed ``after`` ms after a player has answered, at every step on the way of that answer.

    What was acknowledged is there after the restart, what was not is sent again; it counts once. The question closes
    when it was to close, the stream has a new epoch, and all clients resume as the same participants.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUIZ)
        ada, bob = harness.client(), harness.client("bob")
        await harness.opened(ada, bob)
        await harness.until(lambda: harness.room.game.phase is Phase.QUESTION)
        epoch, closes_at = harness.room.epoch, harness.room.game.progress.closes_at
        ada.answer("q1", harness.room.game.questions[0].correct)
        await asyncio.sleep(after * MS)
        acked = not ada.machine.pending
        harness.crash()
        await asyncio.sleep(2)
        await harness.restart()
        assert harness.room.epoch != epoch
        if acked:
            assert harness.room.game.scores["p1"] > 0
        await harness.opened(ada, bob, within=5)
        await harness.until(lambda: not ada.machine.pending, within=1)
        await harness.until(lambda: harness.room.game.phase is Phase.REVEAL)
        (closed,) = harness.of(LogEventKind.QUESTION_CLOSED)
        assert abs(closed.t - closes_at) < MS
        assert (
            harness.room.game.scores == {"p1": harness.room.game.recomputed_score("p1"), "p2": 0} != {"p1": 0, "p2": 0}
        )
        for name, client in (("ada", ada), ("bob", bob)):
            (back,) = harness.told(name, StateRestored)
            assert (client.state, back.rejoined, back.snapshot.epoch) == (ClientState.OPEN, False, harness.room.epoch)

    harness = act(script, commit=2 * MS)
    assert [result.verdict for result in harness.told("ada", AnswerResult)] == ["accepted"]
