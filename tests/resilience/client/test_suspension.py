"""A computer that was suspended while its client took part: the time left for a question is true again."""

from __future__ import annotations

import asyncio

import pytest

from resilience.client import connect
from resilience.client.suspend import CHECK_INTERVAL_S, SuspendDetector
from resilience.config import QuizConfig
from resilience.protocol.messages import Message, StateRestored
from resilience.protocol.states import ClientState
from tests.support.virtual_server import LINKED, VirtualServerHarness, play


class Computer:
    """What all clients run on. ``asleep``: seconds for which it has been suspended."""

    def __init__(self) -> None:
        self.asleep = 0.0
        self.detector = SuspendDetector(lambda: self.asleep)


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> Computer:
    """The computer of every client."""
    made = Computer()
    monkeypatch.setattr("resilience.client.driver.suspend_detector", lambda: made.detector)
    return made


def test_after_a_suspension_the_time_left_is_asked_for_again(computer: Computer) -> None:
    """A snapshot has the time that is left; without an open question the connection is kept."""
    shown: list[Message] = []

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(questions=1, lobby=5, question_time=60))
        async with connect(LINKED, name="Ada", deliver=shown.append) as client:
            await asyncio.sleep(2)
            computer.asleep += 3600.0
            await asyncio.sleep(8)
            assert not [message for message in shown if isinstance(message, StateRestored)]
            computer.asleep += 3600.0
            await asyncio.sleep(2)
            assert client.state is ClientState.OPEN

    play(script)
    (restored,) = [message for message in shown if isinstance(message, StateRestored)]
    assert restored.snapshot.question is not None
    assert 50_000 < restored.snapshot.question.remaining_ms < 58_000


def test_a_client_that_is_stopped_while_its_wake_up_is_due_stays_stopped(computer: Computer) -> None:
    """The detector calls each client in the turn after it has read the clocks, in which this one is stopped first."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=QuizConfig(questions=1, lobby=1, question_time=60))
        client, loop, stopping = connect(LINKED, name="Ada"), asyncio.get_running_loop(), list[asyncio.Task[None]]()
        loop.call_later(4 * CHECK_INTERVAL_S, lambda: stopping.append(loop.create_task(client.stop())))
        client.start()
        await asyncio.sleep(3.5 * CHECK_INTERVAL_S)
        assert client.state is ClientState.OPEN
        computer.asleep += 3600.0
        await asyncio.sleep(20)
        assert stopping[0].done()
        assert client.is_over
        assert app.connections() == 0

    play(script)
