"""What every simulated system says of its laboratory: nothing of it can fail, fall silent or run late by itself."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from resilience.lab.health import LabHealth
from resilience.lab.recorder import RunRecorder
from resilience.lab.system import FaultableClients

T = TypeVar("T")


class SimulatedSystem:
    """The part of a :class:`~resilience.lab.system.System` that does not depend on what is simulated."""

    @property
    def client_groups(self) -> Mapping[str, FaultableClients]:
        """None: no fault acts on simulated clients, unless the lane says otherwise."""
        return {}

    async def supervise(self, main: Coroutine[Any, Any, T], recorder: RunRecorder) -> T:
        """Run ``main``; nothing of a simulated laboratory can fail meanwhile."""
        del recorder
        return await main

    def server_log_tail(self) -> str | None:
        """A simulated server keeps no log of its own."""
        return None

    def server_is_silent(self) -> bool:
        """A simulated server runs in the thread of its laboratory; one that stops stops the simulation."""
        return False

    def measured(self) -> LabHealth | None:
        """Simulated time cannot run late."""
        return None
