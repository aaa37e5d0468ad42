"""``resilience serve``: settings to server, signals to a graceful stop. Knows the process, not the game."""

from __future__ import annotations

import asyncio
import gc
import math
import platform
import secrets
import signal
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import click
import structlog

from resilience.config import QuizConfig, ServerConfig
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, Role
from resilience.eventlog.writer import EventSink
from resilience.network_addresses import is_every_interface, listening_host, openable
from resilience.open_files import raise_open_files
from resilience.protocol.messages import label_problem
from resilience.runtime import RecordSink, RunClock, log_to, tee
from resilience.server.app import WEBSOCKET_PATH, QuizServer
from resilience.server.event_log import ServerEventLog
from resilience.server.event_registry import EventSpec
from resilience.server.lag import LoopLag
from resilience.server.limits import backlog_limit, limit_warnings
from resilience.server.logs import configure, log_line
from resilience.server.metrics import Metrics
from resilience.server.store import SqlStore
from resilience.server.web_pages import join_address, prepare

LIMIT = "a system limit is low"
"""The warning of a low limit; ``why`` is the rest."""

UNKNOWN = "an environment variable is unknown"
"""The warning of a variable that only looks like a setting; ``why`` is the rest."""

LOST = "the event log ended"
"""The error of an event log that cannot be written any more; ``why`` is the rest."""

TOKEN_BYTES = 24
ID_CHARACTERS = 12
PIECES_AT_ONCE = 256

_BASE32 = bytes(b"abcdefghijklmnopqrstuvwxyz234567"[byte % 32] for byte in range(256))
"""A character of base32 for each byte: eight bytes have the same one."""

GC_THRESHOLDS = (50_000, 20, 1000)
"""Thresholds of the cyclic garbage collector.

A herd of joins creates many long-lived objects and hardly any cycles; with the default thresholds a quarter of each
join was spent on scanning existing objects.
"""


def serve_command(server: ServerConfig, quiz: QuizConfig, options: Mapping[str, Any]) -> None:
    """Serve as the options say; returns after a graceful stop.

    The options are those of the command, and ``host_key`` and ``unknown``: sentences on variables that nothing reads.
    """
    configure()
    for sentence in options["unknown"]:
        structlog.get_logger().warning(UNKNOWN, why=sentence)
    raise_open_files()
    for sentence in limit_warnings(server, backlog_limit()):
        structlog.get_logger().warning(LIMIT, why=sentence)
    prepare()
    writer = None if options["event_log"] is None else ServerEventLog(options["event_log"], _tell_lost)
    try:
        _run(_serve(options, server, quiz, writer))
    finally:
        if writer is not None:  # after the loop: what it cancels at its end may still write a record
            writer.close()


def _tell_lost(why: str) -> None:
    structlog.get_logger().error(LOST, why=why)


def check_options(event: str, epoch: float | None) -> None:
    """Raise :class:`~resilience.errors.UsageError` for an event id or a time that cannot be used."""
    problem = label_problem(event)
    if problem is not None:
        raise UsageError(f"--event {event!r}: {problem[:1].lower()}{problem[1:]}")
    if epoch is not None and not math.isfinite(epoch):
        raise UsageError(f"--epoch {epoch}: expected a finite number of seconds")


def _run(main: Any) -> None:  # noqa: ANN401 - a coroutine
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _serve(
    options: Mapping[str, Any], config: ServerConfig, quiz: QuizConfig, writer: ServerEventLog | None
) -> None:
    host, port = listening_host(options["host"]), options["port"]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    plan = EventSpec(options["event"], quiz.plan(options["seed"]), secrets.token_hex(4), options["seed"])
    metrics, clock = Metrics(), RunClock(options["epoch"])
    pulse = LoopLag(clock, lambda _: log_line.flush_due(clock.now()), every=1.0)
    with ThreadPoolExecutor(1, "store") as executor, closing(_store(options)) as store:
        try:
            server = QuizServer(
                [plan],
                config,
                store,
                clock=clock,
                log=_log(writer, metrics),
                new_id=id_generator(),
                new_token=token_generator(),
                executor=executor,
                host_key=options["host_key"],
                metrics=metrics,
                flush=_flush(writer),
                fresh=options["fresh"],
            )
            await server.start(host, port)
            pulse.start()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            click.echo(announcement(plan.event, host, port))
            click.echo(pages_announcement(plan.event, host, port, has_key=options["host_key"] is not None))
            await stop.wait()
            await server.stop()
        finally:
            pulse.stop()
            log_line.flush()


def announcement(event: str, host: str, port: int) -> str:
    """What the command prints once it serves: a URL that a client on this machine can open, and who else can."""
    kind = "IPv6" if ":" in host else "IPv4"
    others = f", and at every other {kind} address of this machine" if is_every_interface(host) else ""
    return f"quiz '{event}' at ws://{openable(host, port)}{WEBSOCKET_PATH}{others}; Ctrl-C stops"


def pages_announcement(event: str, host: str, port: int, *, has_key: bool) -> str:
    """The addresses of the pages, for a browser on this machine."""
    origin = f"http://{openable(host, port)}"
    hosting = f"host with the key at {origin}/host" if has_key else "no host key is set, so hosts are refused"
    return f"in a browser: join at {join_address(origin, event)}; {hosting}"


def _store(options: Mapping[str, Any]) -> SqlStore:
    """The database, where this server is known by the address it listens on: no two processes have that at once."""
    return SqlStore(options["db"], owner=f"{platform.node()}/{options['host']}:{options['port']}")


def token_generator() -> Callable[[str], str]:
    """Make unguessable session tokens, independent of the participant."""
    pieces = _random_pieces(TOKEN_BYTES)
    return lambda _participant: urlsafe_b64encode(next(pieces)).decode()


def id_generator() -> Callable[[str], str]:
    """Make random participant ids of twelve base32 characters, independent of the client's instance."""
    pieces = _random_pieces(ID_CHARACTERS)
    return lambda _instance: next(pieces).translate(_BASE32).decode()


def _random_pieces(size: int) -> Iterator[bytes]:
    """Random bytes, ``size`` at a time; the system's randomness is read for many pieces at once."""
    while True:
        pool = secrets.token_bytes(size * PIECES_AT_ONCE)
        for i in range(0, len(pool), size):
            yield pool[i : i + size]


def _flush(writer: ServerEventLog | None) -> Callable[[], None]:
    return writer.flush if writer is not None else lambda: None


def _log(writer: EventSink | None, metrics: Metrics) -> RecordSink:
    files = () if writer is None else (log_to(writer, Lane.REAL, Role.SERVER, "server"),)
    return tee(metrics.record, log_line, *files)
