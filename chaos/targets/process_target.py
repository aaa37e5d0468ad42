"""A server that runs as a process of the laboratory: started, proven healthy, struck by faults, replaced, stopped.

Every process of one run has the same address and log. What the program is, how it is asked to end and how its health
shows is said by a subclass. Knows no schedule and no clients.
"""

from __future__ import annotations

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from resilience.errors import HarnessError, PortInUseError, SystemFailedError
from resilience.experiment.primitives import DrainServer, Kill, ResumeServer, ServerOperation, Start, SuspendServer
from resilience.lab.canary import PAUSE_S, NetworkCanary, ProbeResult, probe
from resilience.lab.link_probes import HealthRequests
from resilience.lab.server_watch import RESTART_S
from resilience.lab.system import CallTimes
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from ..ports import free_ports
from ..proxied_link import HOST, Address
from ..supervised import SupervisedProcess, describe_exit, tail_of

PROBE_LIMIT_S: Seconds = 60.0
"""How long one probe of the standing watch waits; the watch itself decides earlier."""

_TRIES = 5
_PORT_TAKEN = "already in use"


class StartupTimeoutError(HarnessError):
    """The server works but was not ready in time."""


class ProcessTarget(ABC):
    """The server of one run, a :class:`~chaos.targets.protocol.TargetServer`; nothing runs before :meth:`start`.

    ``log`` takes everything that its processes print. ``stop_signal`` asks one to end in order.
    ``may_start_others``: the program may be a shell or another wrapper of the server.
    """

    database: str | None = None
    stop_signal = signal.SIGTERM
    may_start_others = False

    def __init__(self, log: Path, clock: RunClock, health: HealthRequests) -> None:
        self.address = Address(HOST, 0)
        self.health = health
        self._log, self._clock = log, clock
        self._child: SupervisedProcess | None = None
        self._ends = self._suspensions = 0
        self._is_draining = False
        self._returned_at: Instant = -RESTART_S

    # what a subclass says ---------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def url_path(self) -> str:
        """Where on the server clients connect."""

    @property
    @abstractmethod
    def end_timeout(self) -> Seconds:
        """How long a drained server may still take to end once its window is over."""

    @property
    @abstractmethod
    def stop_timeout(self) -> Seconds:
        """How long it may take to end once it was asked to."""

    @abstractmethod
    async def start(self) -> None:
        """Call :meth:`launch` and set the run's start."""

    @abstractmethod
    def _command(self, *, is_first: bool) -> list[str]:
        """The command of a process; ``is_first``: it begins the run, and finds nothing of an earlier process."""

    @abstractmethod
    def _environment(self) -> Mapping[str, str]:
        """Its whole environment."""

    @property
    def _directory(self) -> Path | None:
        """Where it runs; ``None``: where the runner does."""
        return None

    def _choose_address(self) -> Address:
        """Where the processes of this run are to listen."""
        return Address(HOST, free_ports(1, HOST)[0])

    def _left_behind(self) -> Sequence[Path]:
        """The files that a start which failed may have left, and that the next one must not find."""
        return ()

    def _is_orderly(self, exit_code: int) -> bool:
        """Whether a process that was asked to end may end with this exit code."""
        return exit_code == 0

    async def _is_ready(self) -> bool:
        """Whether a server that is starting is ready for clients."""
        return await probe(self.address, request=self.health.alive) is ProbeResult.ANSWERED

    # start and end ----------------------------------------------------------------------------------------------------

    async def launch(self, by: Instant) -> None:
        """Start the first process of the run; returns once it is ready.

        ``by`` is an instant of the system's monotonic clock. Raises :class:`StartupTimeoutError` when the server is not
        ready then, HarnessError with the end of its log when it ends.
        """
        for _ in range(_TRIES):
            self.address = self._choose_address()
            for file in (self._log, *self._left_behind()):
                file.unlink(missing_ok=True)
            await self._spawn(is_first=True)
            try:
                await self._become_ready(by)
            except PortInUseError:
                continue
            except BaseException:
                await self._kill()
                raise
            return
        raise HarnessError(f"other programs took {_TRIES} free ports in a row; end other runs and try again")

    async def stop(self) -> None:
        """End it in order: it writes its final records first.

        SystemFailedError when it had to be killed, or ended in another way than by obeying. One that was just starting
        may be ended by the signal itself.
        """
        child = self._child
        if child is None or child.exit_code is not None:
            return
        if self._suspensions:
            self._continue()
        is_orderly = await child.stop(self.stop_timeout, self.stop_signal)
        self._child = None
        if not is_orderly:
            within = f"{self.stop_timeout:g} s of {self.stop_signal.name}, at {self._clock.now():.1f} s"
            raise SystemFailedError(f"the server did not end within {within}", has_ended=False)
        code = child.exit_code
        if code is not None and code != -self.stop_signal and not self._is_orderly(code):
            raise SystemFailedError(f"the server did not end in order ({describe_exit(code)})")

    async def _become_ready(self, by: Instant) -> None:
        while True:
            is_ready = await self._is_ready()
            self.check()
            death = self.death()
            if death is not None:
                raise HarnessError(f"{death}; {self._log_tail()}")
            if is_ready:
                return
            if time.monotonic() > by:
                raise StartupTimeoutError(f"the server was not healthy in time; {self._log_tail()}")
            await asyncio.sleep(PAUSE_S)

    # faults -----------------------------------------------------------------------------------------------------------

    async def apply(self, operation: ServerOperation) -> CallTimes:
        """Carry out one operation. Kills and drains add up: the server starts with as many starts as there were.

        So do suspensions. Raises :class:`~resilience.errors.SystemFailedError` when the server ended by itself, or did
        not end although it was asked to.
        """
        self.require_life()
        before = self._clock.now()
        match operation:
            case Kill():
                self._ends += 1
                await self._kill()
            case DrainServer():
                self._ends += 1
                self._is_draining = self._child is not None
                self._signal(self.stop_signal)
                self._wake()
            case Start():
                self._ends = max(self._ends - 1, 0)
                if not self._ends:
                    await self._replace()
            case SuspendServer():
                self._suspensions += 1
                self._signal(signal.SIGSTOP)
            case ResumeServer():
                self._suspensions = max(self._suspensions - 1, 0)
                if not self._suspensions:
                    self._continue()
        return CallTimes(before, self._clock.now())

    def canary(self) -> NetworkCanary:
        """A canary that goes straight to the server."""
        return NetworkCanary(self.address, self.address, self.health)

    async def repair(self) -> None:
        """Let the server run, or start it if it was killed or drained; one that ended by itself stays as it is."""
        self._ends = self._suspensions = 0
        self._continue()
        await self._replace()

    async def _replace(self) -> None:
        """Start the next process once the one before has ended; not while one runs that nothing ends."""
        if self._is_draining and self._child is not None:
            self._wake()
            if not await self._child.ended(self.end_timeout):
                late = f"the server did not end within {self.end_timeout:g} s of the time that its drain was left"
                raise SystemFailedError(late, has_ended=False)
            self.require_life()
            self._child, self._is_draining = None, False
        if self._child is None:
            self._returned_at = self._clock.now()
            await self._spawn(is_first=False)

    def _wake(self) -> None:
        """A suspended process cannot end in order: let it continue, as service managers do that order an end."""
        if self._suspensions:
            self._continue()

    def _continue(self) -> None:
        """Let the process run, whether it is suspended or not."""
        self._returned_at = self._clock.now()
        self._signal(signal.SIGCONT)

    # what is known of it ----------------------------------------------------------------------------------------------

    def death(self) -> str | None:
        """How the server ended by itself, if it did."""
        child = self._child
        if child is None or child.exit_code is None or (self._is_draining and self._is_orderly(child.exit_code)):
            return None
        return f"the server ended by itself ({describe_exit(child.exit_code)})"

    def require_life(self) -> None:
        """Raise :class:`~resilience.errors.SystemFailedError` when the server ended by itself.

        PortInUseError when it could not be restarted because another program has its port: not its own doing.
        """
        death = self.death()
        if death is not None:
            self.check()
            raise SystemFailedError(f"{death} at {self._clock.now():.1f} s")

    def check(self) -> None:
        """Raise PortInUseError when a restarted server ended because another program has its port."""
        child = self._child
        if child is not None and child.exit_code and _PORT_TAKEN in child.log_tail().lower():
            raise PortInUseError(*self.address)

    @property
    def is_absent_by_plan(self) -> bool:
        """Whether a fault explains that it does not answer: it is not there, stands still, or returned just now."""
        is_absent = self._child is None or self._is_draining or self._suspensions > 0
        return is_absent or self._clock.now() < self._returned_at + RESTART_S

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        child = self._child
        return None if child is None or child.exit_code is not None else child.process.pid

    async def probe(self) -> ProbeResult:
        """Make a health request straight to the server; takes as long as the server's silence lasts."""
        result = await probe(self.address, within=PROBE_LIMIT_S, request=self.health.alive)
        if result is ProbeResult.ANSWERED:
            self._returned_at = -RESTART_S  # from now on no return explains a silence
        return result

    def log_tail(self) -> str | None:
        """The end of its log."""
        return tail_of(self._log)

    def _log_tail(self) -> str:
        return "" if self._child is None else self._child.log_tail()

    # the process ------------------------------------------------------------------------------------------------------

    async def _spawn(self, *, is_first: bool) -> None:
        self._child = await SupervisedProcess.spawn(
            "the server",
            self._command(is_first=is_first),
            self._log,
            env=self._environment(),
            cwd=self._directory,
            guarded=self.may_start_others,
        )

    async def _kill(self) -> None:
        child, self._child, self._is_draining = self._child, None, False
        if child is not None:
            await child.end_now()

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.signal(number)
