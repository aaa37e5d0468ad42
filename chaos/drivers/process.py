"""A driver's process and its lines: sent, read, and rejected with the line quoted. Knows no clients and no run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from resilience.errors import DriverError, UsageError
from resilience.units import Instant, Seconds

from ..placeholders import EXAMPLES as EXAMPLES_FOLDER
from ..placeholders import fill_placeholders
from ..supervised import SupervisedProcess, describe_exit
from .clock import MAX_UNCERTAINTY_S, DriverClock, Greeting
from .messages import VERSION, BrokenLineError, DriverReady, Hello, Order, Problem, Report, decode, encode, quoted

EXAMPLES = EXAMPLES_FOLDER  # under this name docs/own-system.md finds them
"""The drivers that ship with the program."""

GREETINGS = 8
"""So many greetings measure a clock, at first."""

MAX_GREETINGS = 200
"""After so many the clock is not known better than it is."""


def resolve_command(command: Sequence[str], key: str = "driver.command") -> list[str]:
    """The command with its placeholders filled in. UsageError when its program does not exist; ``key`` names it."""
    words = fill_placeholders(command)
    program = shutil.which(words[0])
    if program is None:
        rule = "no such program, or not executable; name one on PATH, or a path from where the command is started"
        raise UsageError(f"{key}: {words[0]!r}: {rule}")
    return [str(Path(program).absolute()), *words[1:]]


def key_of(driver: str | None) -> str:
    """The key under which an experiment says which command the driver of this name has."""
    return "driver.command" if driver is None else f"drivers.{driver}.command"


def environment_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a driver: that of the runner, but Python writes each line at once."""
    return {**environ, "PYTHONUNBUFFERED": "1"}


class DriverProcess:
    """A driver that was started as a child with pipes."""

    def __init__(self, child: SupervisedProcess) -> None:
        self.child = child
        self.lines = 0
        self.line = b""
        """The line that was read last."""
        self.received: Instant = 0.0
        """When it came, on the system's monotonic clock."""

    @property
    def name(self) -> str:
        """The name of the process in logs and messages."""
        return self.child.name

    async def send(self, order: Order) -> None:
        """Write one line; DriverError when the process is gone."""
        await self.send_line(encode(order))

    async def send_line(self, line: bytes) -> None:
        """Write a line as it is; DriverError when the process is gone."""
        pipe = self.child.process.stdin
        try:
            if pipe is not None:
                pipe.write(line)
                await pipe.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise await self.gone() from None

    async def receive(self) -> Report:
        """The next report. DriverError when the line breaks the protocol, reports a problem, or there is none."""
        try:
            report = await self.read()
        except BrokenLineError as error:
            raise self.broken(error) from None
        if isinstance(report, Problem):
            raise DriverError(f"{self.name} reports: {report.message}")
        return report

    async def read(self) -> Report:
        """The next report, whatever it says. BrokenLineError for a line that is none, DriverError for no line."""
        pipe = self.child.process.stdout
        try:
            line = await pipe.readline() if pipe is not None else b""
        except ValueError:
            raise DriverError(f"{self.name}: line {self.lines + 1} is too long; at most 4 MiB") from None
        if not line:
            raise await self.gone()
        self.lines, self.line, self.received = self.lines + 1, line, time.monotonic()
        return decode(line)

    def broken(self, why: BrokenLineError | str) -> DriverError:
        """The error for the line that was read last."""
        return DriverError(f"{self.name}, line {self.lines}: {why}; the line: {quoted(self.line)}")

    async def gone(self) -> DriverError:
        """The error for a process that closed its output."""
        if await self.child.ended(1.0):
            how = f"ended by itself ({describe_exit(self.child.exit_code or 0)})"
        else:
            how = "closed its standard output"
        return DriverError(f"{self.name} {how}; {self.child.log_tail()}")

    def check_version(self, ready: DriverReady) -> None:
        """DriverError when the driver speaks another version of the protocol."""
        if ready.version != VERSION:
            raise self.broken(f"it speaks version {ready.version} of the protocol, this program version {VERSION}")

    async def measure_clock(self) -> tuple[DriverClock, DriverReady]:
        """Greet it until its clock is known; the last answer tells its name. DriverError when that does not succeed."""
        clock = DriverClock()
        for n in range(1, MAX_GREETINGS + 1):
            ready, greeting = await self._greet(n)
            try:
                clock.measure(greeting)
            except BrokenLineError as error:
                raise self.broken(error) from None
            if n >= GREETINGS and clock.uncertainty <= MAX_UNCERTAINTY_S:
                return clock, ready
        known = f"known to {clock.uncertainty:.3f} s, at most {MAX_UNCERTAINTY_S:g} s will do"
        raise DriverError(f"{self.name}: after {MAX_GREETINGS} greetings its clock is {known}: answer hello at once")

    async def _greet(self, n: int) -> tuple[DriverReady, Greeting]:
        sent: Seconds = time.monotonic()
        await self.send(Hello(VERSION, n))
        ready = await self.receive()
        if not isinstance(ready, DriverReady):
            raise self.broken("the first lines answer hello with ready, and nothing else")
        if ready.n != n:
            raise self.broken(f"it answers the greeting {ready.n}; this was number {n}")
        self.check_version(ready)
        return ready, Greeting(sent, ready.t, self.received)
