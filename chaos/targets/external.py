"""A server that is there already as the system under test: probed, never started, struck or stopped."""

from __future__ import annotations

import asyncio
import time

from resilience.errors import HarnessError, InjectionError
from resilience.experiment.primitives import ServerOperation
from resilience.experiment.targets import ExternalTargetSpec, host_port
from resilience.lab.canary import PAUSE_S, NetworkCanary, ProbeResult, probe
from resilience.lab.system import CallTimes
from resilience.runtime import RunClock
from resilience.units import Seconds

from ..proxied_link import HOST, Address
from . import foreign
from .process_target import PROBE_LIMIT_S

READY_TIMEOUT_S: Seconds = 10.0
"""How long a server that should be there already may take to answer."""


class ExternalTarget:
    """The server at the address that ``spec`` names, a :class:`~chaos.targets.protocol.TargetServer`."""

    database: str | None = None
    pid: int | None = None
    is_absent_by_plan = False

    def __init__(self, spec: ExternalTargetSpec, *, clock: RunClock) -> None:
        self.address = Address(*(host_port(spec.address) or (HOST, 0)))
        self.health = foreign.health_of(spec)
        self._spec, self._clock = spec, clock

    @property
    def url_path(self) -> str:
        """Where on the server clients connect."""
        return self._spec.path

    async def start(self) -> None:
        """Wait until it is ready; the run starts a moment later."""
        by = time.monotonic() + READY_TIMEOUT_S
        while not await foreign.is_ready(self._spec, self.address):
            if time.monotonic() > by:
                did_not = f"did not {foreign.awaited(self._spec)} within {READY_TIMEOUT_S:g} s"
                raise HarnessError(f"the external target at {self.address} {did_not}: start it, or correct the address")
            await asyncio.sleep(PAUSE_S)
        self._clock.epoch = time.monotonic() + foreign.START_LEAD_S

    async def apply(self, operation: ServerOperation) -> CallTimes:
        """Raise InjectionError: an experiment with such a fault is rejected before it starts."""
        raise InjectionError(f"an external target cannot be struck by {type(operation).__name__}")

    def canary(self) -> NetworkCanary:
        """A canary that goes straight to the server."""
        return NetworkCanary(self.address, self.address, self.health)

    async def repair(self) -> None:
        """There is nothing to undo."""

    def death(self) -> str | None:
        """Only its silence shows, which the standing watch notices."""
        return None

    def require_life(self) -> None:
        """As :meth:`death`."""

    async def probe(self) -> ProbeResult:
        """Make a health request straight to the server; takes as long as the server's silence lasts."""
        return await probe(self.address, within=PROBE_LIMIT_S, request=self.health.alive)

    def log_tail(self) -> str | None:
        """Its log is not known."""
        return None

    async def stop(self) -> None:
        """Leave it running."""
