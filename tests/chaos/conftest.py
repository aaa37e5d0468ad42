"""The laboratory's parts over real sockets: a small server, a link to it through a real Toxiproxy, a journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chaos.journal import Journal
from chaos.proxied_link import ProxiedLink
from chaos.toxiproxy.provision import Binary
from resilience.runtime import RunClock

from ..support.deadlines import HANG_S
from ..support.http_stub import HttpStub


@pytest.fixture
async def stub() -> AsyncIterator[HttpStub]:
    """A server that answers /healthz."""
    async with HttpStub() as server:
        yield server


@pytest.fixture
async def link(
    binary: Binary, stub: HttpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ProxiedLink]:
    """The cohort's way to that server; only a test that sets a limit of its own finds its proxy hung."""
    monkeypatch.setattr("chaos.proxied_link.API_DEADLINE_S", HANG_S)
    started = await ProxiedLink.start("alpha", binary, tmp_path / "toxiproxy.log")
    try:
        await started.connect(stub.address)
        yield started
    finally:
        await started.close()


@pytest.fixture
def clock() -> RunClock:
    """A run that begins now."""
    return RunClock()


@pytest.fixture
def journal(tmp_path: Path, clock: RunClock) -> Iterator[Journal]:
    """The runner's log of that run."""
    opened = Journal(tmp_path, clock)
    yield opened
    opened.close()
