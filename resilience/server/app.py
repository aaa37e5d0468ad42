"""Listens, serves until told to stop, stops in order. Knows sockets and processes, nothing of the game."""

from __future__ import annotations

import asyncio
import errno
import functools
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from resilience import __version__
from resilience.config import ServerConfig
from resilience.errors import HarnessError, PortInUseError, StoreError
from resilience.network_addresses import with_port
from resilience.policy.run_owners import RENEWAL_INTERVAL_S
from resilience.runtime import RecordSink, RunClock
from resilience.server.committer import CommitRequest, Committer
from resilience.server.event_registry import EventRegistry, EventSpec, states_of
from resilience.server.gateway import Gateway
from resilience.server.hub import Hub
from resilience.server.lag import LoopLag
from resilience.server.metrics import CachedExposition, Metrics
from resilience.server.page import Page, PageRequest
from resilience.server.pages import EventView, ServerView, origin_form, respond, too_many_requests
from resilience.server.quiz_connection import QuizConnection
from resilience.server.store import Store
from resilience.server.web_pages import is_web_file
from resilience.units import Seconds
from resilience.wire.known_heads import KnownHeads

WEBSOCKET_PATH = "/ws"

PAGE_REFUSAL_DELAY_S: Seconds = 1.0
"""How long an address that asks for too many pages waits for each refusal."""


def _nothing() -> None:
    """Nothing to flush."""


class QuizServer:
    """A server for some events, and for those that hosts create.

    ``new_id`` makes participant ids by client instance, ``new_token`` session tokens by participant, ``runs`` names of
    new runs of events; ``executor`` runs the store (``None``: the loop's own), ``wall_clock`` (seconds since 1970) is
    read once. ``metrics`` asks for a loop-lag meter too. ``flush`` hands the log to the operating system. Without
    ``host_key`` no host is accepted.
    """

    def __init__(  # noqa: PLR0913 - all that a server depends on
        self,
        plans: Sequence[EventSpec],
        config: ServerConfig,
        store: Store,
        *,
        clock: RunClock,
        log: RecordSink,
        new_id: Callable[[str], str],
        new_token: Callable[[str], str],
        executor: Executor | None = None,
        wall_clock: Callable[[], float] = time.time,
        runs: Callable[[], str] = lambda: secrets.token_hex(4),
        host_key: str | None = None,
        metrics: Metrics | None = None,
        flush: Callable[[], None] = _nothing,
        fresh: bool = False,
    ) -> None:
        self._plans, self._config, self._store = plans, config, store
        self._clock, self._log, self._executor, self._fresh = clock, log, executor, fresh
        self._exposition = CachedExposition(metrics, clock.now) if metrics else _no_metrics
        self._origin = wall_clock() - clock.now()
        self._lag = LoopLag(clock, metrics.observe_lag) if metrics else None
        observe = metrics.observe_commit if metrics else None
        self._committer = Committer(self._write, executor, observe, name=repr(self._origin))
        self._registry = EventRegistry(
            config,
            store,
            clock=clock,
            origin=self._origin,
            log=log,
            flush=flush,
            submit=self._committer.submit,
            off_loop=self._off_loop,
            new_id=new_id,
            new_token=new_token,
            runs=runs,
            fenced=self._recover,
        )
        self._gateway = Gateway(
            self._registry, config, clock=clock, log=log, answer=self._answer, lag=self.current_lag, host_key=host_key
        )
        self._known_heads = KnownHeads()
        self._server: asyncio.Server | None = None
        self._recovering: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._started_at = clock.now()
        if metrics is not None:
            metrics.watch(self, self._lag.worst if self._lag else float)

    # what others may ask ----------------------------------------------------------------------------------------------

    @property
    def hubs(self) -> Mapping[str, Hub]:
        """The events that run here, by id."""
        return self._registry.hubs

    def states(self) -> Mapping[str, int]:
        """Participants by connection state, over all events."""
        return states_of(self._registry.hubs)

    def connections(self) -> int:
        """Open sockets."""
        return len(self._gateway.connections)

    def current_lag(self) -> Seconds:
        """How late the loop runs now; 0 when it is not measured."""
        return self._lag.current() if self._lag else 0.0

    def view(self, address: str) -> ServerView:
        """How the server stands, for its pages."""
        return ServerView(
            __version__,
            self._clock.now() - self._started_at,
            address,
            self._gateway.established(),
            self._gateway.handshake.capacity,
            self._gateway.handshake.draining_for is not None,
            self._committer.trouble is not None,
            self.current_lag(),
            tuple(_event_view(hub) for hub in self._registry.hubs.values()),
            recovering=len(self._registry.recovering),
            commit_under_way_for=self._committer.under_way_for(),
            missing=tuple(self._registry.missing),
        )

    # its life ---------------------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> None:
        """Bind the port, recover or begin the events, listen.

        :class:`~resilience.errors.PortInUseError` when another process listens there, before any event is touched.
        """
        try:
            server = await self._bound(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(host, port) from error
            raise HarnessError(f"cannot listen on {with_port(host, port)}: {error.strerror or error}") from error
        try:
            await self._registry.open(self._plans, fresh=self._fresh)
        except BaseException:
            server.close()
            raise
        self._server = server
        self._registry.activate()
        if self._lag is not None:
            self._lag.start()
        await server.start_serving()
        if self._store.owner:
            self._keeping = asyncio.get_running_loop().create_task(self._keep_runs())

    async def stop(self) -> None:
        """Stop accepting, drain the connections, flush pending commits, write the final records.

        Raises :class:`~resilience.errors.StoreError`, once it has stopped, if the database did not take everything.
        """
        await self._gateway.drain()
        try:
            await self.flush_and_write_final_records()
        finally:
            await self._give_up_runs()
            await self._close()

    async def flush_and_write_final_records(self) -> None:
        """Settle every commit and write the closing records; nothing is logged or decided by the clock after that.

        Raises :class:`~resilience.errors.StoreError`, after the records of every event, if the database did not answer.
        """
        self._registry.close()
        self._committer.stop_retrying()
        for hub in self._registry.hubs.values():
            hub.stop_timer()
            hub.save_unsaved()
        await self._committer.flush()
        failures = [
            StoreError(f"event {event} waits for the database to recover")
            for event in sorted(self._registry.recovering)
        ]
        for hub in list(self._registry.hubs.values()):
            try:
                scores = await self._off_loop(self._store.scores, hub.lease.key)
            except StoreError as error:
                failures.append(error)
                scores = {}
            hub.write_final_records(scores)
        if failures:
            raise failures[0]

    def simulate_kill(self) -> None:
        """Fall silent at once, as a killed process: what is not committed by now never will be."""
        self._committer.abandon()
        self._gateway.stop()
        self._stop_recovering()
        self._registry.close()
        if self._keeping is not None:
            self._keeping.cancel()
        for hub in self._registry.hubs.values():
            hub.abandon()
        if self._server is not None:
            self._server.close()

    # its parts --------------------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._gateway.close()
            await self._gateway.wait_closed()
        self._gateway.stop()
        await self._committer.flush()
        self._committer.stop_retrying()
        self._stop_recovering()
        if self._lag is not None:
            self._lag.stop()

    def _stop_recovering(self) -> None:
        for task in self._recovering:
            task.cancel()

    async def _bound(self, host: str, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._connection, host, port, backlog=self._config.backlog, start_serving=False
        )
        for listener in server.sockets:
            with suppress(AttributeError, OSError):  # a listener in memory has no buffers
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._config.send_buffer_bytes)
        return server

    def _connection(self) -> QuizConnection:
        return QuizConnection(
            self._gateway,
            self._known_heads,
            max_size=self._config.max_message_bytes,
            write_limit=self._config.write_buffer_bytes,
        )

    def _answer(self, connection: QuizConnection, request: Request) -> None:
        path = origin_form(request.path)
        if path.partition("?")[0] != WEBSOCKET_PATH:
            self._answer_page(connection, request, path)
            return
        rejection = self._gateway.process_handshake(connection, request)
        if rejection is None:
            connection.accept(request)
            return
        response = connection.reject(rejection.status, f"{rejection.cause}\n")
        if rejection.retry_after is not None:
            response.headers["Retry-After"] = f"{rejection.retry_after:.3f}"
        connection.respond(response)

    def _answer_page(self, connection: QuizConnection, request: Request, path: str) -> None:
        """Answer a request for a page.

        An address that asks for too many gets its refusal late: it would otherwise ask again at once, and cost as much.
        """
        wait = self._gateway.page_wait(connection, request, is_file=is_web_file(path))
        if wait:
            refusal = _response(too_many_requests(wait))
            asyncio.get_running_loop().call_later(PAGE_REFUSAL_DELAY_S, connection.respond, refusal)
        else:
            connection.respond(_response(self._page(request, path)))

    def _page(self, request: Request, path: str) -> Page:
        headers = request.headers
        secure = self._config.trust_forwarded and headers.get_all("X-Forwarded-Proto") == ["https"]
        host = next(iter(headers.get_all("Host")), "this server")
        address = f"{'wss' if secure else 'ws'}://{host}{WEBSOCKET_PATH}"
        asked = PageRequest(
            path,
            request.method,
            f"{'https' if secure else 'http'}://{host}",
            accept=", ".join(headers.get_all("Accept")),
            accept_encoding=", ".join(headers.get_all("Accept-Encoding")),
            if_none_match=", ".join(headers.get_all("If-None-Match")),
        )
        return respond(asked, functools.partial(self.view, address), self._exposition)

    def _write(self, batch: Sequence[CommitRequest]) -> None:
        rows = [(order.lease, row) for order in batch for row in order.persist.rows]
        self._store.commit(rows, self._origin)

    async def _off_loop(self, call: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - any call of the store
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    async def _keep_runs(self) -> None:
        while True:
            with suppress(StoreError):  # the commits say what is wrong with the database
                await self._registry.keep_runs()
            await asyncio.sleep(RENEWAL_INTERVAL_S)

    async def _give_up_runs(self) -> None:
        """Leave the runs to other servers at once; those would notice by themselves, later."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(StoreError):
                await self._registry.release()

    def _recover(self, hub: Hub) -> None:
        task = asyncio.get_running_loop().create_task(self._registry.recover(hub))
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)


def _response(page: Page) -> Response:
    return Response(page.status, page.status.phrase, Headers(page.headers), page.body)


def _no_metrics(accept: str) -> tuple[str, bytes]:
    del accept
    return "text/plain; charset=utf-8", b""


def _event_view(hub: Hub) -> EventView:
    room, states = hub.room, hub.room.states()
    game = room.game
    counts = (states["connected"], states["temporarily_disconnected"], states["disconnected"])
    return EventView(room.event, room.title, game.phase, game.index + 1, len(game.questions), *counts)
