"""What the real lane asks of the system under test, whatever it is: a protocol only."""

from __future__ import annotations

from typing import Protocol

from resilience.lab.canary import ProbeResult
from resilience.lab.link_probes import HealthRequests
from resilience.lab.system import FaultableServer

from ..proxied_link import Address


class TargetServer(FaultableServer, Protocol):
    """One server from its start to its end; nothing runs before :meth:`start`."""

    @property
    def address(self) -> Address:
        """Where it listens; that is what goes behind the proxies. Known once it has started."""

    @property
    def url_path(self) -> str:
        """The path of the WebSocket URL at which clients connect."""

    @property
    def health(self) -> HealthRequests:
        """What canaries request of it."""

    @property
    def database(self) -> str | None:
        """The URL of the database that holds the quiz; ``None`` when there is none that this program can read."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs; ``None`` for one that this program has not started."""

    @property
    def is_absent_by_plan(self) -> bool:
        """Whether a fault explains that it does not answer now."""

    async def start(self) -> None:
        """Have it ready, and set the run's start (the epoch of the run's clock) a moment ahead.

        Raises :class:`~resilience.errors.HarnessError` when it is not ready in time, and leaves nothing of it running.
        """

    def death(self) -> str | None:
        """How it ended by itself, if it did."""

    def require_life(self) -> None:
        """Raise :class:`~resilience.errors.SystemFailedError` when it ended by itself."""

    async def probe(self) -> ProbeResult:
        """Make a health request straight to it; takes as long as its silence lasts."""

    def log_tail(self) -> str | None:
        """The end of its own log; ``None`` where there is none."""

    async def stop(self) -> None:
        """End what :meth:`start` started; SystemFailedError when it does not obey. May be called again."""
