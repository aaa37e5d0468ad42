"""What others notice of a connection that sends ten megabytes of pings a second."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.results import Row, rank
from tests.hostile.wire import PING, frame
from tests.support.processes import eventually
from tests.support.server_process import ADDRESS, HANDSHAKE, Stopwatch, target

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 10_000_000
TICK_S = 0.01
MOST_S = 0.05
PINGS = frame(b"p" * 125, PING) * (RATE // 100 // 131)
"""A tick's worth of pings of 125 octets."""

SETTINGS = "[server]\naddress_rate = 0\naddress_failures = 0\n[quiz]\nlobby = 3000.0\n"


class PingSender:
    """Sends pings at :data:`RATE` from a thread, or as fast as the server reads; ``sent`` counts octets."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self._over = threading.Event()
        self._socket = socket.create_connection((ADDRESS, port))
        self._socket.settimeout(TICK_S)
        self._socket.sendall(HANDSHAKE)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while this lasts."""
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._socket.close()

    def _send(self) -> None:
        rest = memoryview(b"")
        began = time.monotonic()
        while not self._over.wait(TICK_S):
            try:
                while self.sent < (time.monotonic() - began) * RATE and not self._over.is_set():
                    rest = rest or memoryview(PINGS)
                    count = self._socket.send(rest)
                    rest, self.sent = rest[count:], self.sent + count
            except TimeoutError:
                continue
            except OSError:
                return


async def measure(folder: Path, seconds: float) -> list[Row]:
    """Probes of one client while another floods the server."""
    async with target(folder, SETTINGS) as served:
        watch, sender = Stopwatch(served, "flood"), PingSender(served.port)
        with watch.running():
            await eventually(lambda: watch.replies > 0)
            watch.times.clear()
            watch.waits.clear()
            with sender.running():
                end = time.monotonic() + seconds
                await eventually(lambda: time.monotonic() > end and len(watch.times) > 1)
    worked, waited = (rank(values, 0.99) for values in (watch.times, watch.waits))
    return [
        Row(
            "work before another's probe is answered, p99, one connection sends 10 MB/s of pings",
            f"{worked * 1e3:.1f} ms, answered after {waited * 1e3:.1f} ms",
            f"the server read {sender.sent / seconds / 1e6:.2f} MB/s of them",
            None,
            f"{len(watch.times)} probes",
            f"under {MOST_S * 1e3:.0f} ms",
            worked < MOST_S,
        )
    ]


async def test_probes_are_answered_while_pings_are_sent(tmp_path: Path) -> None:
    (row,) = await measure(tmp_path, 0.3)
    assert "probes" in row.spread


@pytest.mark.bench
async def test_probe_during_a_flood_of_pings(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(await measure(tmp_path, 10.0))
