"""A computer that was suspended while its client took part: the time left for a question is true again."""

from __future__ import annotations

import asyncio

from resilience.client import connect
from resilience.config import QuizConfig
from resilience.protocol.messages import Message, StateRestored
from tests.support.virtual_server import LINKED, VirtualServerHarness, play


def test_after_a_suspension_the_time_left_is_asked_for_again() -> None:
    """A snapshot has the time that is left; without an open question the connection is kept."""
    shown: list[Message] = []

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(questions=1, lobby=5, question_time=60))
        async with connect(LINKED, name="Ada", deliver=shown.append) as client:
            await asyncio.sleep(2)
            client._on_sleep()
            await asyncio.sleep(8)
            client._on_sleep()
            await asyncio.sleep(2)

    play(script)
    (restored,) = [message for message in shown if isinstance(message, StateRestored)]
    assert restored.snapshot.question is not None
    assert 50_000 < restored.snapshot.question.remaining_ms < 58_000
