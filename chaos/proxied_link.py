"""One cohort's way to the server: a Toxiproxy process, its control client and its one proxy. Knows no schedule.

A link whose proxy hangs or dies is replaced on the same port; whoever held a fault on it learns so from ``generation``.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from resilience.errors import HarnessError, PortInUseError, ToxiproxyError
from resilience.units import Seconds

from .ports import free_ports
from .toxiproxy.client import CallTimes, Toxic, ToxiproxyApi
from .toxiproxy.process import ToxiproxyProcess
from .toxiproxy.provision import Binary

HOST = "127.0.0.1"

API_DEADLINE_S: Seconds = 3.0
"""How long one order may take before the proxy counts as hung; healthy ones were measured at up to 0.7 s under load."""

_TRIES = 5


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


class ProxiedLink:
    """The proxied way of one cohort. ``generation`` grows whenever the proxy had to be replaced."""

    def __init__(self, cohort: str, process: ToxiproxyProcess) -> None:
        self.cohort, self.process, self.generation = cohort, process, 0
        self.api: ToxiproxyApi = process.api(API_DEADLINE_S)
        self.address = Address(HOST, 0)
        self._upstream = Address(HOST, 0)
        self._closers = 0
        self._mending = asyncio.Lock()

    @classmethod
    async def start(cls, cohort: str, binary: Binary, log: Path) -> ProxiedLink:
        """Start the cohort's own Toxiproxy; it carries nothing until :meth:`connect`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        return cls(cohort, await ToxiproxyProcess.start(binary, HOST, log_path=log))

    async def connect(self, upstream: Address) -> None:
        """Open the proxy to ``upstream`` on a free port, and on another one if that is lost meanwhile."""
        self._upstream = upstream
        for _ in range(_TRIES):
            self.address = Address(HOST, free_ports(1, HOST)[0])
            try:
                await self._create()
            except PortInUseError:
                continue
            return
        raise HarnessError(f"{self.cohort}: somebody took {_TRIES} free ports in a row; end other runs and try again")

    async def disable(self) -> CallTimes:
        """Close the listener and every connection. Counted: it stays so until as many :meth:`enable`."""
        self._closers += 1
        return await self.api.set_enabled(self.cohort, enabled=False)

    async def enable(self) -> CallTimes:
        """Take one :meth:`disable` back; the last one lets connections in again."""
        self._closers = max(0, self._closers - 1)
        if self._closers:
            now = time.monotonic()
            return CallTimes(now, now)
        return await self.api.set_enabled(self.cohort, enabled=True)

    async def add(self, toxic: Toxic) -> CallTimes:
        """Put a toxic on every connection, present and future."""
        return await self.api.add_toxic(self.cohort, toxic)

    async def remove(self, name: str) -> CallTimes:
        """Take a toxic off."""
        return await self.api.remove_toxic(self.cohort, name)

    async def replace(self, seen: int) -> bool:
        """Kill the proxy of generation ``seen`` and start a clean one on the same port; False if somebody did already.

        Every connection of the cohort ends. Raises HarnessError when no new one can be had.
        """
        async with self._mending:
            if seen != self.generation:
                return False
            self.api.close()
            await self.process.respawn()
            self.api = self.process.api(API_DEADLINE_S)
            self._closers = 0
            await self._create()
            self.generation += 1
            return True

    def check(self, seen: int) -> None:
        """Raise ToxiproxyError when the proxy was replaced since generation ``seen``, and its faults went with it."""
        if seen != self.generation:
            raise ToxiproxyError(f"the proxy of {self.cohort} was replaced meanwhile; its faults went with it")

    async def close(self) -> None:
        """End the proxy and its process."""
        self.api.close()
        await self.process.stop()

    async def _create(self) -> None:
        await self.api.create_proxy(self.cohort, str(self.address), str(self._upstream))
