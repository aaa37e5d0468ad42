"""``resilience serve``: settings to server, signals to an orderly stop. Knows the process, not the game."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.writer import EventWriter
from resilience.events import Lane, Role
from resilience.runtime import Log, RunClock, log_to
from resilience.server.app import WEBSOCKET_PATH, EventPlan, QuizServer, serve_until
from resilience.server.logs import configure, log_line
from resilience.server.store import SqlStore

TOKEN_BYTES = 24


def serve_command(server: ServerConfig, quiz: QuizConfig, options: Mapping[str, Any]) -> None:
    """Serve as the options say; returns after an orderly stop."""
    configure()
    _run(_serve(options, server, quiz))


def _run(main: Any) -> None:  # noqa: ANN401 - a coroutine
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _serve(options: Mapping[str, Any], config: ServerConfig, quiz: QuizConfig) -> None:
    store = SqlStore(options["db"])
    writer = _writer(options["event_log"])
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    plan = EventPlan(options["event"], quiz, options["seed"], secrets.token_hex(4))
    with ThreadPoolExecutor(1, "store") as executor:
        try:
            server = QuizServer(
                [plan],
                config,
                store,
                clock=RunClock(options["epoch"]),
                log=_log(writer),
                tokens=lambda: secrets.token_urlsafe(TOKEN_BYTES),
                executor=executor,
            )
            host, port = options["host"], options["port"]
            click.echo(f"quiz '{plan.event}' at ws://{host}:{port}{WEBSOCKET_PATH}; Ctrl-C stops")
            await serve_until(server, host, port, stop)
        finally:
            if writer is not None:
                writer.close()
            store.close()


def _writer(path: Path | None) -> EventWriter | None:
    return None if path is None else EventWriter(path)


def _log(writer: EventWriter | None) -> Log:
    return log_line if writer is None else log_to(writer, Lane.REAL, Role.SERVER, "server")
