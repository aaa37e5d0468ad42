"""A scenario in which every event happens that the server logs: one real server, real sockets, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from resilience.config import QuizConfig, ServerConfig
from resilience.errors import StoreError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Row
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    CreateEvent,
    Error,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    Join,
    Joined,
    Leave,
    Message,
    Probe,
    Resume,
    ResumeRejected,
    StateRestored,
    TokenStored,
)
from resilience.quiz.game import StoredAnswer
from resilience.runtime import RecordSink
from resilience.server.app import QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.metrics import Metrics
from resilience.server.store import MEMORY, RunLease, SqlStore
from tests.support.counted_names import counted
from tests.support.virtual_server import HOST, PORT, URL, VirtualServerHarness
from tests.support.websocket import dial, hear, say

T = TypeVar("T", bound=Message)

HOST_KEY = "host-key-that-nobody-may-read"
WRONG_KEY = "host-key-that-somebody-guessed"
GUESS = "token-that-somebody-guessed"
TOKEN = "token-that-is-"
SECRETS = (HOST_KEY, WRONG_KEY, GUESS, TOKEN)

CONFIG = ServerConfig(
    heartbeat_interval=2,
    grace_period=5,
    cleanup_interval=10,
    first_message_deadline=2,
    strike_limit=3,
    message_rate=20,
    message_burst=40,
    max_connections=12,
)
QUIZ = QuizConfig(questions=3, lobby=1, question_time=30)

HAPPENS = {
    LogEventKind.SERVER_STARTED,
    LogEventKind.SERVER_DRAINING,
    LogEventKind.SERVER_LATE,
    LogEventKind.JOIN_SHED,
    LogEventKind.CONNECTION_REFUSED,
    LogEventKind.MESSAGE_REFUSED,
    LogEventKind.MESSAGE_DELAYED,
    LogEventKind.HOST_ATTACHED,
    LogEventKind.HOST_ORDERED,
    LogEventKind.SESSION_CREATED,
    LogEventKind.SESSION_RESUMED,
    LogEventKind.RESUME_REFUSED,
    LogEventKind.SESSION_FENCED,
    LogEventKind.SESSION_DETACHED,
    LogEventKind.SESSION_EXPIRED,
    LogEventKind.SESSION_LEFT,
    LogEventKind.HEARTBEAT_SENT,
    LogEventKind.HEARTBEAT_ACKED,
    LogEventKind.ANSWER_COMMITTED,
    LogEventKind.ANSWER_REPLIED,
    LogEventKind.COMMIT_FAILED,
    LogEventKind.QUESTION_OPENED,
}
"""What the scenario must contain, or a test of it proves nothing."""


class FailingStore(SqlStore):
    """A database that takes no answer while ``full``."""

    full = False

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Refuse or commit."""
        if self.full and any(isinstance(row, StoredAnswer) for _, row in rows):
            raise StoreError("the database rejected a commit: disk I/O error")
        super().commit(rows, origin)


class FullScenario:
    """One server and all that happens to it. Its records go to ``log``, its numbers to ``metrics``."""

    def __init__(self, harness: VirtualServerHarness, log: RecordSink, metrics: Metrics | None = None) -> None:
        self.harness, self.disk = harness, FailingStore(MEMORY)
        self.app = QuizServer(
            [EventSpec("quiz", QUIZ.plan(1), "1", 1)],
            CONFIG,
            self.disk,
            clock=harness.clock,
            log=log,
            new_id=counted(),
            new_token=counted(TOKEN, 0, 32),
            wall_clock=harness.clock.now,
            runs=lambda: "2",
            host_key=HOST_KEY,
            metrics=metrics,
        )

    async def play(self) -> None:
        """From the first join to the last leave but those of the clients that stay; about a minute."""
        await self.app.start(HOST, PORT)
        ada, bob = self.harness.client("ada"), self.harness.client("bob", url=URL)
        ada.start()
        bob.start()
        await asyncio.sleep(2)
        ada.answer("q1", 1)
        await self._try_tokens()
        await self._send_malformed_messages()
        await self._attach_host()
        self.disk.full = True
        bob.answer("q1", 2)
        await asyncio.sleep(0.5)
        self.disk.full = False
        self.harness.link.cut()
        await asyncio.sleep(3)
        await self._overload()
        self.harness.loop.now += 3  # the process stands still
        await asyncio.sleep(1)
        self.harness.link.blackhole(up=True, down=True)
        await asyncio.sleep(20)
        self.harness.link.blackhole(up=False, down=False)
        await asyncio.sleep(15)

    async def end(self) -> None:
        """Drain all connections; a new one meanwhile is rejected with a retry time."""
        stopping = asyncio.get_running_loop().create_task(self.app.stop())
        await asyncio.sleep(0.1)
        with suppress(InvalidStatus):
            await dial()
        await stopping

    # what clients do --------------------------------------------------------------------------------------------------

    async def _try_tokens(self) -> None:
        first, second, third = await dial(), await dial(), await dial()
        await say(first, Resume(event="quiz", token=GUESS))
        await hear(first, ResumeRejected)
        await say(first, Join(event="quiz", name="eve", instance="e1"))
        old = (await hear(first, Joined)).credentials
        await say(second, Resume(event="quiz", token=old.token, attempt=3))
        fresh = (await hear(second, StateRestored)).credentials
        await say(second, TokenStored(fresh.generation))
        await say(second, Answer("q2", 0, "k1"))
        await hear(second, AnswerResult)
        await say(third, Resume(event="quiz", token=old.token))
        await hear(third, ResumeRejected)
        for i in range(60):
            await say(second, Probe(i))
        await say(second, Leave())
        with suppress(ConnectionClosed):
            await hear(second, Joined)
        await third.close()

    async def _send_malformed_messages(self) -> None:
        silent, elsewhere, noisy = await dial(), await dial(), await dial()
        await say(elsewhere, Join(event="nowhere", name="eve", instance="e2"))
        await say(noisy, Answer("q1", 0, "k1"))
        await hear(noisy, Error)
        await say(noisy, Join(event="quiz", name="mallory", instance="e3"))
        for _ in range(CONFIG.strike_limit):
            await say(noisy, "}{")
        for socket in (silent, elsewhere, noisy):
            with suppress(ConnectionClosed):
                await hear(socket, StateRestored)
        with suppress(InvalidStatus):
            await connect(URL, origin="http://evil.example", proxy=None)  # type: ignore[arg-type]

    async def _attach_host(self) -> None:
        thief, host = await dial(), await dial()
        await say(thief, Host(event="pub", key=WRONG_KEY))
        await say(host, Host(event="pub", key=HOST_KEY))
        await hear(host, Hosting)
        await say(host, CreateEvent(QUIZ.plan(2)))
        await hear(host, HostResult)
        for _ in range(2):
            await say(host, HostCommand(HostAction.START, 0))
            await hear(host, HostResult)
        await host.close()

    async def _overload(self) -> None:
        crowd: list[ClientConnection] = []
        with suppress(InvalidStatus):
            for _ in range(CONFIG.max_connections + 1):
                crowd.append(await dial())  # noqa: PERF401 - those before the refusal stay
        for socket in crowd:
            await socket.close()
