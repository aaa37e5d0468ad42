"""The real Toxiproxy for the tests of this folder: found or built once, started once a test, always ended."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from chaos.toxiproxy.client import ToxiproxyApi
from chaos.toxiproxy.process import ToxiproxyProcess
from chaos.toxiproxy.provision import Binary

from ...support.deadlines import HANG_S


@pytest.fixture
async def server(binary: Binary) -> AsyncIterator[ToxiproxyProcess]:
    """One running server."""
    process = await ToxiproxyProcess.start(binary)
    try:
        yield process
    finally:
        await process.stop()


@pytest.fixture
async def api(server: ToxiproxyProcess) -> AsyncIterator[ToxiproxyApi]:
    """A client of that server, which does not find it hung on a busy machine."""
    with contextlib.closing(server.api(HANG_S)) as client:
        yield client
