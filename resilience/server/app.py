"""Listens, serves until told to stop, stops in order. Knows sockets and processes, nothing of the game."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from http import HTTPStatus

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from resilience.config import QuizConfig, ServerConfig
from resilience.draws import draws_for, uniform
from resilience.errors import HarnessError, PortInUseError
from resilience.policy.retry import CloseCode
from resilience.protocol.effects import Persist
from resilience.protocol.room import Room
from resilience.runtime import Log, RunClock
from resilience.server.committer import Committer
from resilience.server.gateway import Gateway
from resilience.server.hub import Hub
from resilience.server.store import Store
from resilience.units import Seconds

WEBSOCKET_PATH = "/ws"
CLOSE_TIMEOUT: Seconds = 1.0
RECEIVE_QUEUE = 16

_quiet = logging.getLogger("resilience.server.transport")
_quiet.setLevel(logging.CRITICAL)


class EventPlan(msgspec.Struct, frozen=True):
    """One event to serve: its id, its automatic quiz, the seed of its questions, and the name of its stream."""

    event: str
    quiz: QuizConfig
    seed: int
    epoch: str

    @property
    def key(self) -> str:
        """What the database calls this run of the event: an earlier one in the same database stays as it is."""
        return f"{self.event}#{self.epoch}"


class QuizServer:
    """A server for some events.

    ``tokens`` makes session tokens, ``executor`` runs commits (``None``: the loop's own), ``wall_clock`` (seconds since
    1970) only stamps rows.
    """

    def __init__(  # noqa: PLR0913 - all that a server depends on
        self,
        plans: Sequence[EventPlan],
        config: ServerConfig,
        store: Store,
        *,
        clock: RunClock,
        log: Log,
        tokens: Callable[[], str],
        executor: Executor | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._store, self._clock, self._log = config, store, clock, log
        self._executor, self._wall_clock = executor, wall_clock
        self._keys = {plan.event: plan.key for plan in plans}
        self.hubs = {plan.event: self._hub(plan, tokens) for plan in plans}
        self._gateway = Gateway(self.hubs, config)
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; :class:`~resilience.errors.PortInUseError` when somebody else does."""
        try:
            self._server = await serve(
                self._gateway.handle,
                host,
                port,
                backlog=self._config.backlog,
                compression=None,
                ping_interval=None,
                open_timeout=self._config.first_message_deadline,
                close_timeout=CLOSE_TIMEOUT,
                max_size=self._config.max_message_bytes,
                max_queue=RECEIVE_QUEUE,
                process_request=_route,
                server_header=None,
                logger=_quiet,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(host, port) from error
            raise HarnessError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error

    async def stop(self) -> None:
        """Take no more, settle every commit, write the closing records, send everybody home with a moment to return."""
        if self._server is not None:
            self._server.close(close_connections=False)
        await self.finish()
        for hub in self.hubs.values():
            hub.end_all(CloseCode.SERVICE_RESTART, self._return_slot)
        if self._server is not None:
            await self._server.wait_closed()
        for hub in self.hubs.values():
            await hub.drained()

    async def finish(self) -> None:
        """Settle every commit and write the closing records; nothing is logged or decided by the clock after that."""
        for event, hub in self.hubs.items():
            await hub.drained()
            scores = asyncio.get_running_loop().run_in_executor(self._executor, self._store.scores, self._keys[event])
            hub.close_log(await scores)

    def _return_slot(self, connection: int) -> str:
        return f"retry_after={self._config.drain_window * uniform(0, 'return', connection):.3f}"

    def _hub(self, plan: EventPlan, tokens: Callable[[], str]) -> Hub:
        game = plan.quiz.game(plan.seed, self._config.late_window)
        room = Room(
            game,
            self._config.room,
            epoch=plan.epoch,
            tokens=tokens,
            draw=draws_for(plan.seed, "server"),
        )
        self._store.open_event(plan.key, plan.epoch, game.questions, self._wall_clock())
        return Hub(room, clock=self._clock, log=self._log, committer=lambda hub: self._committer(plan.key, hub))

    def _committer(self, event: str, hub: Hub) -> Committer:
        def write(batch: Sequence[Persist]) -> None:
            self._store.commit([(event, row) for order in batch for row in order.rows], self._wall_clock())

        return Committer(write, hub.settled, self._executor)


def _route(connection: ServerConnection, request: Request) -> Response | None:
    path = request.path.partition("?")[0]
    if path == WEBSOCKET_PATH:
        return None
    if path == "/healthz":
        return connection.respond(HTTPStatus.OK, "ok\n")
    return connection.respond(HTTPStatus.NOT_FOUND, f"nothing here; the quiz is at {WEBSOCKET_PATH}\n")


async def serve_until(server: QuizServer, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set, then stop in order."""
    await server.start(host, port)
    try:
        await stop.wait()
    finally:
        await server.stop()
