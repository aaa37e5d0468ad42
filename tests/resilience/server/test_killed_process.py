"""A real server process, a real SIGKILL, either database: the next process continues where it stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from sqlalchemy import create_engine, text

from resilience.client import ReconnectingClient
from resilience.config import ClientConfig
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.messages import AnswerResult, Joined, Message, QuestionOpened, StateRestored
from resilience.random_streams import random_for

from ...support.deadlines import HANG_S
from ..test_cli import serving

LONG = "[quiz]\nquestions = 2\nlobby = 0.2\nquestion_time = 300.0\n"


class Inbox:
    """The messages that a client received, to be waited for by kind."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()

    async def wait(self, kind: type[Message]) -> Message:
        """The next message of this kind; earlier ones of others are dropped."""
        while not isinstance(message := await self.messages.get(), kind):
            pass
        return message


@asynccontextmanager
async def player(port: int) -> AsyncIterator[tuple[ReconnectingClient, Inbox]]:
    """A client that keeps trying until the test is over."""
    inbox = Inbox()
    machine = ParticipantClient(Identity("quiz", "ada", "ada"), ClientConfig().rules, random_for(1, "ada"))
    client = ReconnectingClient(machine, f"ws://127.0.0.1:{port}/ws", deliver=inbox.messages.put_nowait)
    client.start()
    try:
        yield client, inbox
    finally:
        await client.stop()


async def test_the_run_of_a_killed_process_is_recovered_by_the_next(shared_url: str, tmp_path: Path) -> None:
    """The acknowledged answer, the person and the question's deadline are as they were."""
    async with asyncio.timeout(HANG_S):
        async with (
            serving(tmp_path, "--db", shared_url, quiz=LONG) as (process, port),
            player(port) as (client, inbox),
        ):
            joined = await inbox.wait(Joined)
            assert isinstance(joined, Joined)
            me = joined.credentials.participant
            opened = await inbox.wait(QuestionOpened)
            assert isinstance(opened, QuestionOpened)
            client.answer("q1", 1)
            result = await inbox.wait(AnswerResult)
            assert isinstance(result, AnswerResult)
            assert result.verdict == "accepted"
            process.kill()
            await process.wait()
            async with serving(tmp_path, "--db", shared_url, port=port, quiz=LONG):
                back = await inbox.wait(StateRestored)
                assert isinstance(back, StateRestored)
                assert back.credentials.participant == me
                assert back.snapshot.answer == 1
                assert back.snapshot.question is not None
                assert back.snapshot.question.id == opened.question.id
                assert back.snapshot.question.remaining_ms < opened.question.remaining_ms
    engine = create_engine(shared_url)
    with engine.connect() as connection:
        rows = connection.execute(text("select participant, question, choice from answers")).fetchall()
    engine.dispose()
    assert [tuple(row) for row in rows] == [(me, "q1", 1)]


async def test_a_join_is_one_row_however_often_it_is_sent(tmp_path: Path) -> None:
    """Simultaneous joins of the same client over several sockets: one participant, and every attempt on record."""
    async with (
        serving(tmp_path) as (_, port),
        asyncio.timeout(HANG_S),
        player(port) as (_, first),
        player(port) as (_, second),
        player(port) as (_, third),
    ):
        tasks = [asyncio.create_task(inbox.wait(Joined)) for inbox in (first, second, third)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    with closing(sqlite3.connect(tmp_path / "quiz.db")) as database:
        people = database.execute("select name from event_participants").fetchall()
    assert people == [("ada",)]
