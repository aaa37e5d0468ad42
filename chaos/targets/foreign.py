"""What the targets share that are not this program's own server: what canaries request, and when they are ready."""

from __future__ import annotations

import asyncio
import contextlib

from resilience.experiment.targets import CommandTargetSpec, ExternalTargetSpec
from resilience.lab.canary import PROBE_TIMEOUT_S, ProbeResult, probe
from resilience.lab.link_probes import HealthRequest, HealthRequests
from resilience.units import Seconds

from ..proxied_link import Address

START_LEAD_S: Seconds = 1.0
"""How far ahead the run's start is set once the target is ready: in it proxies open and clients get their URLs."""


def health_of(spec: CommandTargetSpec | ExternalTargetSpec) -> HealthRequests:
    """A 2xx at ``ready``; without that any HTTP status at the WebSocket path, which shows that bytes go both ways."""
    request = HealthRequest(spec.path, any_status=True) if spec.ready is None else HealthRequest(spec.ready)
    return HealthRequests(alive=request, ready=request)


async def is_ready(spec: CommandTargetSpec | ExternalTargetSpec, address: Address) -> bool:
    """Whether the target is ready for clients now."""
    if spec.ready is not None:
        return await probe(address, request=HealthRequest(spec.ready)) is ProbeResult.ANSWERED
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(*address)
        writer.close()
        return True
    return False


def awaited(spec: CommandTargetSpec | ExternalTargetSpec) -> str:
    """What a target that is not ready does not do, for a message."""
    return "accept a TCP connection" if spec.ready is None else f"answer GET {spec.ready} with 2xx"
