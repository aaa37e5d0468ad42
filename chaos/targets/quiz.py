"""Our own quiz server as the system under test: in a process of its own, proven healthy, and struck by faults.

Every process of one run has the same port, database, event log and run clock. Knows how the server is configured and
probed; knows no schedule and no clients.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from resilience.errors import HarnessError, InjectionError, PortInUseError, SystemFailedError
from resilience.experiment.loader import to_toml
from resilience.experiment.primitives import DrainServer, Kill, ResumeServer, ServerOperation, Start, SuspendServer
from resilience.experiment.spec import Experiment
from resilience.lab.canary import PAUSE_S, NetworkCanary, ProbeResult, probe
from resilience.lab.participants import EVENT
from resilience.lab.server_watch import RESTART_S
from resilience.lab.system import CallTimes
from resilience.runtime import RunClock
from resilience.server.app import WEBSOCKET_PATH
from resilience.settings import PLAIN_NAMES
from resilience.units import Instant, Seconds

from ..ports import free_ports
from ..proxied_link import HOST, Address
from ..supervised import SupervisedProcess, describe_exit, tail_of

STOP_TIMEOUT_S: Seconds = 10.0
"""How long, after its drain, the server may take to commit its answers and to write its final records."""

PROBE_LIMIT_S: Seconds = 60.0
"""How long one probe of the standing watch waits; the watch itself decides earlier."""

_OBEYED = frozenset({0, -signal.SIGTERM})
"""Exit codes of a server after SIGTERM; the second is that of one that was just starting."""

_TRIES = 5
_PORT_TAKEN = "already in use"
_OWN_VARIABLES = ("RESILIENCE_", *(name.upper() for name in PLAIN_NAMES))


class StartupTimeoutError(HarnessError):
    """The server works but was not ready in time."""


class QuizTarget:
    """The server of one run, a :class:`~resilience.lab.system.FaultableServer`; nothing runs before :meth:`launch`.

    ``database`` is the URL of its database. ``clock`` is the run's; the server logs in its time.
    """

    def __init__(
        self, experiment: Experiment, seed: int, run_dir: Path, *, clock: RunClock, database: str | None = None
    ) -> None:
        self.address = Address(HOST, 0)
        self.database = database or f"sqlite:///{(run_dir / 'quiz.db').absolute()}"
        self._own_database = run_dir / "quiz.db" if database is None else None
        self._seed, self._clock = seed, clock
        self._events = run_dir / "events" / "server.jsonl"
        self._log = run_dir / "logs" / "server.log"
        self._config = run_dir / "server.toml"
        self._config.write_text(settings_of(experiment), encoding="utf-8")
        self._child: SupervisedProcess | None = None
        self._ends = self._suspensions = 0
        self._is_draining = False
        self._returned_at: Instant = -RESTART_S
        self._drain_window = experiment.server.drain_window

    @property
    def url_path(self) -> str:
        """Where on the server clients connect."""
        return WEBSOCKET_PATH

    async def launch(self, by: Instant) -> None:
        """Start the first server, on a new run of the event; returns once ``/healthz`` answers.

        ``by`` is an instant of the system's monotonic clock. Raises :class:`StartupTimeoutError` when the server is not
        healthy then, HarnessError with the end of its log when it ends.
        """
        for _ in range(_TRIES):
            self.address = Address(HOST, free_ports(1, HOST)[0])
            for file in (self._own_database, self._events, self._log):
                if file is not None:
                    file.unlink(missing_ok=True)
            await self._spawn("--fresh")
            try:
                await self._become_healthy(by)
            except PortInUseError:
                continue
            except BaseException:
                await self._kill()
                raise
            return
        raise HarnessError(f"other programs took {_TRIES} free ports in a row; end other runs and try again")

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
                self._signal(signal.SIGTERM)
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
                    self._go_on()
        return CallTimes(before, self._clock.now())

    def canary(self) -> NetworkCanary:
        """A canary that goes straight to the server."""
        return NetworkCanary(self.address, self.address)

    async def repair(self) -> None:
        """Let the server run, or start it if it was killed or drained; one that ended by itself stays as it is."""
        self._ends = self._suspensions = 0
        self._go_on()
        await self._replace()

    def death(self) -> str | None:
        """How the server ended by itself, if it did."""
        child = self._child
        if child is None or child.exit_code is None or (self._is_draining and not child.exit_code):
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
        """Request ``/healthz`` straight from the server; takes as long as the server's silence lasts."""
        result = await probe(self.address, within=PROBE_LIMIT_S)
        if result is ProbeResult.ANSWERED:
            self._returned_at = -RESTART_S  # from now on no return explains a silence
        return result

    def log_tail(self) -> str | None:
        """The end of its log."""
        return tail_of(self._log)

    def check(self) -> None:
        """Raise PortInUseError when a restarted server ended because another program has its port."""
        child = self._child
        if child is not None and child.exit_code and _PORT_TAKEN in child.log_tail():
            raise PortInUseError(*self.address)

    async def stop(self) -> None:
        """End it in order: it writes its final records first.

        SystemFailedError when it had to be killed, or ended in another way than by obeying.
        """
        child = self._child
        if child is None or child.exit_code is not None:
            return
        timeout = STOP_TIMEOUT_S + self._drain_window
        if self._suspensions:
            self._go_on()
        is_orderly = await child.stop(timeout)
        self._child = None
        if not is_orderly:
            within = f"{timeout:g} s of SIGTERM, at {self._clock.now():.1f} s"
            raise SystemFailedError(f"the server did not end within {within}", has_ended=False)
        code = child.exit_code
        if code is not None and code not in _OBEYED:
            raise SystemFailedError(f"the server did not end in order ({describe_exit(code)})")

    async def _replace(self) -> None:
        """Start the next process once the one before has ended; not while one runs that nothing ends."""
        if self._is_draining and self._child is not None:
            if not await self._child.ended(STOP_TIMEOUT_S):
                late = f"the server did not end within {STOP_TIMEOUT_S:g} s of the time that its drain was left"
                if self._suspensions:
                    raise InjectionError(f"{late}: it is suspended")
                raise SystemFailedError(late, has_ended=False)
            self.require_life()
            self._child, self._is_draining = None, False
        if self._child is None:
            self._returned_at = self._clock.now()
            await self._spawn()

    def _go_on(self) -> None:
        """Let the process run, whether it is suspended or not."""
        self._returned_at = self._clock.now()
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.signal(number)

    async def _spawn(self, *flags: str) -> None:
        command = [*self._command(), *flags]
        environment = {**clean_environment(os.environ), "RESILIENCE_DB": self.database}  # a URL may hold a password
        self._child = await SupervisedProcess.spawn("server", command, self._log, env=environment)

    async def _kill(self) -> None:
        child, self._child, self._is_draining = self._child, None, False
        if child is not None:
            await child.end_now()

    async def _become_healthy(self, by: Instant) -> None:
        while await probe(self.address) is not ProbeResult.ANSWERED:
            self.check()
            death = self.death()
            if death is not None:
                raise HarnessError(f"{death}; {self._log_tail()}")
            if time.monotonic() > by:
                raise StartupTimeoutError(f"the server was not healthy in time; {self._log_tail()}")
            await asyncio.sleep(PAUSE_S)

    def _log_tail(self) -> str:
        return "" if self._child is None else self._child.log_tail()

    def _command(self) -> list[str]:
        options = {
            "host": self.address.host,
            "port": self.address.port,
            "config": self._config,
            "event": EVENT,
            "seed": self._seed,
            "event-log": self._events,
            "epoch": repr(self._clock.epoch),
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-P", "-m", "resilience", "serve", *flags]


def settings_of(experiment: Experiment) -> str:
    """The experiment's server and quiz tables as a settings file of the server."""
    tables = tomllib.loads(to_toml(experiment))
    return msgspec.toml.encode({name: tables[name] for name in ("server", "quiz")}).decode()


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the server's own settings, which would override the experiment's."""
    return {key: value for key, value in environ.items() if not key.startswith(_OWN_VARIABLES)}
