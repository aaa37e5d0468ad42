"""The server over real ``websockets``, in virtual time: bad peers, lost peers, a database that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from resilience.config import QuizConfig, ServerConfig
from resilience.errors import ConfigError, StoreError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Row
from resilience.protocol.messages import Answer, AnswerResult, Error, Join, Joined, Message, Resume, ResumeRejected
from resilience.protocol.states import ClientState
from resilience.quiz.game import StoredAnswer
from resilience.server.store import MEMORY, RunLease, SqlStore
from tests.support.virtual_server import HOST, URL, VirtualServerHarness, play
from tests.support.websocket import dial, hear, say

T = TypeVar("T", bound=Message)

QUICK = QuizConfig(questions=2, lobby=1, question_time=20)
JOIN = Join(event="quiz", name="eve", instance="e1")


async def close_code(socket: ClientConnection) -> int:
    """How the server ends it."""
    async with asyncio.timeout(60):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


def test_nonsense_is_answered_with_the_field_and_the_connection_stays() -> None:
    """A message that breaks the protocol gets a typed error; the honest one after it works."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        socket = await dial()
        await say(socket, JOIN)
        await hear(socket, Joined)
        await say(socket, '{"type": "answer", "question": 5}')
        assert (await hear(socket, Error)).field == "question"
        await say(socket, "}{")
        assert (await hear(socket, Error)).field == "message"
        await say(socket, '{"type": "probe", "id": 3}')

    play(script)


def test_too_much_nonsense_ends_the_connection_for_good() -> None:
    """The strike limit closes with a terminal code."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(strike_limit=3), QUICK)
        socket = await dial()
        await say(socket, JOIN)
        for _ in range(3):
            await say(socket, "nonsense")
        assert await close_code(socket) == 4203

    play(script)


def test_a_new_connection_that_stays_silent_is_closed() -> None:
    """Who says neither join nor resume in time is closed, and may come again."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(first_message_deadline=5), QUICK)
        socket = await dial()
        assert await close_code(socket) == 4001
        assert 5 <= harness.clock.now() < 5.1

    play(script)


def test_an_oversized_message_ends_the_connection() -> None:
    """Nothing above the size limit is read into memory."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(max_message_bytes=1000), QUICK)
        socket = await dial()
        await say(socket, JOIN)
        await say(socket, "x" * 1001)
        assert await close_code(socket) == 1009

    play(script)


def test_a_guessed_token_is_refused_and_counted() -> None:
    """An unknown token reveals nothing; the connection may still join as a new participant."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        socket = await dial()
        await say(socket, Resume(event="quiz", token="guess"))
        assert (await hear(socket, ResumeRejected)).reason == "unknown"
        await say(socket, JOIN)
        await hear(socket, Joined)

    assert len(play(script).events(LogEventKind.RESUME_REFUSED)) == 1


class FullDisk(SqlStore):
    """A database that fails every commit with an answer while ``full``."""

    full = True
    failure: Exception = StoreError("the database rejected a commit: disk I/O error")

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Refuse or commit."""
        if self.full and any(isinstance(row, StoredAnswer) for _, row in rows):
            raise self.failure
        super().commit(rows, origin)


@pytest.mark.parametrize("failure", [FullDisk.failure, RuntimeError("the driver broke")])
def test_an_answer_that_was_not_stored_is_not_acknowledged_and_comes_again(failure: Exception) -> None:
    """A full disk: no acknowledgement, the client returns at its retry time, and the resend is stored once."""

    async def script(harness: VirtualServerHarness) -> None:
        store = FullDisk(MEMORY)
        store.failure = failure
        await harness.serve(quiz=QUICK, store=store)
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        client.answer("q1", 1)
        await asyncio.sleep(0.5)
        assert "q1" in client.machine.pending
        store.full = False
        await asyncio.sleep(3)
        assert client.machine.state is ClientState.OPEN
        assert not client.machine.pending

    harness = play(script)
    assert len(harness.events(LogEventKind.ANSWER_COMMITTED)) == 1
    assert [event.outcome for event in harness.events(LogEventKind.ANSWER_ACKED)] == ["accepted"]
    assert all(str(failure) in (event.cause or "") for event in harness.events(LogEventKind.COMMIT_FAILED))
    assert harness.events(LogEventKind.COMMIT_FAILED)


def test_a_peer_that_never_reads_is_cut_off_and_the_others_are_not_held_up() -> None:
    """The write buffer of one connection is bounded; its session waits for it to come back."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(write_buffer_bytes=20_000, message_rate=0), QuizConfig(lobby=100))
        slow = await dial()
        await say(slow, JOIN)
        await hear(slow, Joined)
        honest = harness.client(url=URL)
        honest.start()
        with suppress(ConnectionClosed):
            for _ in range(10_000):
                await say(slow, '{"type": "probe", "id": 1000000}')
        await asyncio.sleep(10)
        assert honest.machine.state is ClientState.OPEN

    (lost,) = play(script).events(LogEventKind.SESSION_DETACHED)
    assert (lost.session_id, lost.cause) == ("p1", "slow")


def test_silence_is_detached_after_the_grace_period_and_cleaned_up_later() -> None:
    """Temporarily after 30 s without a sign of life, for good after 60 s."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=500))
        socket = await dial()
        await say(socket, JOIN)
        await hear(socket, Joined)
        await asyncio.sleep(100)

    harness = play(script)
    (detached,) = harness.events(LogEventKind.SESSION_DETACHED)
    (expired,) = harness.events(LogEventKind.SESSION_EXPIRED)
    assert (detached.cause, round(detached.t), round(expired.t)) == ("grace", 30, 60)


def test_stopping_settles_answers_and_closes_all_connections_with_a_return_slot() -> None:
    """An answer under way is stored before the close; each close says when to come back."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=QUICK)
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        client.answer("q1", 1)
        await asyncio.sleep(0.003)
        await app.stop()
        await asyncio.sleep(1)

    harness = play(script)
    advised = [event for event in harness.events(LogEventKind.BACKOFF_SCHEDULED) if event.cause == "advice"]
    assert len(advised) == 1
    (score,) = harness.events(LogEventKind.SCORE_FINAL)
    (committed,) = harness.events(LogEventKind.ANSWER_COMMITTED)
    assert score.value == committed.value


def test_health_and_unknown_paths_are_answered_as_plain_http() -> None:
    """A probe gets 200 without joining; anything else is pointed to the quiz."""

    async def ask(path: str) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, 80)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(-1)
        writer.close()
        return answer

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        assert (await ask("/healthz")).startswith(b"HTTP/1.1 200")
        assert (await ask("/nothing")).startswith(b"HTTP/1.1 404")

    play(script)


def test_a_bad_database_url_names_the_rule() -> None:
    """What is no database URL is refused before anything listens."""
    with pytest.raises(ConfigError, match="must be a database URL"):
        SqlStore("bogus")


def test_an_answer_before_its_question_is_rejected_and_said_so() -> None:
    """No verdict is ever silent."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        socket = await dial()
        await say(socket, JOIN)
        await hear(socket, Joined)
        await say(socket, Answer("q2", 0, "k"))
        assert (await hear(socket, AnswerResult)).verdict == "rejected_phase"

    play(script)


def test_a_client_of_another_protocol_version_is_refused_for_good() -> None:
    """What the server cannot understand is refused at the handshake, with the version that the server speaks."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        socket = await dial()
        await say(socket, Join(event="quiz", name="eve", instance="e1", protocol=99))
        assert await close_code(socket) == 1002
        assert socket.close_reason == "this server speaks protocol 1"

    play(script)


def test_a_stopped_server_commits_nothing_more() -> None:
    """Clients that are lost while it stops do not set the quiz going again, behind the last commit and a closed log."""
    committed_at: list[float] = []

    async def script(harness: VirtualServerHarness) -> None:
        class NotingStore(SqlStore):
            def commit(self, batch: Any, origin: float) -> None:  # noqa: ANN401 - handed on
                committed_at.append(harness.clock.now())
                super().commit(batch, origin)

        quiz = QuizConfig(lobby=1, question_time=1, reveal_time=0.2, leaderboard_time=0.2)
        await harness.serve(ServerConfig(drain_window=0.5), quiz, NotingStore(MEMORY))
        await harness.opened(*harness.crowd(5))
        await asyncio.sleep(3)
        harness.link.freeze(True)
        await harness.server.stop()
        stopped_at = harness.clock.now()
        await asyncio.sleep(30)
        assert committed_at
        assert not [at for at in committed_at if at > stopped_at]

    play(script)
