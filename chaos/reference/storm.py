"""The reference storm: before the run, as many bare clients as take part are cut at once, through the run's proxies.

It measures what the laboratory, Python, ``websockets`` and the kernel take for the return of so many clients on this
machine; what the system under test takes beyond that is its own. The proxies are left as they were found.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from resilience.errors import HarnessError, ToxiproxyError
from resilience.experiment.primitives import CloseAll
from resilience.lab.asyncio_clock import run_all
from resilience.lab.health import ReferenceFigures, StormReturns, reference_figures
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from ..process_meter import cpu_seconds
from ..proxied_link import Address, ProxiedLink
from ..supervised import SupervisedProcess, describe_exit
from .clients import RAMP_PER_S, BareJob, Echoes
from .server import HOST

START_TIMEOUT_S: Seconds = 15.0
"""How long the bare server may take to listen."""

JOIN_MARGIN_S: Seconds = 60.0
"""How long, after their ramp, the bare clients may take to be connected; also how long a storm is followed."""

SETTLE_S: Seconds = 1.0
"""Pause between the last return and the next cut."""

TICK_S: Seconds = 0.25

Roles = Mapping[str, Sequence[int]]
"""Process ids by role."""


class ReferenceStorm:
    """Bare clients on these links, in ``workers`` processes. ``clients``: how many use each link.

    Their output and the server's go to files in ``logs``; ``on_tick`` is called four times a second.
    """

    def __init__(  # noqa: PLR0913 - the parts of the laboratory that it uses
        self,
        links: Mapping[str, ProxiedLink],
        clients: Mapping[str, int],
        clock: RunClock,
        *,
        workers: int,
        logs: Path,
        on_tick: Callable[[], None],
    ) -> None:
        self._links, self._clients, self._clock = links, clients, clock
        self._workers = min(workers, self._total)
        self._logs, self._on_tick = logs, on_tick
        self._echoes: dict[str, list[Instant]] = {link: [] for link in clients}
        self._children: list[SupervisedProcess] = []

    async def run(self, storms: int) -> ReferenceFigures:
        """Connect all, cut all ``storms`` times, and say how they returned.

        HarnessError when the bare server or a process of clients fails, or not all clients connect: then the machine
        cannot carry this fleet, whatever the system under test does.
        """
        async with AsyncExitStack() as stack:
            server, address = await self._start_server(stack)
            await run_all([self._connect(link, address, stack) for link in self._links.values()])
            jobs = [self._job(part) for part in range(self._workers)]
            children = [await self._start_clients(number, job, stack) for number, job in enumerate(jobs, 1)]
            await self._await_joins()
            roles: Roles = {
                "clients": [child.process.pid for child in children],
                "proxies": [pid for link in self._links.values() if (pid := link.process.pid) is not None],
                "server": [server.process.pid],
            }
            return reference_figures(self._total, [await self._storm(roles) for _ in range(storms)])

    @property
    def _total(self) -> int:
        return sum(self._clients.values())

    @property
    def _returned(self) -> int:
        return sum(map(len, self._echoes.values()))

    def _job(self, part: int) -> BareJob:
        shares = {link: len(range(part, clients, self._workers)) for link, clients in self._clients.items()}
        return BareJob(shares, {link: f"ws://{self._links[link].address}/" for link in shares})

    # processes --------------------------------------------------------------------------------------------------------

    async def _start_server(self, stack: AsyncExitStack) -> tuple[SupervisedProcess, Address]:
        child = await self._spawn("reference-server", "chaos.reference.server", stack)
        pipe, line = child.process.stdout, b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await pipe.readline() if pipe is not None else b""
        if not line:
            raise HarnessError(f"the bare server of the reference did not start; {child.log_tail()}")
        return child, Address(HOST, int(line))

    async def _start_clients(self, number: int, job: BareJob, stack: AsyncExitStack) -> SupervisedProcess:
        child = await self._spawn(f"reference-clients-{number}", "chaos.reference.clients", stack)
        reading = asyncio.create_task(self._read(child))
        stack.callback(reading.cancel)
        if child.process.stdin is not None:
            child.process.stdin.write(msgspec.json.encode(job) + b"\n")
            with contextlib.suppress(ConnectionError):  # it is gone, and is missed where its clients are awaited
                await child.process.stdin.drain()
        return child

    async def _spawn(self, name: str, module: str, stack: AsyncExitStack) -> SupervisedProcess:
        child = await SupervisedProcess.spawn(
            name, [sys.executable, "-P", "-m", module], self._logs / f"{name}.log", piped=True
        )
        stack.push_async_callback(child.end_now)
        self._children.append(child)
        return child

    async def _connect(self, link: ProxiedLink, address: Address, stack: AsyncExitStack) -> None:
        await link.connect(address)
        stack.push_async_callback(_disconnect, link)

    async def _read(self, child: SupervisedProcess) -> None:
        """Take the echoes that a process of clients reports, until it ends."""
        pipe = child.process.stdout
        while pipe is not None and (line := await pipe.readline()):
            for link, at in msgspec.json.decode(line, type=Echoes).at.items():
                self._echoes[link] += at

    # the storm --------------------------------------------------------------------------------------------------------

    async def _await_joins(self) -> None:
        limit = self._total / self._workers / RAMP_PER_S + JOIN_MARGIN_S
        if not await self._await_returns(limit):
            raise HarnessError(
                f"only {self._returned} of {self._total} bare clients connected through the proxies within {limit:.0f} "
                "s: this machine cannot carry the fleet; run fewer clients with --scale"
            )

    async def _await_returns(self, limit: Seconds) -> bool:
        """Whether all clients had an echo within ``limit`` seconds; HarnessError when one of the processes ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self._returned < self._total:
                    self._require_life()
                    self._on_tick()
                    await asyncio.sleep(TICK_S)
        return self._returned >= self._total

    def _require_life(self) -> None:
        for child in self._children:
            if child.exit_code is not None:
                raise HarnessError(f"{child.name} is gone ({describe_exit(child.exit_code)}); {child.log_tail()}")

    async def _storm(self, roles: Roles) -> StormReturns:
        """Cut all at once, and follow their return."""
        await asyncio.sleep(SETTLE_S)
        for at in self._echoes.values():
            at.clear()
        cpu = _cpu_of(roles)
        cut_at = dict[str, Instant]()
        await run_all([self._cut(link, cut_at) for link in self._links])
        await self._await_returns(JOIN_MARGIN_S)
        used = {role: after - cpu[role] for role, after in _cpu_of(roles).items()}
        excesses = [at - cut_at[link] for link, echoes in self._echoes.items() for at in echoes]
        return StormReturns(tuple(excesses), used)

    async def _cut(self, link: str, cut_at: dict[str, Instant]) -> None:
        times = await self._links[link].apply(CloseAll())
        cut_at[link] = self._clock.epoch + times.before


async def _disconnect(link: ProxiedLink) -> None:
    """Delete the link's proxy; where that fails, the run's own proxy cannot be opened, and the run says so."""
    with contextlib.suppress(ToxiproxyError):
        await link.disconnect()


def _cpu_of(roles: Roles) -> dict[str, Seconds]:
    """Processor seconds so far, by role."""
    return {role: sum(cpu_seconds(pid) or 0.0 for pid in pids) for role, pids in roles.items()}
