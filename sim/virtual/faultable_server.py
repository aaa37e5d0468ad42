"""Carries out what faults do to the virtual server, kills at a boundary of its work among it. Knows no links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from resilience.errors import describe_error
from resilience.experiment.primitives import (
    Crash,
    CrashPoint,
    DrainServer,
    Kill,
    ResumeServer,
    ServerOperation,
    Start,
    SuspendServer,
)
from resilience.lab.canary import NetworkCanary
from resilience.lab.system import CallTimes
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .server_process import HOST, PORT, VirtualHost, VirtualServerProcess

HANDSHAKE_S: Seconds = 0.06
"""A kill during a handshake comes up to so long after the dial: six packets of a slow link."""

DRAIN_STEP_S: Seconds = 0.2
LISTENING_STEP_S: Seconds = 0.005

PLAIN_KILL = Crash()
"""What SIGKILL does: sent bytes still arrive, a commit under way and the unflushed log are lost."""


class FaultableVirtualServer:
    """A :class:`~resilience.lab.system.FaultableServer` of one process after another on the same host.

    Kills and drains add up: the next process starts when as many starts were carried out. So do suspensions of one
    process; the one after it runs. An order to end wakes a suspended process, and so does the start of the next one.
    """

    def __init__(self, host: VirtualHost, clock: RunClock) -> None:
        self._host, self._clock = host, clock
        self._number = self._kills = self._suspensions = 0
        self._triggers: list[CrashTrigger] = []
        self.process: VirtualServerProcess
        self.failure: str | None = None

    async def start(self) -> None:
        """Start the next process; returns when it listens or is dead. ``failure`` says why it could not start."""
        self._number += 1
        self.process = process = VirtualServerProcess(self._host, self._number, self._on_boundary)
        for trigger in list(self._triggers):
            trigger.watch(process)
        try:
            await process.start()
        except Exception as error:  # noqa: BLE001 - whatever it raises, it is the server that failed
            self.failure = f"the server could not start: {describe_error(error)}"
            process.die(PLAIN_KILL)

    async def apply(self, operation: ServerOperation) -> CallTimes:
        """Carry out one operation; a kill with a crash returns when the server has died there."""
        before = self._clock.now()
        match operation:
            case Kill(crash=Crash() as crash):
                before = await self._kill_at(crash)
            case Kill():
                self.kill(PLAIN_KILL)
            case DrainServer():
                self._kills += 1
                self.process.resume()
                self.process.drain()
            case Start():
                self._kills = max(self._kills - 1, 0)
                if not self._kills:
                    await self._replace()
            case SuspendServer():
                self._suspensions += 1
                self.process.suspend()
            case ResumeServer():
                self._suspensions = max(self._suspensions - 1, 0)
                if not self._suspensions:
                    self.process.resume()
        return CallTimes(before, self._clock.now())

    def kill(self, crash: Crash) -> None:
        """Kill the process, if one lives; none starts before this kill's own start."""
        self._kills += 1
        self.process.die(crash)

    def canary(self) -> NetworkCanary:
        """A canary that goes straight to the server."""
        return NetworkCanary((HOST, PORT), (HOST, PORT))

    async def repair(self) -> None:
        """Let the process run, or start one if none lives."""
        self._kills = self._suspensions = 0
        self.process.resume()
        await self._replace()

    async def _replace(self) -> None:
        """Start the next process once the one before has ended; not while one lives that nothing ends."""
        self.process.resume()
        await self.process.end()
        if not self.process.is_alive:
            await self.start()

    def on_dial(self) -> None:
        """A client dials."""
        for trigger in self._triggers:
            trigger.on_dial()

    async def _kill_at(self, crash: Crash) -> Instant:
        trigger = CrashTrigger(crash, self.kill, self._host.loop, self._clock)
        self._triggers.append(trigger)
        try:
            if self.process.is_alive:
                trigger.watch(self.process)
            return await trigger.fired
        finally:
            self._triggers.remove(trigger)
            trigger.disarm()

    def _on_boundary(self, point: CrashPoint) -> None:
        for trigger in list(self._triggers):
            trigger.on_boundary(point)


class CrashTrigger:
    """Waits for the boundary at which a server is to die, and kills it there. ``fired``: when it did."""

    def __init__(
        self, crash: Crash, kill: Callable[[Crash], None], loop: asyncio.AbstractEventLoop, clock: RunClock
    ) -> None:
        self._crash, self._kill, self._loop, self._clock = crash, kill, loop, clock
        self._skip = crash.skip
        self._process: VirtualServerProcess | None = None
        self.fired: asyncio.Future[Instant] = loop.create_future()
        self._limit = loop.call_later(crash.within, self._fire)

    def disarm(self) -> None:
        """Kill nothing any more."""
        self.fired.cancel()
        self._limit.cancel()

    def watch(self, process: VirtualServerProcess) -> None:
        """A process lives, or begins to start: the boundaries to come are its own."""
        self._process = process
        if self._crash.point is CrashPoint.INSTANT:
            self._fire()
        elif self._crash.point is CrashPoint.DRAIN and process.is_listening:
            self._drain(process)

    def on_boundary(self, point: CrashPoint) -> None:
        """The process crosses a boundary."""
        process, wanted = self._process, self._crash.point
        if process is None or self.fired.done():
            return
        if wanted is CrashPoint.ORDERED and point is CrashPoint.EVENT:
            self._loop.call_soon(self._count, process)
        elif wanted is CrashPoint.DRAIN and point is CrashPoint.LISTENING:
            self._drain(process)
        elif wanted is point is CrashPoint.LISTENING:
            self._loop.call_later(LISTENING_STEP_S * self._crash.skip, self._fire_in, process)
        elif wanted is point:
            self._count(process)

    def on_dial(self) -> None:
        """A client dials: a handshake follows."""
        if self._crash.point is CrashPoint.HANDSHAKE and self._process is not None and self._process.is_listening:
            self._loop.call_later(HANDSHAKE_S * self._crash.kept, self._count, self._process)

    def _drain(self, process: VirtualServerProcess) -> None:
        process.drain()
        self._loop.call_later(DRAIN_STEP_S * (self._crash.skip + self._crash.kept), self._fire_in, process)

    def _count(self, process: VirtualServerProcess) -> None:
        if self._skip and process.is_alive:
            self._skip -= 1
        else:
            self._fire_in(process)

    def _fire_in(self, process: VirtualServerProcess) -> None:
        if process.is_alive:
            self._fire()

    def _fire(self) -> None:
        if not self.fired.done():
            self.fired.set_result(self._clock.now())
            self._kill(self._crash)
