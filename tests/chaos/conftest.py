"""The laboratory's parts over real sockets: a small server, links to it through a real Toxiproxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.proxied_link import ProxiedLink
from chaos.toxiproxy.provision import Binary
from resilience.runtime import RunClock

from ..support.http_stub import HttpStub
from ..support.proxy_timeouts import patient_with_proxies

__all__ = ["clock", "link", "patient_with_proxies", "resetting_link", "stub"]


@pytest.fixture
async def stub() -> AsyncIterator[HttpStub]:
    """A server that answers /healthz."""
    async with HttpStub() as server:
        yield server


@pytest.fixture
def clock() -> RunClock:
    """A run that begins now."""
    return RunClock()


@pytest.fixture
async def link(binary: Binary, stub: HttpStub, clock: RunClock, tmp_path: Path) -> AsyncIterator[ProxiedLink]:
    """The link ``alpha`` to that server."""
    started = await ProxiedLink.start("alpha", binary, tmp_path / "toxiproxy.log", clock)
    try:
        await started.connect(stub.address)
        yield started
    finally:
        await started.close()


@pytest.fixture
async def resetting_link(binary: Binary, stub: HttpStub, clock: RunClock, tmp_path: Path) -> AsyncIterator[ProxiedLink]:
    """A link to that server on which every close is a reset."""
    started = await ProxiedLink.start("beta", binary, tmp_path / "toxiproxy-beta.log", clock, resets=True)
    try:
        await started.connect(stub.address)
        yield started
    finally:
        await started.close()
