"""One process of the reference's bare clients: ``python -m chaos.reference.clients``. Connects again at once, always.

The first line of its standard input is a :class:`BareJob`; the end of the input ends it. It reports, ten times a
second, when clients had their first echo over a new connection (:class:`Echoes`). A client has no session, no state and
no policy: what its return takes is the price of the proxies, of ``websockets``, of Python and of the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sys
import time
from functools import partial

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from resilience.units import Instant, Seconds

from ..event_loop import run_on_fast_loop

RAMP_PER_S = 250.0
"""First dials a second of one process: a ramp that two shared processors can carry with two such processes."""

RETRY_S: tuple[Seconds, Seconds] = (0.05, 0.15)
"""The least and the greatest pause after a dial that failed."""

OPEN_TIMEOUT_S: Seconds = 30.0
REPORT_S: Seconds = 0.1
LINE_LIMIT_BYTES = 1 << 20

_quiet = logging.getLogger("chaos.reference.transport")
_quiet.setLevel(logging.CRITICAL)


class BareJob(msgspec.Struct, frozen=True):
    """How many clients of this process use each link, and the link's URL; both by link."""

    clients: dict[str, int]
    urls: dict[str, str]


class Echoes(msgspec.Struct, frozen=True):
    """When clients of each link had their first echo over a new connection, on the system's monotonic clock."""

    at: dict[str, list[Instant]]


async def live(url: str, starts_in: Seconds, echoes: list[Instant]) -> None:
    """One bare client: connect, get one echo, wait for the end of the connection, and again."""
    await asyncio.sleep(starts_in)
    bare = partial(connect, compression=None, ping_interval=None, proxy=None, user_agent_header=None, logger=_quiet)
    while True:
        try:
            async with bare(url, open_timeout=OPEN_TIMEOUT_S) as socket:
                await socket.send("echo")
                await socket.recv()
                echoes.append(time.monotonic())
                await socket.wait_closed()
        except (OSError, WebSocketException):
            await asyncio.sleep(random.uniform(*RETRY_S))  # noqa: S311 - no secret


async def main() -> None:
    """Keep the clients of the job connected until the input ends."""
    orders = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    line = await orders.readline()
    if not line:
        return
    job = msgspec.json.decode(line, type=BareJob)
    echoes: dict[str, list[Instant]] = {link: [] for link in job.clients}
    links = [link for link, clients in job.clients.items() for _ in range(clients)]
    random.Random(0).shuffle(links)  # noqa: S311 - every link has its share of the ramp
    lives = [live(job.urls[link], number / RAMP_PER_S, echoes[link]) for number, link in enumerate(links)]
    tasks = [asyncio.create_task(each) for each in lives]
    reports = asyncio.create_task(_report(echoes))
    await orders.read()
    for task in (*tasks, reports):
        task.cancel()


async def _report(echoes: dict[str, list[Instant]]) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        new = {link: list(at) for link, at in echoes.items() if at}
        for at in echoes.values():
            at.clear()
        sys.stdout.buffer.write(msgspec.json.encode(Echoes(new)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, asyncio.CancelledError):  # the runner is gone
        run_on_fast_loop(main())
